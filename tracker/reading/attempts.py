"""How often a key was guessed wrong, by where the guesses came from. Memory alone, and bounded."""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from ipaddress import ip_address, ip_network

from tracker.model import Clock

MOST, WINDOW = 10, 600.0
"""So many failures within so many seconds shut an address out."""

_ADDRESSES = 20_000


class Attempts:
    """Wrong keys of the last ten minutes. Each process counts for itself: keys are long and random, so a few times
    ten guesses are no more use than ten."""

    def __init__(self, clock: Clock, addresses: int = _ADDRESSES) -> None:
        self._clock = clock
        self._addresses = addresses
        self._failed: OrderedDict[str, deque[tuple[float, bytes]]] = OrderedDict()

    def failed(self, address: str | None, guess: bytes = b"") -> None:
        """A key from this address was wrong; the same ``guess`` again is no further one."""
        place = network(address)
        times = self._failed.setdefault(place, deque(maxlen=MOST))
        if not guess or all(guess != before for _, before in times):
            times.append((self._clock(), guess))
        self._failed.move_to_end(place)
        if len(self._failed) > self._addresses:
            self._failed.popitem(last=False)

    def wait(self, address: str | None) -> int:
        """Seconds until this address may try again, 0 where it may now."""
        times = self._failed.get(network(address))
        if times is None or len(times) < MOST:
            return 0
        return max(0, math.ceil(times[0][0] + WINDOW - self._clock()))


def network(address: str | None) -> str:
    """What one visitor can call its own: an IPv4 address, or the /64 of an IPv6 address (RFC 6177)."""
    try:
        parsed = ip_address(address or "")
    except ValueError:
        return address or ""
    return str(parsed if parsed.version == 4 else ip_network((parsed, 64), strict=False))

"""The ways to the smarthosts that a configuration names, for one of the processes that share them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from relay.config import Config, SmarthostConfig
from relay.dispatch.lane import Carrier, Lane
from tracker.model import Clock

Connect = Callable[[SmarthostConfig, int], Carrier]
"""Makes the carrier to a smarthost, with so many connections at most."""


@dataclass(slots=True)
class Lanes:
    """Makes lanes, and keeps those whose smarthost stays the same when the configuration is read again."""

    connect: Connect
    workers: int
    number: int
    clock: Clock
    known: list[tuple[SmarthostConfig, Lane]] = field(default_factory=list)

    def update(self, config: Config) -> list[Lane]:
        """The lanes for this configuration, the usual one first."""
        routes: list[tuple[SmarthostConfig, list[str]]] = [(config.relay.smarthost, [""])]
        for entry in config.senders:
            if entry.smarthost is not None:
                same = next((names for smarthost, names in routes if smarthost == entry.smarthost), None)
                if same is None:
                    routes.append((entry.smarthost, [entry.route]))
                elif entry.route not in same:
                    same.append(entry.route)
        self.known = [(smarthost, self._lane(smarthost, names)) for smarthost, names in routes]
        return [lane for _, lane in self.known]

    def _lane(self, smarthost: SmarthostConfig, routes: list[str]) -> Lane:
        for known, lane in self.known:
            if known == smarthost:
                lane.routes = tuple(routes)
                return lane
        connections = share(smarthost.max_connections, self.workers, self.number)
        # A place is held until the outcome is on the disk, a connection only while it is talked on.
        width = 2 * connections
        return Lane(smarthost.host, self.connect(smarthost, connections), routes, width, self.clock)


def share(most: int, workers: int, number: int) -> int:
    """One process's part of what all together may have; at least one."""
    return max(1, most // workers + (number < most % workers))

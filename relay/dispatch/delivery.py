"""The copies of one mail on their way out: all at once, each with its own outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

import structlog

from relay.dispatch.envelope import Copy, Verdict

log = structlog.get_logger()


class Carrier(Protocol):
    """Whatever takes a copy: a smarthost or the sandbox."""

    async def deliver(self, copy: Copy) -> Sequence[Verdict]:
        """Hand one copy over; a verdict for each of its recipients. Never raises for what a smarthost does."""

    async def close(self) -> None:
        """Let go of all connections."""


class Delivery:
    """Hands the copies of a mail to a carrier, which bounds how many go at the same time."""

    def __init__(self, carrier: Carrier) -> None:
        self._carrier = carrier

    async def send(self, copies: Sequence[Copy]) -> list[Verdict]:
        """Every recipient's verdict, in the order of the recipients. Never raises."""
        found = await asyncio.gather(*(self._one(copy) for copy in copies))
        return sorted((verdict for verdicts in found for verdict in verdicts), key=lambda verdict: verdict.ordinal)

    async def _one(self, copy: Copy) -> Sequence[Verdict]:
        try:
            return await self._carrier.deliver(copy)
        except Exception:
            log.exception("a delivery failed")
            text = "delivery failed here"
            return [Verdict(target.ordinal, target.address, 451, "4.3.0", text, "local") for target in copy.targets]

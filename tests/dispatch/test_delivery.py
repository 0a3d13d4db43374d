"""The copies of one mail: each goes, each has its verdict, whatever becomes of the others."""

from __future__ import annotations

import asyncio

from relay.dispatch.delivery import Delivery
from relay.dispatch.envelope import Copy, Target, Verdict


def one(ordinal: int) -> Copy:
    return Copy("a@example.com", (Target(ordinal, f"r{ordinal}@example.net"),), b"x\r\n")


class Carrier:
    """Later recipients are done first; the third is refused, the fourth breaks it."""

    def __init__(self) -> None:
        self.under_way = 0
        self.most = 0

    async def deliver(self, copy: Copy) -> list[Verdict]:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        (target,) = copy.targets
        await asyncio.sleep((6 - target.ordinal) / 200)
        self.under_way -= 1
        if target.ordinal == 4:
            raise RuntimeError("broken")
        code = 550 if target.ordinal == 3 else 250
        return [Verdict(target.ordinal, target.address, code, f"{code // 100}.0.0", "said", "rcpt")]

    async def close(self) -> None:
        """Nothing is open."""


async def test_every_recipient_has_a_verdict_in_the_order_of_recipients():
    carrier = Carrier()
    verdicts = await Delivery(carrier).send([one(ordinal) for ordinal in range(1, 6)])
    assert [(verdict.ordinal, verdict.code) for verdict in verdicts] == [
        (1, 250),
        (2, 250),
        (3, 550),
        (4, 451),
        (5, 250),
    ]
    assert carrier.most == 5
    assert "broken" not in verdicts[3].reply


async def test_a_mail_to_nobody_has_no_verdicts():
    assert await Delivery(Carrier()).send([]) == []

"""A believable month of mail, made up: several senders, newsletters and single mails, bounces, opt-outs, people and
machines. ``python -m tests.fakes.month DATA_DIR`` fills a new store there, to look at the dashboard with."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

from tracker.model import (
    Accepted,
    Fact,
    Hit,
    Link,
    LinkType,
    OptedOut,
    Outcome,
    Recipient,
    Status,
    SuppressionKind,
    new_id,
)
from tracker.store.sqlite import SqliteStore

HOUR, DAY = 3600.0, 86400.0
NEWS, SHOP, NOTES = "news@northwind.example", "orders@northwind.example", "team@fieldnotes.example"
DOMAINS = {
    **{"gmail.example": 38, "outlook.example": 21, "icloud.example": 14, "yahoo.example": 9, "gmx.example": 6},
    **{"web.example": 4, "acme.example": 4, "university.example": 3, "oldmail.example": 1},
}
NEWSLETTERS = [
    (NEWS, "autumn-picks", "Autumn picks: coats, boots and one very good scarf", "newsletter", 190),
    (NOTES, "issue-41", "Field Notes #41: What the tide leaves behind", "magazine", 120),
    (NEWS, "members-week", "Members’ week: 20% off everything warm", "campaign", 220),
    (NOTES, "issue-42", "Field Notes #42: A map of small rivers", "magazine", 124),
    (NEWS, "black-friday", "Black Friday starts tonight at 20:00", "campaign", 240),
    (NEWS, "last-call", "Last call: the sale ends on Sunday", "campaign", 150),
    (NOTES, "issue-43", "Field Notes #43: Winter birds, and how to count them", "magazine", 128),
]
SINGLES = [
    (SHOP, "Your order {n} is confirmed", "order-confirmation", True, None),
    (SHOP, "Your parcel {n} is on its way", "shipping", True, None),
    (SHOP, "Invoice {n}", "invoice", False, "pgp"),
    (SHOP, "Reset your password", "password-reset", True, None),
]
WEBKIT = "AppleWebKit/605.1.15 (KHTML, like Gecko)"
BLINK = "AppleWebKit/537.36 (KHTML, like Gecko) Chrome/129.0.0.0"
PEOPLE = {
    f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {BLINK} Safari/537.36": 30,
    f"Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) {WEBKIT} Mobile/15E148": 26,
    f"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) {WEBKIT}": 12,
    f"Mozilla/5.0 (Linux; Android 14; Pixel 8) {BLINK} Mobile Safari/537.36": 16,
    "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Thunderbird/128.3.0": 5,
    "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)": 18,
}
NAMES = "ann ben carla dan eva finn greta hugo ida jon kim lea max nora ole pia ruth sam tess uli"
PROXY, SCANNER = "Mozilla/5.0", "Barracuda Sentinel (EE)"
REFUSED = [
    *["550 5.1.1 <{who}>: Recipient address rejected: User unknown"] * 6,
    *["552 5.2.2 Mailbox full"] * 3,
    "554 5.7.1 Message refused: it looks like spam",
    "550 5.4.1 Recipient address rejected: Access denied",
]


def month(now: float, seed: int = 7, size: float = 1.0) -> Iterator[Fact]:
    """Facts of the 30 days before ``now`` (seconds since the epoch), and of the last hours more; ``size`` scales how
    many people there are."""
    chance = Random(seed)
    for number, (sender, mailing, subject, tag, people) in enumerate(NEWSLETTERS):
        start = now - 28 * DAY + number * 4.6 * DAY
        if number == len(NEWSLETTERS) - 1:
            start = now - 20 * HOUR
        links = _links(sender, mailing)
        for each in range(max(3, int(people * size))):
            at = start + each * 2.5
            yield from _one(chance, now, at, sender, subject, tag, mailing, links, True, None, 1.0)
    days = 30 * 24
    for number in range(max(6, int(260 * size))):
        at = now - DAY * 30 + chance.random() * days * HOUR
        at += -abs(12 - (at / HOUR) % 24) * HOUR / 3
        sender, subject, tag, tracked, reason = chance.choice(SINGLES)
        links = _links(sender, tag)[:3]
        subject = subject.format(n=10_400 + number)
        yield from _one(chance, now, min(at, now - 60), sender, subject, tag, None, links, tracked, reason, 1.6)


def _links(sender: str, about: str) -> tuple[Link, ...]:
    host = f"https://www.{sender.partition('@')[2]}"
    made = [
        (f"{host}/{about}?utm_source=mail", "Read more", LinkType.TRACKED),
        (f"{host}/{about}/first-thing", "See the details", LinkType.TRACKED),
        (f"{host}/account", "Your account", LinkType.TRACKED),
        (f"{host}/stories/{about}", "The whole story", LinkType.TRACKED),
        (f"{host}/unsubscribe", "Unsubscribe", LinkType.OPT_OUT),
        ("https://www.example.net/social", "Follow us", LinkType.NEVER),
    ]
    return tuple(
        Link(
            n,
            url,
            url,
            label,
            kind,
            "default" if kind is LinkType.TRACKED else "attribute data-track",
            kind != LinkType.NEVER,
        )
        for n, (url, label, kind) in enumerate(made, 1)
    )


def _one(
    chance: Random,
    now: float,
    at: float,
    sender: str,
    subject: str,
    tag: str,
    mailing: str | None,
    links: Sequence[Link],
    tracked: bool,
    reason: str | None,
    keen: float,
) -> Iterator[Fact]:
    message, who = new_id(at), _person(chance)
    facts = {"metadata": {"customer": str(chance.randrange(1000, 9999))}, "accepted_at": at, "reason": reason}
    about = {"message_id": f"<{message}@{sender.partition('@')[2]}>", "sender": sender, "subject": subject, "tag": tag}
    yield Accepted(
        id=message,
        mailing=mailing,
        instrumented=tracked,
        pixel=tracked,
        recipients=(Recipient(1, who),),
        links=tuple(links) if tracked else (),
        **about,
        **facts,  # type: ignore[arg-type]
    )
    yield from _fate(chance, now, message, who, at, tracked, links, sender, keen)


def _fate(
    chance: Random,
    now: float,
    message: UUID,
    who: str,
    at: float,
    tracked: bool,
    links: Sequence[Link],
    sender: str,
    keen: float,
) -> Iterator[Fact]:
    bad = chance.random() < (0.6 if "oldmail" in who else 0.018)
    if chance.random() < 0.006:
        yield Outcome(message, 1, Status.SUPPRESSED, at + 0.2, "on the suppression list")
        return
    if chance.random() < 0.03:
        yield Outcome(message, 1, Status.PENDING, at + 1, "451 4.7.1 Greylisted, try again later")
        if at > now - HOUR:
            return
    if bad and chance.random() < 0.7:
        yield Outcome(message, 1, Status.BOUNCED, at + 2, chance.choice(REFUSED).format(who=who))
        return
    if chance.random() < 0.002:
        yield Outcome(message, 1, Status.ERROR, at + 3, "given up after 5 days: connection timed out")
        return
    sent = at + 1 + chance.random() * 3
    yield Outcome(message, 1, Status.SENT, sent, "250 2.0.0 Ok: queued")
    if bad:
        yield Outcome(message, 1, Status.BOUNCED, sent + 400, chance.choice(REFUSED).format(who=who))
        return
    if tracked:
        yield from (fact for fact in _hits(chance, message, who, sent, links, sender, keen) if fact.at < now)


def _hits(
    chance: Random, message: UUID, who: str, sent: float, links: Sequence[Link], sender: str, keen: float
) -> Iterator[Hit | OptedOut]:
    if "icloud" in who and chance.random() < 0.8:
        yield _hit(chance, message, sent + chance.random() * 600, 0, None, PROXY)
    if "acme" in who or "university" in who:
        for link in links[:4]:
            yield _hit(chance, message, sent + 30 + link.position * 0.1, link.position, link, SCANNER)
    if chance.random() > 0.42 * keen:
        return
    agent = chance.choices(list(PEOPLE), list(PEOPLE.values()))[0]
    opened = sent + 120 + chance.expovariate(1 / (7 * HOUR))
    yield _hit(chance, message, opened, 0, None, agent)
    if chance.random() < 0.3:
        yield _hit(chance, message, opened + chance.random() * 2 * DAY, 0, None, agent)
    if chance.random() < 0.36:
        for link in chance.choices(links[:4], [6, 3, 1, 2][: len(links[:4])], k=chance.choice([1, 1, 1, 2])):
            yield _hit(chance, message, opened + 20 + chance.random() * 300, link.position, link, agent)
    if len(links) > 4 and chance.random() < 0.025:
        leave = opened + 60
        yield _hit(chance, message, leave, 5, links[4], agent)
        kind = SuppressionKind.MAIL
        yield OptedOut(new_id(leave + 9), leave + 9, message, 1, sender, who, kind, "opt-out page")


def _hit(chance: Random, message: UUID, at: float, position: int, link: Link | None, agent: str) -> Hit:
    about: dict[str, Any] = {"url": link.target, "type": link.type} if link else {"url": None, "type": LinkType.TRACKED}
    event, address = ("click" if position else "open"), f"198.51.100.{chance.randrange(256)}"
    return Hit(new_id(at), at, message, 1, event, position, method="GET", address=address, agent=agent, **about)


def _person(chance: Random) -> str:
    first = chance.choice(NAMES.split())
    domain = chance.choices(list(DOMAINS), list(DOMAINS.values()))[0]
    return f"{first}.{chance.choice('abcdefghklmnrstw')}{chance.randrange(100, 999)}@{domain}"


def fill(store: SqliteStore, now: float, seed: int = 7, size: float = 1.0) -> None:
    """Tell a store of such a month."""
    facts = month(now, seed, size)
    while batch := list(islice(facts, 500)):
        store.apply(batch)


if __name__ == "__main__":
    store = SqliteStore(Path(sys.argv[1]) / "tracepost.db")
    fill(store, time.time())
    store.close()

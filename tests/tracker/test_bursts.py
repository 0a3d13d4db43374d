"""Bursts that lead over the pages of ours that a mail has links to: the opt-out page, the web copy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.tracker.facts import NOW, accepted, hit, outcome
from tracker.model import MIRROR_PAGE, OPT_OUT_PAGE, Accepted, Hit, Link, LinkType
from tracker.store.sqlite import SqliteStore

PAGES = {"unsubscribe_url": LinkType.OPT_OUT, "mirror_url": LinkType.MIRROR}
COUNTS = ("clicks", "opt_out_clicks", "mirror_views", "machine_clicks")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(tmp_path / "store.sqlite")
    store.open()
    yield store
    store.close()


def mail(links: int, *pages: str) -> Accepted:
    """A mail with so many links of the app's own, and links that stand for pages of ours."""
    urls = [f"https://example.com/{n}" for n in range(1, links + 1)]
    own = [Link(n, url, url, f"Link {n}", LinkType.TRACKED, "default", True) for n, url in enumerate(urls, 1)]
    ours = [
        Link(n, f"{{{{ {page} }}}}", f"{{{{{page}}}}}", page, PAGES[page], "placeholder", True)
        for n, page in enumerate(pages, links + 1)
    ]
    return accepted(links=(*own, *ours))


def looks(message: UUID, *positions: int) -> list[Hit]:
    """Hits on links and pages, a tenth of a second apart."""
    types = {OPT_OUT_PAGE: LinkType.OPT_OUT, MIRROR_PAGE: LinkType.MIRROR}
    return [
        hit(message, 1, position, NOW + 60 + n / 10, type=types.get(position, LinkType.TRACKED))
        for n, position in enumerate(positions)
    ]


def counted(store: SqliteStore, message: UUID) -> tuple[Any, ...]:
    row = store.message(str(message))
    assert row is not None
    return tuple(row[name] for name in COUNTS)


@pytest.mark.parametrize(
    ("links", "pages", "positions", "counts"),
    [
        (4, ["unsubscribe_url"], [1, 2, 3, 4, OPT_OUT_PAGE], (0, 0, 0, 5)),
        (3, ["unsubscribe_url", "mirror_url"], [MIRROR_PAGE, 1, 2, 3, OPT_OUT_PAGE], (0, 0, 0, 5)),
        (2, ["unsubscribe_url"], [1, 2, OPT_OUT_PAGE], (0, 0, 0, 3)),
        (2, ["unsubscribe_url", "unsubscribe_url"], [1, 2, OPT_OUT_PAGE], (0, 0, 0, 3)),
        (3, ["unsubscribe_url"], [1, 2, 3], (3, 0, 0, 0)),
        (2, ["unsubscribe_url", "mirror_url"], [1, OPT_OUT_PAGE, MIRROR_PAGE], (1, 1, 1, 0)),
        (1, ["unsubscribe_url"], [1, OPT_OUT_PAGE], (1, 1, 0, 0)),
    ],
)
def test_pages_of_ours_are_links_of_the_copy(
    store: SqliteStore, links: int, pages: list[str], positions: list[int], counts: tuple[int, ...]
) -> None:
    for late in (False, True):
        message = mail(links, *pages)
        known = [message, outcome(message.id)]
        for fact in [*looks(message.id, *positions), *known] if late else [*known, *looks(message.id, *positions)]:
            store.apply([fact])
        assert counted(store, message.id) == counts

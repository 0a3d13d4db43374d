"""The picture of a mail: its kept HTML in a cage of its own, with the clicks on its links."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tracker.mirror import Document, unpack
from tracker.reading import cage, params
from tracker.reading.frame import Frame, Visit, signed_in
from tracker.reading.picture import picture, text_of
from tracker.store.base import Store

GONE = "<!doctype html><html lang=en><title>Not kept</title><p>The HTML of this mail is not kept any more."


@dataclass(frozen=True, slots=True)
class Kept:
    """What is known of a mail's HTML: from where its pictures would be loaded, and whether some never are."""

    sources: tuple[str, ...]
    left_out: bool


class PicturePage:
    """The pictures of one store's mails. ``public_url`` is what stands in links of ours, ``retention`` how long HTML is
    kept, in seconds."""

    def __init__(self, frame: Frame, store: Store, public_url: str, retention: float) -> None:
        self.frame = frame
        self._store = store
        self._public_url = public_url
        self._retention = retention

    def routes(self) -> list[Route]:
        """What is shown in the frame."""
        return [Route("/messages/{id}/picture", self.show)]

    @signed_in
    async def show(self, visit: Visit) -> Response:
        """The page in the frame: all clicks, or those of one recipient; with pictures from elsewhere where they are
        asked for."""
        asked = visit.asked("recipient", "images")
        id = params.message_id(visit.request.path_params["id"])
        document = await run_in_threadpool(self._document, id) if id else None
        if id is None or document is None:
            return caged(GONE, status=404)
        only = params.number(asked, "recipient")
        clicks = await run_in_threadpool(self._clicks, id, only)
        page = await run_in_threadpool(picture, document, clicks)
        return caged(page, *(self._sources(document, visit.request)[0] if "images" in asked else ()))

    def about(self, id: str, request: Request) -> Kept | None:
        """What is known of a mail's HTML, None where it is not kept. Blocks. Raises StoreError."""
        document = self._document(id)
        if document is None:
            return None
        sources, left_out = self._sources(document, request)
        return Kept(tuple(sources), left_out)

    def _document(self, id: str) -> Document | None:
        row = self._store.page(id, None)
        if row is None or row["at"] + self._retention < self.frame.clock():
            return None
        try:
            return unpack(row["content"])
        except ValueError:
            return None

    def _sources(self, document: Document, request: Request) -> tuple[list[str], bool]:
        ours = [urlsplit(url).netloc for url in (self._public_url, document.tracking_url)]
        return cage.hosts(text_of(document), [*ours, request.headers.get("host", "")])

    def _clicks(self, id: str, only: int | None) -> Mapping[int, int]:
        """Clicks of people on each link, by position."""
        links = self._store.links(id, params.MOST).rows
        if only is None:
            return {link["position"]: link["clicks"] for link in links if link["tracked"]}
        clicks = {link["position"]: 0 for link in links if link["tracked"]}
        for event in self._store.events(params.MOST, message=id, recipient=only).rows:
            counted = event["class"] == "human" and event["kind"] != "repeat" and event["position"] in clicks
            clicks[event["position"] or 0] = clicks.get(event["position"] or 0, 0) + counted
        return clicks


def caged(page: str, *sources: str, status: int = 200) -> Response:
    """A page for a frame of ours, under the policy of the cage."""
    headers = {
        "Content-Security-Policy": cage.policy(sources),
        "Cache-Control": "no-store",
        "X-Frame-Options": "SAMEORIGIN",
        # the links of a page are looked up ahead unless told not to
        "X-DNS-Prefetch-Control": "off",
    }
    return Response(page.encode("utf-8", "replace"), status, headers, "text/html; charset=utf-8")

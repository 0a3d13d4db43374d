"""The dashboard's pages of the sandbox: the mails that are kept instead of being sent, and one of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from tracker.reading import cage, params
from tracker.reading.beside import Inbox, Kept, Letter
from tracker.reading.downloads import CSV, Table, file_of
from tracker.reading.frame import ROWS, Frame, Visit, signed_in
from tracker.reading.picture import plain, text_of
from tracker.reading.picture_page import GONE, caged
from tracker.store.base import Page, Row

COLUMNS = ("name", "kept_at", "reverse_path", "recipients", "sender", "subject", "size")
"""Columns of the list as a file."""

_OURS = re.compile(r"https?://[^\s?#]+/([cum])/[A-Za-z0-9_-]{20,}", re.ASCII)
_URL = re.compile(r"https?://[^\s<>\"']++")
_MOST_LINKS, _LABEL = 500, 200


class Tracked(NamedTuple):
    """A link of ours in a mail: its URL, what it is (``c``: a click, ``u``: the opt-out page, ``m``: the web
    copy), its text."""

    url: str
    kind: str
    label: str


class SandboxPages:
    """The sandbox. ``target`` says where a click on a URL of ours leads, ``public_url`` is what stands in them."""

    def __init__(self, frame: Frame, inbox: Inbox, target: Callable[[str], str | None], public_url: str) -> None:
        self.frame = frame
        self._inbox = inbox
        self._target = target
        self._public_url = public_url

    def routes(self) -> list[Route]:
        """The list, a mail, its HTML and its source."""
        return [
            Route("/sandbox", self.list),
            Route("/sandbox/{name}", self.mail),
            Route("/sandbox/{name}/html", self.html),
            Route("/sandbox/{name}/source", self.source),
        ]

    @signed_in
    async def list(self, visit: Visit) -> Response:
        """The mails, the newest first."""
        asked = visit.asked("cursor", *CSV)
        after = asked.get("cursor")
        if after is not None and params.message_id(after) != after:
            raise params.bad_cursor()
        try:
            file = await file_of(asked, {"sandbox": Table(COLUMNS, self._rows)})
            if file is not None:
                return file
            mails, following = await run_in_threadpool(self._inbox.list, ROWS, after)
        except OSError:
            return _unreadable(visit)
        return visit.page("sandbox.html", mails=mails, older=following, later=after is not None)

    def _rows(self, limit: int, after: str | None) -> Page:
        mails, following = self._inbox.list(limit, after)
        return Page([_row(each) for each in mails], following)

    @signed_in
    async def mail(self, visit: Visit) -> Response:
        """One mail: its headers, HTML, text, the rest of its parts."""
        asked = visit.asked("images")
        try:
            letter = await run_in_threadpool(self._inbox.letter, _name(visit))
        except OSError:
            return _unreadable(visit)
        if letter is None:
            return _not_found(visit)
        sources, left_out = self._sources(letter, visit.request)
        return visit.page(
            "sandbox_mail.html",
            mail=letter,
            links=[(link, self._target(link.url)) for link in await run_in_threadpool(links_of, letter)],
            sources=sources,
            left_out=left_out,
            images="images" in asked,
        )

    @signed_in
    async def html(self, visit: Visit) -> Response:
        """The HTML, for the frame."""
        asked = visit.asked("images")
        letter = await run_in_threadpool(self._inbox.letter, _name(visit))
        if letter is None or letter.html is None:
            return caged(GONE, status=404)
        page = await run_in_threadpool(plain, letter.html)
        return caged(page, *(self._sources(letter, visit.request)[0] if "images" in asked else ()))

    @signed_in
    async def source(self, visit: Visit) -> Response:
        """The mail as it is, as a file."""
        visit.asked()
        file = await run_in_threadpool(self._inbox.file, _name(visit))
        if file is None:
            return _not_found(visit)
        headers = {"Cache-Control": "no-store", "Content-Security-Policy": "sandbox; default-src 'none'"}
        return FileResponse(file, media_type="message/rfc822", filename=file.name, headers=headers)

    def _sources(self, letter: Letter, request: Request) -> tuple[Sequence[str], bool]:
        if letter.html is None:
            return [], False
        ours = [urlsplit(self._public_url).netloc, request.headers.get("host", "")]
        return cage.hosts(text_of(letter.html), ours)


def _row(mail: Kept) -> Row:
    return {
        "name": mail.name,
        "kept_at": mail.at,
        "reverse_path": mail.reverse_path,
        "recipients": " ".join(mail.recipients),
        "sender": mail.sender,
        "subject": mail.subject,
        "size": mail.size,
    }


def _name(visit: Visit) -> str:
    return params.message_id(visit.request.path_params["name"]) or ""


def _not_found(visit: Visit) -> Response:
    return visit.problem(404, "Not found", "The sandbox keeps no mail of this name; it may have been removed.")


def _unreadable(visit: Visit) -> Response:
    text = "The folder of the sandbox cannot be read now. See that the service may read data_dir/sandbox."
    return visit.problem(503, "The sandbox cannot be read", text)


def links_of(letter: Letter) -> Sequence[Tracked]:
    """The links of ours in a mail, in order: those of its HTML, then those of its text. Pure."""
    pieces = [piece for part in (letter.html.parts if letter.html else ()) for piece in part if isinstance(piece, str)]
    found = [*cage.links("".join(pieces)), *((url, "") for text in letter.texts for url in _URL.findall(text))]
    tracked = ((url, _OURS.fullmatch(url), label) for url, label in found)
    return [Tracked(url, kind[1], label[:_LABEL]) for url, kind, label in tracked if kind][:_MOST_LINKS]

"""``/.well-known/`` on the tracking domains (RFC 8615): files of a folder, so that app links work behind redirects and
certificates can be had."""

from __future__ import annotations

import mimetypes
import os
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

_TYPES = {"apple-app-site-association": "application/json"}
"""Files whose type their name does not tell: Apple's "Supporting associated domains"."""


class WellKnown:
    """The files under ``folder``: no listing, no hidden file, nothing outside of it, also not by a symbolic link."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def routes(self) -> list[Route]:
        """The one route."""
        return [Route("/.well-known/{path:path}", self.file)]

    async def file(self, request: Request) -> Response:
        """One file, or 404."""
        found = await run_in_threadpool(self._find, request.path_params["path"])
        if found is None:
            raise HTTPException(404)
        path, stat = found
        kind = _TYPES.get(path.name) or mimetypes.guess_type(path.name)[0] or "text/plain"
        return FileResponse(path, media_type=kind, stat_result=stat)

    def _find(self, name: str) -> tuple[Path, os.stat_result] | None:
        if any(not part or part.startswith(".") or "\\" in part or "\0" in part for part in name.split("/")):
            return None
        try:
            path = (self._folder / name).resolve()
            inside = path.is_relative_to(self._folder.resolve()) and path.is_file() and os.access(path, os.R_OK)
            return (path, path.stat()) if inside else None
        except OSError:
            return None

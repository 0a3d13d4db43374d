"""What a client sends, taken as lines of a dialogue or as chunks of data, whatever way it came in."""

from __future__ import annotations

import asyncio

_CHUNK = 1 << 18
_CRLF = b"\r\n"


class Incoming:
    """Reads ahead of ``reader``, so that what follows a line or the end of the data waits here for its turn.
    ``longest`` is the most octets of a line, its CRLF not counted."""

    def __init__(self, reader: asyncio.StreamReader, longest: int) -> None:
        self._reader = reader
        self._longest = longest
        self._ahead = bytearray()
        self._in_long_line = False

    async def line(self) -> bytes | None:
        """The next line, less its CRLF (only CRLF ends one); None for one that was too long and is passed over.
        Raises EOFError where nothing more comes."""
        ahead, searched = self._ahead, 0
        while (end := ahead.find(_CRLF, searched)) < 0:
            if len(ahead) > self._longest:
                self._in_long_line = True
                del ahead[:-1]
            searched = max(0, len(ahead) - 1)
            ahead += await self._read()
        too_long, self._in_long_line = self._in_long_line or end > self._longest, False
        line = bytes(ahead[:end])
        del ahead[: end + len(_CRLF)]
        return None if too_long else line

    async def chunk(self) -> bytes:
        """Some octets, whatever is there. Raises EOFError where nothing more comes."""
        if not self._ahead:
            return await self._read()
        chunk = bytes(self._ahead)
        self._ahead.clear()
        return chunk

    def give_back(self, octets: bytes) -> None:
        """Put octets of the last chunk back: they are what comes next."""
        self._ahead[:0] = octets

    @property
    def pending(self) -> bool:
        """Whether something was read already that nobody has asked for."""
        return bool(self._ahead)

    async def _read(self) -> bytes:
        octets = await self._reader.read(_CHUNK)
        if not octets:
            raise EOFError
        return octets

"""The data of a mail, read in chunks: where it ends, what it holds, within a bound. Pure.

Only ``<CRLF>.<CRLF>`` ends it (RFC 5321 section 4.1.1.4): a bare CR or LF is data, whatever stands beside it, so no
second mail can be smuggled in.
"""

from __future__ import annotations

import re

_END = b"\r\n.\r\n"
# what looks for one octet takes half as long as what looks for three or five
_ENDING = re.compile(rb"\r(?=\n\.\r\n)")
_DOTTED = re.compile(rb"\r(?=\n\.)")
_BARE_CR = re.compile(rb"\r(?!\n)")


class DataReader:
    """Feed it chunks until ``feed`` says that the end was seen. ``limit`` in octets bounds the content; what is over
    it is thrown away as it comes. ``held`` is what is in memory now."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        # The CRLF of the line DATA counts: a dot may end the data on the very first line.
        self._buffer = bytearray(b"\r\n")
        self._stuffed = 0
        self.too_large = False
        self.rest = b""

    @property
    def held(self) -> int:
        """Octets in memory."""
        return len(self._buffer)

    def feed(self, chunk: bytes) -> bool:
        """Take a chunk; True once the data has ended, ``rest`` is then what the client sent after it."""
        buffer, start = self._buffer, len(self._buffer)
        buffer += chunk
        found = _ENDING.search(buffer, max(0, start - len(_END) + 1))
        ended = found is not None
        if found is not None:
            end = found.start()
            self.rest = bytes(memoryview(buffer)[end + len(_END) :])
            del buffer[end + 2 :]
            self._stuffed -= start > end + 2  # the last dot came with an earlier chunk and was taken for a doubled one
        if _DOTTED.search(buffer, max(0, start - 2)):
            self._stuffed += buffer.count(b"\r\n.", max(0, start - 2))
        # Until the end is there, a CR behind a dot may belong to it and not to the content.
        if len(buffer) - 2 - self._stuffed > self._limit + (not ended):
            self.too_large = True
        if self.too_large:
            del buffer[: -(len(_END) - 1)]
        return ended

    def content(self) -> bytes:
        """The data, its line ends included, dots that were doubled for the transport made single again."""
        content = bytes(memoryview(self._buffer)[2:])
        if not self._stuffed:
            return content
        return content.removeprefix(b".").replace(b"\r\n.", b"\r\n")

    def discard(self) -> None:
        """Go on to the end of the data, keeping nothing."""
        self.too_large = True
        del self._buffer[: -(len(_END) - 1)]


def normalized_size(content: bytes) -> int | None:
    """The octets of the content with every CR, LF and CRLF made one CRLF; None where none stands alone."""
    feeds, returns = content.count(b"\n"), content.count(b"\r")
    if feeds == returns and _BARE_CR.search(content) is None:
        return None
    return len(content) + feeds + returns - 2 * content.count(b"\r\n")


def normalize_newlines(content: bytes) -> bytes:
    """Every CR, LF and CRLF made one CRLF."""
    return content.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")

"""The data of a mail, read in chunks: where it ends, what it holds, within a bound. Pure.

Only ``<CRLF>.<CRLF>`` ends it (RFC 5321 section 4.1.1.4): a bare CR or LF is data, whatever stands beside it, so no
second mail can be smuggled in.
"""

from __future__ import annotations

_END = b"\r\n.\r\n"


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
        end = buffer.find(_END, max(0, start - len(_END) + 1))
        ended = end >= 0
        if ended:
            self.rest = bytes(memoryview(buffer)[end + len(_END) :])
            del buffer[end + 2 :]
            self._stuffed -= start > end + 2  # the last dot came with an earlier chunk and was taken for a doubled one
        self._stuffed += buffer.count(b"\r\n.", max(0, start - 2))
        # Until the end is there, a CR behind a dot may belong to it and not to the content.
        if len(buffer) - 2 - self._stuffed > self._limit + (not ended):
            self.too_large = True
        if self.too_large:
            del buffer[: -(len(_END) - 1)]
        return ended

    def content(self) -> bytes:
        """The data, its line ends included, dots that were doubled for the transport made single again."""
        return bytes(self._buffer).replace(b"\r\n.", b"\r\n")[2:]

    def discard(self) -> None:
        """Go on to the end of the data, keeping nothing."""
        self.too_large = True
        del self._buffer[: -(len(_END) - 1)]


def normalized_size(content: bytes) -> int | None:
    """The octets of the content with every CR, LF and CRLF made one CRLF; None where none stands alone."""
    pairs, feeds, returns = content.count(b"\r\n"), content.count(b"\n"), content.count(b"\r")
    return None if feeds == returns == pairs else len(content) + feeds + returns - 2 * pairs


def normalize_newlines(content: bytes) -> bytes:
    """Every CR, LF and CRLF made one CRLF."""
    return content.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")

"""A connection in memory: what a host says comes in chunks of any size, what it is sent is kept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator


class Wire(asyncio.Transport):
    """Feeds a channel. ``host`` sees each write and gives what the host says to it."""

    def __init__(
        self, host: Callable[[bytes], bytes] = lambda octets: b"", chunks: Iterator[int] | None = None
    ) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.unsent = 0
        self.reading = True
        self._host, self._chunks, self._closing = host, chunks, False
        self._said = bytearray()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.limits = (high, low)

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def write(self, data: bytes) -> None:
        self.written.append(bytes(data))
        self.say(self._host(bytes(data)))

    def say(self, octets: bytes) -> None:
        """The host speaks, when the event loop comes to it."""
        if not self._said and octets:
            asyncio.get_running_loop().call_soon(self._feed)
        self._said += octets

    def _feed(self) -> None:
        size = next(self._chunks) if self._chunks is not None else len(self._said)
        chunk = bytes(self._said[:size])
        del self._said[:size]
        self.protocol.data_received(chunk)
        if self._said:
            asyncio.get_running_loop().call_soon(self._feed)

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    abort = close

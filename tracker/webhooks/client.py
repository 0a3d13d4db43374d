"""One request to an endpoint: the name looked up, its addresses checked, the connection made to one of those and no
other, the answer read as far as it matters. HTTP/1.1; no redirect is followed, no proxy of the environment is used."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version

import httpcore
from httpcore import SOCKET_OPTION

from tracker.webhooks.addresses import refused
from tracker.webhooks.endpoint import Endpoint
from tracker.webhooks.post import Post

CONNECT_SECONDS = 10.0
WHOLE_SECONDS = 30.0
"""Seconds for all of a request, from the look-up to the end of the answer."""
LARGEST_ANSWER = 64 * 1024
"""Octets of an answer's body that are read; nothing is kept of them."""

_BODY_SECONDS = 5.0
"""Seconds that an answer's body is given once its status is known."""

_IDLE_SECONDS, _MOST_IDLE = 15.0, 10

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""The addresses of a host, for a port. Raises OSError where there are none."""


class Unreachable(Exception):
    """There is no answer; ``str()`` says why, in words that hold no secret and no address."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What an endpoint said: the status, and Retry-After as it came."""

    status: int
    retry_after: str | None


async def resolve(host: str, port: int) -> Sequence[str]:
    """The addresses by the system's resolver."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class Client:
    """Requests to one endpoint; connections stay open a while for the next one, as long as the name still leads to
    where they go."""

    def __init__(self, endpoint: Endpoint, context: ssl.SSLContext | None = None, resolve: Resolve = resolve) -> None:
        self._endpoint = endpoint
        self._context = context or ssl.create_default_context()
        self._resolve = resolve
        self._url = httpcore.URL(endpoint.url)
        self._host = self._url.host.decode().strip("[]")
        default = 443 if self._url.scheme == b"https" else 80
        self._port = self._url.port or default
        self._origin = httpcore.Origin(self._url.scheme, self._url.host, self._port)
        self._idle: list[tuple[float, _Pinned, httpcore.AsyncHTTPConnection]] = []
        self.limits = (CONNECT_SECONDS, WHOLE_SECONDS)

    async def post(self, post: Post) -> Answer:
        """Send it. Raises Unreachable."""
        try:
            async with asyncio.timeout(self.limits[1]):
                return await self._post(post)
        except TimeoutError:
            raise Unreachable(f"no answer within {self.limits[1]:g} s") from None
        except httpcore.ConnectTimeout:
            raise Unreachable(f"no connection within {self.limits[0]:g} s") from None
        except httpcore.ConnectError as error:
            raise Unreachable(_why_unconnected(error)) from None
        except httpcore.NetworkError:
            raise Unreachable("the connection broke off") from None
        except httpcore.ProtocolError:
            raise Unreachable("what came back is no HTTP") from None

    async def aclose(self) -> None:
        """Close what is open."""
        for *_, connection in self._idle:
            await connection.aclose()
        self._idle.clear()

    async def _post(self, post: Post) -> Answer:
        addresses = await self._checked()
        kept = await self._kept(addresses)
        if kept is not None:
            # A connection that has just been closed at the other end is no failure of this request.
            with contextlib.suppress(httpcore.NetworkError, httpcore.ProtocolError):
                return await self._send(*kept, post)
        pinned = _Pinned(addresses)
        connection = httpcore.AsyncHTTPConnection(
            self._origin, self._context, keepalive_expiry=_IDLE_SECONDS, network_backend=pinned
        )
        return await self._send(pinned, connection, post)

    async def _checked(self) -> Sequence[str]:
        """The addresses of the host now."""
        try:
            addresses = await self._resolve(self._host, self._port)
        except (OSError, UnicodeError):
            addresses = ()
        if not addresses:
            raise Unreachable("its name cannot be looked up")
        if not self._endpoint.allow_private and any(map(refused, addresses)):
            raise Unreachable("its name leads to a private address, which allow_private would have to allow")
        return addresses

    async def _kept(self, addresses: Sequence[str]) -> tuple[_Pinned, httpcore.AsyncHTTPConnection] | None:
        """A connection that is still open and goes to one of these addresses."""
        while self._idle:
            since, pinned, connection = self._idle.pop()
            fresh = time.monotonic() - since < _IDLE_SECONDS and pinned.address in addresses
            if fresh and connection.is_available() and not connection.has_expired():
                return pinned, connection
            await connection.aclose()
        return None

    async def _send(self, pinned: _Pinned, connection: httpcore.AsyncHTTPConnection, post: Post) -> Answer:
        done = False
        try:
            response = await connection.handle_async_request(self._request(post))
            done = await _read(response)
            retry_after = [value for name, value in response.headers if name.lower() == b"retry-after"]
            return Answer(response.status, retry_after[0].decode("ascii", "replace") if retry_after else None)
        finally:
            if done and connection.is_available() and len(self._idle) < _MOST_IDLE:
                self._idle.append((time.monotonic(), pinned, connection))
            else:
                await connection.aclose()

    def _request(self, post: Post) -> httpcore.Request:
        headers = {
            "Host": self._endpoint.url.partition("://")[2].partition("/")[0].partition("?")[0],
            "User-Agent": f"Tracepost/{version('tracepost')}",
            "Content-Type": "application/json",
            "Content-Length": str(len(post.body)),
            **post.headers,
        }
        if self._endpoint.authorization is not None:
            headers["Authorization"] = self._endpoint.authorization
        # The whole of it has its time; a connection has less.
        return httpcore.Request(
            "POST",
            self._url,
            headers=list(headers.items()),
            content=post.body,
            extensions={"timeout": {"connect": self.limits[0]}},
        )


class _Pinned(httpcore.AsyncNetworkBackend):
    """Connects to the first of some addresses that takes it, whatever host is asked for; which one that was."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self._addresses = addresses
        self._backend = httpcore.AnyIOBackend()
        self.address = ""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect, each address in its turn within ``timeout`` seconds together."""
        ends = time.monotonic() + (timeout or CONNECT_SECONDS)
        error: Exception = httpcore.ConnectError("there is no address")
        for others, address in zip(range(len(self._addresses), 0, -1), self._addresses, strict=True):
            patience = max(0.01, (ends - time.monotonic()) / others)
            try:
                stream = await self._backend.connect_tcp(address, port, patience, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as failed:
                error = failed
                continue
            self.address = address
            return stream
        raise error


async def _read(response: httpcore.Response) -> bool:
    """Read an answer's body, as far as it is not too long; whether that was all of it. One that stops or dawdles
    midway does not unsay its status."""
    length = 0
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            async for chunk in response.aiter_stream():
                length += len(chunk)
                if length > LARGEST_ANSWER:
                    return False
        return True
    except (TimeoutError, httpcore.NetworkError, httpcore.ProtocolError):
        return False
    finally:
        await response.aclose()


def _why_unconnected(error: httpcore.ConnectError) -> str:
    causes: list[BaseException] = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None and len(causes) < 10:
        causes.append(cause)
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not to be trusted: {cause.verify_message}"
        if isinstance(cause, ssl.SSLError):
            return "TLS failed"
        if isinstance(cause, ConnectionRefusedError):
            return "the connection was refused"
    return "no connection could be made"

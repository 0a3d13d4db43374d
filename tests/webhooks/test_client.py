"""One request to an endpoint that may behave in any way, at a name that may lead anywhere."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Sequence
from typing import Any

import pytest
import trustme

from tests.webhooks.receiver import Receiver, Reply
from tracker.config import Webhook
from tracker.webhooks.client import LARGEST_ANSWER, Answer, Client, Unreachable
from tracker.webhooks.endpoint import endpoint_of
from tracker.webhooks.post import Post

POST = Post(b'{"a": 1}', {"webhook-id": "one"})


def client(
    url: str, context: ssl.SSLContext | None = None, resolve: Any = None, whole: float = 20.0, **more: Any
) -> Client:
    endpoint = endpoint_of(0, Webhook.model_validate({"url": url, "allow_private": True, **more}))
    found = Client(endpoint, context, **({} if resolve is None else {"resolve": resolve}))
    found.limits = (5.0, whole)
    return found


def leads_to(*answers: str | Sequence[str]) -> Any:
    """A resolver that gives these answers in their turn, and the last one from then on."""
    asked: list[tuple[str, int]] = []

    async def resolve(host: str, port: int) -> Sequence[str]:
        asked.append((host, port))
        answer = answers[min(len(asked), len(answers)) - 1]
        if answer == "nowhere":
            raise socket.gaierror(-2, "Name or service not known")
        return [answer] if isinstance(answer, str) else answer

    resolve.asked = asked  # type: ignore[attr-defined]
    return resolve


async def why(client: Client) -> str:
    with pytest.raises(Unreachable) as caught:
        await client.post(POST)
    await client.aclose()
    return str(caught.value)


async def test_what_is_sent() -> None:
    async with Receiver() as host:
        sender = client(f"http://ann:s%40fe@127.0.0.1:{host.port}/hook/?token=1")
        assert await sender.post(POST) == Answer(200, None)
        (request,) = host.requests
        assert request.line == "POST /hook/?token=1 HTTP/1.1"
        assert request.body == POST.body
        assert request.headers["host"] == f"127.0.0.1:{host.port}"
        assert request.headers["content-type"] == "application/json"
        assert request.headers["webhook-id"] == "one"
        assert request.headers["authorization"] == "Basic YW5uOnNAZmU="
        assert request.headers["user-agent"].startswith("Tracepost/")
        await sender.aclose()


async def test_a_connection_is_used_again_and_not_when_it_was_closed() -> None:
    async with Receiver() as host:
        sender = client(host.url)
        for _ in range(3):
            await sender.post(POST)
        assert host.connections == 1
        host.script.append(Reply(headers={"Connection": "close"}))
        await sender.post(POST)
        await sender.post(POST)
        assert host.connections == 2
        port = host.port
        await host.refuse()
        host.port = port
        await host.listen()
        assert (await sender.post(POST)).status == 200
        await sender.aclose()


@pytest.mark.parametrize("status", [201, 204, 301, 302, 307, 400, 404, 406, 410, 429, 500, 503])
async def test_any_status_is_an_answer_and_no_redirect_is_followed(status: int) -> None:
    async with Receiver() as host:
        headers = {"Location": f"{host.url}/elsewhere", "Retry-After": "7"}
        host.usual = Reply(status, headers, b"" if status == 204 else b"ok")
        sender = client(host.url)
        assert await sender.post(POST) == Answer(status, "7")
        assert len(host.requests) == 1
        await sender.aclose()


async def test_what_is_no_answer() -> None:
    async with Receiver() as host:
        for reply in (Reply(hang=True), Reply(trickle=0.05)):
            host.script.append(reply)
            assert await why(client(host.url, whole=0.5)) == "no answer within 0.5 s"
        for reply, expected in (
            (Reply(cut=0), "no HTTP"),
            (Reply(cut=20), "no HTTP"),
            (Reply(raw=b"220 smtp.example.com ESMTP\r\n"), "no HTTP"),
            (Reply(raw=b"\x16\x03\x01\x00\x01" * 100), "no HTTP"),
            (Reply(headers={"X": "y" * 200_000}), "no HTTP"),
        ):
            host.script.append(reply)
            assert expected in await why(client(host.url))
        port = host.port
    assert "refused" in await why(client(f"http://127.0.0.1:{port}/"))


async def test_an_answer_that_breaks_off_in_its_body_stands() -> None:
    async with Receiver() as host:
        host.script.append(Reply(body=b"x" * 100, cut=60))
        sender = client(host.url)
        assert (await sender.post(POST)).status == 200
        assert (await sender.post(POST)).status == 200
        assert host.connections == 2
        await sender.aclose()


async def test_an_endless_answer_is_read_no_further_than_need_be() -> None:
    async with Receiver() as host:
        host.script += [Reply(endless=True), Reply(body=b"x" * (LARGEST_ANSWER * 4))]
        sender = client(host.url)
        assert (await sender.post(POST)).status == 200
        assert (await sender.post(POST)).status == 200
        assert host.connections == 2
        await sender.aclose()


async def test_an_answer_whose_body_trickles_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tracker.webhooks.client._BODY_SECONDS", 0.5)
    async with Receiver() as host:
        host.script.append(Reply(body=b"x" * 1000, trickle=0.02))
        sender = client(host.url, whole=10.0)
        assert (await sender.post(POST)).status == 200
        assert (await sender.post(POST)).status == 200
        assert host.connections == 2
        await sender.aclose()


# -- where a name leads ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "::ffff:127.0.0.1", "fd00::1"])
async def test_a_name_that_leads_to_a_private_address_is_refused(address: str) -> None:
    async with Receiver() as host:
        url = f"http://hooks.example.com:{host.port}/"
        assert "private" in await why(client(url, resolve=leads_to(address), allow_private=False))
        assert "private" in await why(client(url, resolve=leads_to(["8.8.8.8", address]), allow_private=False))
        assert host.connections == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "2130706433", "0x7f.1", "localhost", "[::ffff:127.0.0.1]"])
async def test_no_way_to_write_a_private_address_leads_there(host: str) -> None:
    async with Receiver() as listener:
        said = await why(client(f"http://{host}:{listener.port}/", allow_private=False))
        assert "private" in said or "looked up" in said
        assert listener.connections == 0


async def test_a_name_that_leads_elsewhere_the_second_time_is_looked_at_again() -> None:
    async with Receiver() as host:
        resolve = leads_to("127.0.0.1", "nowhere")
        sender = client(f"http://hooks.example.com:{host.port}/", resolve=resolve)
        assert (await sender.post(POST)).status == 200
        assert host.requests[0].headers["host"] == f"hooks.example.com:{host.port}"
        # The connection is still open, yet the name does not lead there any more.
        assert "looked up" in await why(sender)
        assert resolve.asked == [("hooks.example.com", host.port)] * 2
        assert len(host.requests) == 1


async def test_a_connection_goes_to_the_address_that_was_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that leads to a public address when it is checked, and to a private one when asked once more."""
    seen: list[str] = []

    async def connect(self: Any, host: str, *args: Any, **more: Any) -> Any:
        seen.append(host)
        raise asyncio.CancelledError

    async with Receiver() as host:
        resolve = leads_to("8.8.8.8", "127.0.0.1")
        sender = client(f"http://hooks.example.com:{host.port}/", resolve=resolve, allow_private=False)
        monkeypatch.setattr("httpcore.AnyIOBackend.connect_tcp", connect)
        with pytest.raises(asyncio.CancelledError):
            await sender.post(POST)
        assert seen == ["8.8.8.8"]
        monkeypatch.undo()
        assert "private" in await why(sender)
        assert host.connections == 0


async def test_the_next_address_is_tried_where_one_does_not_answer() -> None:
    async with Receiver() as host:
        sender = client(f"http://hooks.example.com:{host.port}/", resolve=leads_to(["127.0.0.9", "127.0.0.1"]))
        assert (await sender.post(POST)).status == 200
        await sender.aclose()


async def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9/")
    async with Receiver() as host:
        sender = client(host.url)
        assert (await sender.post(POST)).status == 200
        await sender.aclose()


# -- TLS -------------------------------------------------------------------------------------------------------------


def tls(name: str) -> tuple[ssl.SSLContext, ssl.SSLContext, list[str | None]]:
    """What a server with a certificate for ``name`` uses, what trusts it, and the names that were asked for."""
    authority = trustme.CA()
    server, trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert(name).configure_cert(server)
    authority.configure_trust(trusting)
    asked: list[str | None] = []
    server.sni_callback = lambda connection, name, context: asked.append(name)
    return server, trusting, asked


async def test_a_certificate_is_verified_by_the_name_and_not_by_the_address() -> None:
    server, trusting, asked = tls("hooks.example.com")
    async with Receiver(server) as host:
        url, resolve = f"https://hooks.example.com:{host.port}/", leads_to("127.0.0.1")
        sender = client(url, trusting, resolve)
        assert (await sender.post(POST)).status == 200
        assert asked == ["hooks.example.com"]
        await sender.aclose()
        assert "certificate" in await why(client(url, None, resolve))
        other = f"https://other.example.com:{host.port}/"
        assert "certificate" in await why(client(other, trusting, resolve))
        assert "certificate" in await why(client(f"https://127.0.0.1:{host.port}/", trusting))


async def test_what_speaks_no_tls_is_said_so() -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 smtp.example.com ESMTP\r\n")
        try:
            with contextlib.suppress(ConnectionError):
                await reader.read()
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        assert "TLS failed" in await why(client(f"https://127.0.0.1:{port}/"))

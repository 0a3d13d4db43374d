"""Mail made to hurt: it is answered or forwarded untouched within seconds, memory stays bounded, others go on."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.e2e.client import Client, connected
from tests.e2e.harness import in_time, queued_as, serving
from tests.fakes.smarthost import FakeSmarthost

HEAD = b"From: news@example.com\r\nMessage-ID: <bomb@example.com>\r\nDate: Mon, 1 Jan 2024 00:00:00 +0000\r\n"
HTML = HEAD + b"MIME-Version: 1.0\r\nContent-Type: text/html\r\n\r\n"


def nested(levels: int) -> bytes:
    opened = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(levels))
    return HEAD + opened + b"Content-Type: text/html\r\n\r\n<a href=http://example.org/>x</a>\r\n"


def parts(count: int) -> bytes:
    part = b"--b\r\nContent-Type: text/html\r\n\r\n<a href=http://example.org/>x</a>\r\n"
    return HEAD + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + part * count + b"--b--\r\n"


BOMBS = {
    "300 nested levels": nested(300),
    "100,000 parts": parts(100_000),
    "a 280 KB encoded word": HEAD + b"Subject: =?utf-8?b?" + b"QUFB" * 70_000 + b"?=\r\n\r\nx\r\n",
    "20,000 encoded words": HEAD + b"Subject: " + b"=?utf-8?q?a?=\r\n " * 20_000 + b"x\r\n\r\nx\r\n",
    "< a million times": HTML + b"<" * 1_000_000 + b"\r\n",
    '<a href=" a million times': HTML + b'<a href="' * 1_000_000 + b"\r\n",
    "<!-- a million times": HTML + b"<!--" * 1_000_000 + b"\r\n",
    "& a million times": HTML + b'<a href="http://e.org/' + b"&" * 1_000_000 + b'">x</a>\r\n',
    "a 20 MB line": HTML + b"x" * 20_000_000 + b"\r\n",
    "9 MB of bare newlines": HTML + b"\n" * 9_000_000 + b"\r\n",
    "100,000 links": HTML + b'<a href="http://example.org/">x</a>\r\n' * 100_000,
}
SECONDS = 2.0
RESIDENT = 300 * 1024 * 1024


@pytest.fixture
async def relay(tmp_path):
    async with FakeSmarthost() as host:
        smarthost = f"{{host: 127.0.0.1, port: {host.port}, tls: none}}"
        async with serving(tmp_path, smarthost) as running:
            yield running, host


async def test_every_bomb_is_survived(relay):
    service, host = relay
    for name, bomb in BOMBS.items():
        async with connected(service.smtp_port) as client:
            began = time.monotonic()
            reply = await asyncio.to_thread(client.send, bomb)
            assert queued_as(reply), name
            await in_time(lambda: host.messages, 60)
            took = time.monotonic() - began
        print(f"{name}: {took:.2f} s, {service.resident() // 1024 // 1024} MB")
        # Twice the time that a quiet machine is given: the suite shares its two cores.
        assert took < SECONDS * 2, (name, took)
        assert service.resident() < RESIDENT, (name, service.resident())
        if "bare newlines" not in name:
            assert host.messages[-1].content.endswith(bomb), name
        host.messages.clear()


async def test_a_300_mb_line_is_refused_within_bounds(relay):
    service, _ = relay

    def send(client: Client) -> bytes:
        client.command(b"MAIL FROM:<news@example.com>")
        client.command(b"RCPT TO:<ann@example.net>")
        client.command(b"DATA")
        for _ in range(300):
            client.raw(b"x" * 1_000_000)
        return client.command(b"\r\n.")

    async with connected(service.smtp_port) as client:
        assert (await asyncio.to_thread(send, client)).startswith(b"552 5.3.4")
        assert service.resident() < RESIDENT
        assert (await asyncio.to_thread(client.send, HTML + b"still here\r\n")).startswith(b"250")


async def test_32_mb_of_bare_newlines_are_refused_within_bounds(relay):
    service, _ = relay
    async with connected(service.smtp_port) as client:
        reply = await asyncio.to_thread(client.send, HTML + b"\n" * 32_000_000 + b"\r\n")
    assert reply.startswith(b"552 5.3.4")
    assert service.resident() < RESIDENT


async def test_others_go_on_meanwhile(relay):
    service, host = relay
    async with connected(service.smtp_port) as heavy, connected(service.smtp_port) as light:
        bomb = asyncio.create_task(asyncio.to_thread(heavy.send, BOMBS["100,000 links"]))
        slowest = 0.0
        for _ in range(900):
            began = time.monotonic()
            assert (await asyncio.to_thread(light.command, b"NOOP")).startswith(b"250")
            slowest = max(slowest, time.monotonic() - began)
            if host.messages:
                break
        assert (await bomb).startswith(b"250")
        await in_time(lambda: host.messages)
    assert slowest < 1.0

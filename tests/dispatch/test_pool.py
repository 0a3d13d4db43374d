"""So many connections at most, whatever they are for, and none kept for longer than it is good for."""

from __future__ import annotations

import asyncio
import base64

import pytest

from relay.config import SmarthostConfig
from relay.dispatch import pool
from relay.dispatch.envelope import Target
from relay.dispatch.smarthost import PrivateHost, Smarthost
from tests.dispatch.test_smarthost import CONTENT, connected, copy
from tests.fakes.smarthost import FakeSmarthost, Script

USERS = {b"ann": base64.b64encode(b"\0ann\0secret")}


async def test_one_bound_for_all_of_it():
    async with FakeSmarthost(users=USERS) as host, connected(host, max_connections=3) as client:

        async def step_by_step():
            mail = await client.begin("a@example.com", {}, patience=10)
            await mail.recipient(Target(1, "b@example.net"))
            assert (await mail.data(CONTENT)).good

        async def private():
            login = await client.login("ann", "secret", patience=10)
            assert isinstance(login, PrivateHost)
            mail = await login.begin("a@example.com", {})
            await mail.recipient(Target(1, "b@example.net"))
            assert (await mail.data(CONTENT)).good
            await login.close()

        async def whole():
            assert (await client.deliver(copy()))[0].sent

        await asyncio.gather(*(work() for _ in range(8) for work in (whole, step_by_step, private)))
        assert len(host.messages) == 24
        # A connection that makes room is closed while the next is opened, so the host may see both for a moment.
        assert host.most_open <= 6
        await asyncio.sleep(0.05)
        assert host.open_now <= 3


async def test_a_login_takes_the_place_of_an_idle_connection():
    async with FakeSmarthost(users=USERS) as host, connected(host, max_connections=2) as client:
        await asyncio.gather(client.deliver(copy()), client.deliver(copy()))
        first, second = await client.login("ann", "secret"), await client.login("ann", "secret")
        await asyncio.sleep(0.05)
        assert host.open_now == 2
        third = await client.login("ann", "secret", patience=0.05)
        assert (third.code, third.host_wide) == (451, False)
        await first.close()
        assert (await client.deliver(copy()))[0].sent
        await second.close()


async def test_the_bound_may_be_a_share_of_what_is_configured():
    async with FakeSmarthost() as host:
        settings = SmarthostConfig(host="127.0.0.1", port=host.port, tls="none", max_connections=20)
        client = Smarthost(settings, "relay.test", connections=2)
        await asyncio.gather(*(client.deliver(copy()) for _ in range(20)))
        await client.close()
        assert host.most_open == 2


async def test_idle_connections_are_closed_without_being_asked_for(monkeypatch):
    monkeypatch.setattr(pool, "IDLE_SECONDS", 0.6)
    async with FakeSmarthost() as host, connected(host) as client:
        await asyncio.gather(*(client.deliver(copy()) for _ in range(3)))
        for _ in range(4):  # one is kept in use, the others become idle
            await asyncio.sleep(0.2)
            await client.deliver(copy())
        await asyncio.sleep(0.05)
        assert host.open_now == 1
        await asyncio.sleep(1)
        assert host.open_now == 0
        assert host.commands.count(b"QUIT") == 3
        assert (await client.deliver(copy()))[0].sent


async def test_what_comes_back_after_closing_is_closed_too():
    async with FakeSmarthost(script={"after": Script("trickle")}) as host, connected(host) as client:
        task = asyncio.create_task(client.deliver(copy()))
        await asyncio.sleep(0.03)
        await client.close()
        assert (await task)[0].sent
        await asyncio.sleep(0.05)
        assert host.open_now == 0


async def test_an_idle_connection_on_which_the_host_spoke_is_not_used():
    async with FakeSmarthost() as host, connected(host) as client:
        host.script["after"] = Script("250 2.0.0 taken", times=1)
        await client.deliver(copy())
        (idle,) = client._pool._idle
        idle._channel.data_received(b"250 2.1.0 Ok\r\n")
        assert (await client.deliver(copy()))[0].sent
        assert host.connections == 2


@pytest.mark.parametrize("act", ["hang", "drop", "550 5.7.1 no"])
async def test_places_come_back_after_every_trouble(act):
    host = FakeSmarthost(script={"ehlo": Script(act)}, users=USERS)
    async with host, connected(host, max_connections=1, timeout="0.3s") as client:
        assert (await client.deliver(copy()))[0].host_wide
        assert not (await client.begin("a@example.com", {}, patience=1)).mail.good
        assert (await client.login("ann", "secret", patience=1)).code == 454
        for work in (client.deliver(copy()), client.begin("a@example.com", {}), client.login("ann", "secret")):
            task = asyncio.create_task(work)
            await asyncio.sleep(0.01)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        host.script.clear()
        assert (await asyncio.wait_for(client.deliver(copy()), 60))[0].sent

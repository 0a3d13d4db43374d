"""A client's own credentials at the smarthost: used there, shown to no one, kept nowhere else."""

from __future__ import annotations

import asyncio
import base64
import ssl

import pytest
import structlog
import trustme

from relay.dispatch.envelope import Reply, Target
from relay.dispatch.opening import Credentials, _confidential
from relay.dispatch.smarthost import PrivateHost
from tests.dispatch.test_smarthost import CONTENT, ca_file, connected, copy, tls_of
from tests.fakes.smarthost import FakeSmarthost, Script

__all__ = ["ca_file"]

USERS = {b"ann": base64.b64encode("\0ann\0s3crät".encode())}
BOB = Target(1, "b@example.net")


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


async def send(private: PrivateHost) -> Reply:
    mail = await private.begin("ann@example.com", {})
    await mail.recipient(BOB)
    return await mail.data(CONTENT)


@pytest.mark.parametrize("mechanisms", [b"PLAIN LOGIN", b"LOGIN", b"PLAIN", b"XOAUTH2 LOGIN"])
@pytest.mark.parametrize("implicit", [True, False])
async def test_a_client_sends_as_itself(authority, ca_file, mechanisms, implicit):
    host = FakeSmarthost(tls=tls_of(authority), users=USERS, mechanisms=mechanisms, implicit=implicit)
    tls = "implicit" if implicit else "starttls"
    async with host, connected(host, tls=tls, ca_file=ca_file) as client:
        private = await client.login("ann", "s3crät")
        assert isinstance(private, PrivateHost)
        assert (await send(private)).good
        assert (await send(private)).good
        await private.close()
        await private.close()
        assert (await private.begin("ann@example.com", {})).mail.code == 503
    assert host.connections == 1
    assert len(host.messages) == 2


@pytest.mark.parametrize(
    ("answer", "code", "enhanced", "text"),
    [
        ("535-5.7.8 wrong\r\n535 5.7.8 again", 535, "5.7.8", "wrong\nagain"),
        ("454 4.7.0 not now", 454, "4.7.0", "not now"),
        ("534 5.7.9 too weak", 534, "5.7.9", "too weak"),
        ("421 4.3.2 bye", 421, "4.3.2", "bye"),
        ("535", 535, "5.0.0", ""),
    ],
)
async def test_a_refusal_is_handed_back_as_it_is(authority, ca_file, answer, code, enhanced, text):
    host = FakeSmarthost(tls=tls_of(authority), users=USERS, script={"auth": Script(answer)})
    async with host, connected(host, tls="starttls", ca_file=ca_file, max_connections=1) as client:
        refused = await client.login("ann", "s3crät")
        assert isinstance(refused, Reply)
        assert (refused.code, refused.enhanced, refused.text) == (code, enhanced, text)
        assert (await client.deliver(copy()))[0].sent  # its place is free again


async def test_a_wrong_password_is_tried_once(authority, ca_file):
    host = FakeSmarthost(tls=tls_of(authority), users=USERS)
    async with host, connected(host, tls="starttls", ca_file=ca_file) as client:
        refused = await client.login("ann", "wrong")
        assert (refused.code, refused.enhanced) == (535, "5.7.8")
        nul = await client.login("ann\0ann", "x")
        assert nul.code == 535
    assert sum(line.startswith(b"AUTH") for line in host.commands) == 1


@pytest.mark.parametrize(
    ("stage", "act"),
    [(stage, act) for stage in ("greeting", "ehlo", "starttls", "auth") for act in ("drop", "hang", "garbage")]
    + [("greeting", "554 5.3.2 no"), ("starttls", "550 no"), ("auth", "334 ")]
    + [("greeting", "220 x\r\n250 y"), ("ehlo", "250-x\r\n250 AUTH PLAIN\r\n235 y"), ("auth", "235 x\r\n250 y")],
)
async def test_trouble_on_the_way_is_temporary(authority, ca_file, stage, act):
    host = FakeSmarthost(tls=tls_of(authority), users=USERS, script={stage: Script(act)})
    async with host, connected(host, tls="starttls", ca_file=ca_file, timeout="0.2s") as client:
        refused = await client.login("ann", "s3crät")
    assert refused.code == 454
    assert refused.enhanced.startswith("4.")
    assert refused.host_wide


async def test_a_host_without_auth_is_temporary_trouble(authority, ca_file):
    async with FakeSmarthost(tls=tls_of(authority)) as host, connected(host, tls="starttls", ca_file=ca_file) as client:
        assert (await client.login("ann", "s3crät")).code == 454


async def test_no_password_in_clear_to_another_machine():
    verified = ssl.create_default_context()
    unverified = ssl.create_default_context()
    unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE
    assert _confidential(verified, ("192.0.2.1", 587))
    for context in (None, unverified):
        assert not _confidential(context, ("192.0.2.1", 587))
        assert not _confidential(context, ("fe80::1%eth0", 587, 0, 0))
        for here in ("127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"):
            assert _confidential(context, (here, 587))


async def test_where_it_would_go_in_clear_the_client_is_told(monkeypatch):
    monkeypatch.setattr("relay.dispatch.opening._confidential", lambda context, peer: False)
    async with FakeSmarthost(users=USERS) as host, connected(host) as client:
        refused = await client.login("ann", "s3crät")
        assert (refused.code, refused.enhanced) == (538, "5.7.11")
    assert not any(line.startswith(b"AUTH") for line in host.commands)


async def test_a_host_that_drops_is_logged_into_again():
    async with FakeSmarthost(users=dict(USERS)) as host, connected(host, max_connections=1) as client:
        private = await client.login("ann", "s3crät")
        assert (await send(private)).good
        host.script["mail"] = Script("421 4.4.2 idle for too long", times=1)
        assert (await send(private)).good
        for task in list(host._tasks):
            task.cancel()
        await asyncio.sleep(0.05)
        assert (await send(private)).good
        for task in list(host._tasks):
            task.cancel()
        await asyncio.sleep(0.05)
        host.users.clear()
        mail = await private.begin("ann@example.com", {})
        assert (mail.mail.temporary, mail.mail.host_wide) == (True, True)
        await private.close()
    assert host.connections == 4
    assert host.most_open == 1


async def test_one_mail_at_a_time():
    async with FakeSmarthost(users=USERS) as host, connected(host) as client:
        private = await client.login("ann", "s3crät")
        first = await private.begin("ann@example.com", {})
        assert (await private.begin("ann@example.com", {})).mail.code == 503
        await private.close()
        assert not (await first.recipient(BOB)).good
        await first.abandon()
    assert not host.messages


async def test_the_password_shows_nowhere(authority, ca_file):
    secret = "s3cr3t-of-ann"
    echo = base64.b64encode(f"\0ann\0{secret}".encode()).decode()
    assert secret not in repr(Credentials("ann", secret))
    for repeated in (secret, echo):
        script = {"auth": Script(f"535 5.7.8 no such user {repeated}")}
        host = FakeSmarthost(tls=tls_of(authority), users=USERS, script=script)
        login = {"username": "ann", "password": secret}
        with structlog.testing.capture_logs() as logs:
            async with host, connected(host, tls="starttls", ca_file=ca_file, **login) as client:
                private = await client.login("ann", secret)
                (verdict,) = await client.deliver(copy())
                sentence = await client.probe()
        for shown in (repr(logs), repr(private), repr(verdict), sentence):
            assert secret not in shown
            assert echo not in shown
        assert (private.code, verdict.code) == (535, 451)

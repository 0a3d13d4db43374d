"""SIGHUP: senders, users, keys and certificates are read again while mail goes on; a wrong file changes nothing."""

from __future__ import annotations

import asyncio
import contextlib
import re
import smtplib
import ssl
from pathlib import Path

import pytest
import trustme

from relay.keys import new_signing_key
from relay.passwords import hash_password
from tests.e2e.harness import eventually
from tests.endurance.crowd import mail, session
from tests.endurance.service import QUICK, Service, at, running
from tests.fakes.smarthost import FakeSmarthost, Script

OTHERS = '- match: "*@other.test"\n'
RELOADED = ("the configuration is reloaded", "the keys are reloaded")
REFUSED = ("the configuration is not reloaded", "the keys are not reloaded")


async def reload(service: Service, events: tuple[str, str] = RELOADED) -> str:
    """SIGHUP, until every process has said one of ``events``; what was logged meanwhile."""
    before = len(service.log)
    processes = len(service.children())
    service.hang_up()

    def said() -> str:
        text = service.log[before:]
        return text if sum(text.count(f'"{event}"') for event in events) == processes else ""

    return await asyncio.to_thread(eventually, said)


async def arrival(service: Service, host: FakeSmarthost, name: str) -> bytes:
    """Send a mail; what arrives."""
    async with session(service.smtp_port) as client:
        assert (await client.send(mail(name))).startswith("250")
    return await content_of(host, name)


async def content_of(host: FakeSmarthost, name: str) -> bytes:
    wanted = f"Message-ID: <{name}@".encode()
    return await asyncio.to_thread(
        eventually, lambda: next((each.content for each in host.messages if wanted in each.content), b"")
    )


def link(content: bytes) -> str:
    """The path of the tracked link."""
    found = re.search(rb"http://track\.test(/c/[\w-]+)", content)
    assert found
    return found[1].decode()


async def leads_to(service: Service, path: str) -> str | None:
    answer = await asyncio.to_thread(service.web.get, path)
    return answer.headers.get("location")


async def test_senders_and_smarthosts(tmp_path):
    async with FakeSmarthost() as host, FakeSmarthost() as other:
        with running(tmp_path, at(host.port), relay=f"workers: 2\n{QUICK}") as service:
            pids = service.children()
            assert b"track.test/c/" in await arrival(service, host, "before")
            service.configure(relay=f"workers: 2\n{QUICK}", senders=OTHERS)
            await reload(service)
            for number in range(4):
                assert b"track.test" not in await arrival(service, host, f"untracked{number}")
            own = f'- match: "*@example.com"\n  smarthost: {at(other.port)}\n'
            service.configure(relay=f"workers: 2\n{QUICK}", senders=own)
            await reload(service)
            for number in range(4):
                assert b"track.test/c/" in await arrival(service, other, f"elsewhere{number}")
            assert service.children() == pids


async def test_a_process_that_is_started_anew_takes_the_file_as_it_was_reloaded(tmp_path):
    async with FakeSmarthost() as host:
        with running(tmp_path, at(host.port), relay=QUICK) as service:
            service.configure(relay=QUICK, senders=OTHERS)
            await reload(service)
            service.kill(*service.workers())
            assert b"track.test" not in await arrival(service, host, "after")


async def test_signing_keys(tmp_path):
    old, new = new_signing_key(), new_signing_key()
    async with FakeSmarthost() as host:
        with running(tmp_path, at(host.port), relay=QUICK, top=f"signing_keys: [{old}]\n") as service:
            first = link(await arrival(service, host, "first"))
            host.script["greeting"] = Script("421 4.3.2 not now")
            host.script["mail"] = Script("421 4.3.2 not now", times=1)
            async with session(service.smtp_port) as client:
                for name in ("waiting", "longer"):
                    assert (await client.send(mail(name))).startswith("250")
            service.configure(relay=QUICK, top=f"signing_keys: [{new}, {old}]\n")
            await reload(service)
            host.script.clear()
            second = link(await arrival(service, host, "second"))
            waited = [link(await content_of(host, name)) for name in ("waiting", "longer")]
            for path, name in zip([first, second, *waited], ("first", "second", "waiting", "longer"), strict=True):
                assert await leads_to(service, path) == f"https://example.org/{name}"
            service.configure(relay=QUICK, top=f"signing_keys: [{new}]\n")
            await reload(service)
            assert await leads_to(service, second) == "https://example.org/second"
            # Sealed while the old key was the first, and kept as decided: it is no key of ours any more.
            assert [await leads_to(service, path) for path in (first, *waited)] == [None] * 3


async def test_a_mail_whose_key_is_gone_goes_with_links_of_the_new_one(tmp_path):
    async with FakeSmarthost() as host:
        host.script["greeting"] = Script("421 4.3.2 not now")
        with running(tmp_path, at(host.port), relay=QUICK, top=f"signing_keys: [{new_signing_key()}]\n") as service:
            async with session(service.smtp_port) as client:
                assert (await client.send(mail("orphan"))).startswith("250")
            service.configure(relay=QUICK, top=f"signing_keys: [{new_signing_key()}]\n")
            await reload(service)
            host.script.clear()
            path = link(await content_of(host, "orphan"))
            assert await leads_to(service, path) == "https://example.org/orphan"


WRONG = {
    "an unknown key": ("relay: {lisen: x}\n", "relay.lisen: unknown key"),
    "no YAML": ("relay: [\n", "config.yaml:"),
    "no text": ("\x00\xff", "config.yaml"),
    "nothing": ("", "relay.smarthost.host: is required"),
    "a wrong key": ("signing_keys: [abc]\nrelay: {smarthost: {host: sandbox}}\n", "signing_keys[0]"),
}


async def test_a_wrong_file_changes_nothing_and_says_why(tmp_path):
    async with FakeSmarthost() as host:
        with running(tmp_path, at(host.port), relay=QUICK) as service:
            file, pids = tmp_path / "config.yaml", service.children()
            good = file.read_text()
            path = link(await arrival(service, host, "before"))
            for number, (text, why) in enumerate(WRONG.values()):
                file.write_text(text, "latin-1")
                said = await reload(service, REFUSED)
                assert said.count(why) >= 2, said
                assert b"track.test/c/" in await arrival(service, host, f"wrong{number}")
            file.unlink()
            assert "No such file" in await reload(service, REFUSED)
            file.mkdir()
            assert "Is a directory" in await reload(service, REFUSED)
            service.kill(*service.workers())  # it is started anew with what held before
            assert b"track.test/c/" in await arrival(service, host, "anew")
            assert await leads_to(service, path) == "https://example.org/before"
            file.rmdir()
            file.write_text(good.replace('match: "*"', 'match: "*@other.test"'))
            await reload(service)
            assert b"track.test" not in await arrival(service, host, "right")
            assert service.pid not in pids
            assert len(set(service.children()) & set(pids)) == 1


def door(folder: Path, users: dict[str, str]) -> str:
    names = ", ".join(f"{name}: '{hash}'" for name, hash in users.items())
    return f"tls: {{certificate: {folder}/cert.pem, key: {folder}/key.pem}}\nauth: {{users: {{{names}}}}}\n{QUICK}"


def write_certificate(folder: Path) -> bytes:
    """A fresh certificate for the door; its octets as a client sees them."""
    made = trustme.CA().issue_cert("localhost")
    made.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    made.private_key_pem.write_to_path(folder / "key.pem")
    return ssl.PEM_cert_to_DER_cert(made.cert_chain_pems[0].bytes().decode())


def shown(service: Service) -> bytes | None:
    """The certificate that a client sees now."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with smtplib.SMTP("127.0.0.1", service.smtp_port, timeout=20) as client:
        client.starttls(context=context)
        assert isinstance(client.sock, ssl.SSLSocket)
        return client.sock.getpeercert(binary_form=True)


def may_log_in(service: Service, user: str, password: str) -> bool:
    with smtplib.SMTP("127.0.0.1", service.smtp_port, timeout=20) as client:
        with contextlib.suppress(smtplib.SMTPAuthenticationError):
            client.login(user, password)
            return True
        return False


async def test_users_and_certificates(tmp_path):
    async with FakeSmarthost() as host:
        before = write_certificate(tmp_path)
        with running(tmp_path, at(host.port), relay=door(tmp_path, {"app": hash_password("one")})) as service:
            assert shown(service) == before
            assert may_log_in(service, "app", "one")
            after = write_certificate(tmp_path)
            service.configure(relay=door(tmp_path, {"app": hash_password("two"), "new": hash_password("three")}))
            await reload(service)
            assert shown(service) == after
            logins = [may_log_in(service, *each) for each in (("app", "one"), ("app", "two"), ("new", "three"))]
            assert logins == [False, True, True]


async def test_a_wrong_certificate_changes_nothing_else_either(tmp_path):
    async with FakeSmarthost() as host:
        before = write_certificate(tmp_path)
        relay = door(tmp_path, {"app": hash_password("one")})
        with running(tmp_path, at(host.port), relay=relay) as service:
            write_certificate(tmp_path)
            (tmp_path / "cert.pem").write_text("no certificate")
            service.configure(relay=relay, senders=OTHERS)
            said = await reload(service, REFUSED)
            assert "cert.pem: holds no certificate" in said
            assert b"track.test/c/" in await arrival(service, host, "still")
            assert shown(service) == before


@pytest.mark.parametrize("workers", [1, 2])
async def test_mail_goes_on_while_it_is_reloaded_again_and_again(workers, tmp_path):
    async with FakeSmarthost() as host:
        with running(tmp_path, at(host.port), relay=f"workers: {workers}\n{QUICK}") as service:
            async with session(service.smtp_port) as client:
                for number in range(40):
                    service.hang_up()
                    assert (await client.send(mail(f"r{number}"))).startswith("250")
            await asyncio.to_thread(eventually, lambda: len(host.messages) == 40)

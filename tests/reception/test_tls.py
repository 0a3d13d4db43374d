"""TLS at the door: STARTTLS, from the first byte, and what goes wrong with either."""

from __future__ import annotations

import asyncio
import smtplib
import ssl
import time
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from relay.acceptance import trace_headers
from relay.certificates import CertificateError, tls_context
from relay.config import RelayConfig
from relay.reception import handshake
from tests.config.conftest import Problems, load, problems  # noqa: F401 - fixtures
from tests.reception.test_auth import ANN, USERS, WRONG, no_delay  # noqa: F401 - a fixture
from tests.reception.test_smtpd import MAIL, client, codes, server, talk
from tracker.model import new_id

AUTHORITY = trustme.CA()


def write_pair(folder: Path, name: str = "relay.test") -> dict[str, str]:
    """A certificate for that name and its key, as the configuration names them."""
    issued = AUTHORITY.issue_cert(name)
    issued.private_key_pem.write_to_path(folder / f"{name}.key")
    for number, blob in enumerate(issued.cert_chain_pems):
        blob.write_to_path(folder / f"{name}.pem", append=number > 0)
    return {"certificate": str(folder / f"{name}.pem"), "key": str(folder / f"{name}.key")}


@pytest.fixture
def pair(tmp_path):
    return write_pair(tmp_path)


@pytest.fixture
def implicit(pair):
    return {**pair, "mode": "implicit"}


def trust() -> ssl.SSLContext:
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    return context


@asynccontextmanager
async def secure(running, name: str = "relay.test", context: ssl.SSLContext | None = None):
    """A client that says STARTTLS where the server wants that, and is greeted."""
    host, port = running.addresses[0]
    context = context or trust()
    if running.implicit_tls:
        reader, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=name)
        await reader.readline()
    else:
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"EHLO me\r\nSTARTTLS\r\n")
        await reader.readuntil(b"\r\n220 2.0.0 ")
        await reader.readline()
        await writer.start_tls(context, server_hostname=name)
    try:
        yield reader, writer
    finally:
        writer.close()


async def talk_secure(running, octets: bytes) -> bytes:
    """All that is answered by TLS to these octets, whose last are QUIT."""
    async with secure(running) as (reader, writer):
        writer.write(octets + b"QUIT\r\n")
        return b"220 \r\n" + await asyncio.wait_for(reader.read(), 60)


# -- both ways -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["starttls", "implicit"])
async def test_a_mail_comes_by_tls(pair, mode):
    async with server(tls={**pair, "mode": mode}) as (running, taken):
        content = b"Subject: x\r\n\r\n" + b"y" * 300_000 + b"\r\n"
        answer = await talk_secure(running, b"EHLO me\r\n" + MAIL + content + b".\r\n")
    assert codes(answer) == ["250", "250 2.1.0", "250 2.1.5", "354", "250 2.0.0", "221 2.0.0"]
    assert b"STARTTLS" not in answer
    assert (taken[0].content, taken[0].tls, taken[0].esmtp) == (content, True, True)


@pytest.mark.parametrize("mode", ["starttls", "implicit"])
@pytest.mark.parametrize(
    ("version", "works"),
    [(ssl.TLSVersion.TLSv1_1, False), (ssl.TLSVersion.TLSv1_2, True), (ssl.TLSVersion.TLSv1_3, True)],
)
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
async def test_tls_is_1_2_or_newer(pair, mode, version, works):
    context = trust()
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    async with server(tls={**pair, "mode": mode}) as (running, _):
        if works:
            async with secure(running, context=context) as (_, writer):
                assert writer.get_extra_info("ssl_object").version() == version.name.replace("_", ".")
        else:
            with pytest.raises((ssl.SSLError, ConnectionError)):
                async with secure(running, context=context):
                    pass


@pytest.mark.parametrize("mode", ["starttls", "implicit"])
async def test_a_client_that_leaves_after_the_dot_has_its_mail_taken(pair, mode):
    async with server(tls={**pair, "mode": mode}) as (running, taken):
        taken.gate = asyncio.Event()
        async with secure(running) as (_, writer):
            writer.write(b"EHLO me\r\n" + MAIL + b"x\r\n.\r\n")
            while not running.memory:
                await asyncio.sleep(0.01)
            writer.transport.abort()
        await asyncio.sleep(0.05)
        taken.gate.set()
        async with asyncio.timeout(60):
            while not taken or running.sessions:
                await asyncio.sleep(0.01)
    assert running.memory == running.seat.connections == 0


@pytest.mark.parametrize("mode", ["starttls", "implicit"])
async def test_a_client_that_shakes_no_hands_is_left(pair, mode):
    async with (
        server(tls={**pair, "mode": mode}, limits={"idle": "1s"}) as (running, _),
        client(running) as (reader, writer),
    ):
        if mode == "starttls":
            writer.write(b"STARTTLS\r\n")
        began = time.monotonic()
        answer = await asyncio.wait_for(reader.read(), 60)
        assert time.monotonic() - began > 0.8
        assert answer.count(b"\r\n") == (2 if mode == "starttls" else 0)
        assert running.seat.connections == 0


@pytest.mark.parametrize("mode", ["starttls", "implicit"])
async def test_stopping_does_not_wait_for_hands_to_be_shaken(pair, mode):
    async with server(tls={**pair, "mode": mode}) as (running, _), client(running) as (reader, writer):
        if mode == "starttls":
            writer.write(b"STARTTLS\r\n")
            await reader.readuntil(b"220 2.0.0 ")
        while not any(session._shaking_hands for session in running.sessions):
            await asyncio.sleep(0.01)
        async with asyncio.timeout(60):
            await running.stop()
        assert b"421" not in await reader.read()


@pytest.mark.parametrize("mode", ["starttls", "implicit"])
async def test_what_is_no_tls_ends_the_session_without_a_fuss(pair, mode, capsys, caplog):
    async with server(tls={**pair, "mode": mode}) as (running, _):
        greeting = b"STARTTLS\r\n" if mode == "starttls" else b""
        async with client(running) as (reader, writer):
            writer.write(greeting)
            if greeting:
                await reader.readuntil(b"220 2.0.0 ")
                await reader.readline()
            writer.write(b"EHLO me\r\nMAIL FROM:<a@b.test>\r\n")
            answer = await asyncio.wait_for(reader.read(), 60)
            assert b"250" not in answer
        async with asyncio.timeout(60):
            while running.sessions:
                await asyncio.sleep(0.01)
    logged = "".join(capsys.readouterr()) + caplog.text
    assert "no TLS came about" in logged
    assert "Traceback" not in logged
    assert running.seat.connections == 0


async def test_a_client_that_is_not_wanted_on_an_implicit_port_is_told_by_tls(implicit):
    async with server(tls=implicit, limits={"connections_per_address": 1}) as (running, _), secure(running):
        reader, writer = await asyncio.open_connection(*running.addresses[0], ssl=trust(), server_hostname="relay.test")
        assert (await reader.read()).startswith(b"421 4.7.0 ")
        writer.close()


async def test_a_client_that_reads_nothing_is_left(pair, monkeypatch):
    monkeypatch.setattr("relay.reception.connection._LINGER_SECONDS", 0.2)
    limits = {"idle": "1s", "commands": 10_000_000}
    async with server(tls=pair, limits=limits) as (running, _):
        async with secure(running) as (_, writer):
            writer.transport.pause_reading()
            with pytest.raises((ConnectionError, TimeoutError)):  # noqa: PT012
                async with asyncio.timeout(20):
                    while True:
                        writer.write(b"HELP\r\n" * 20_000)
                        await writer.drain()
        async with asyncio.timeout(60):
            while running.sessions:
                await asyncio.sleep(0.05)


# -- STARTTLS --------------------------------------------------------------------------------------------------------


async def test_starttls_is_offered_where_there_is_a_certificate_and_only_in_clear(pair):
    async with server(tls=pair) as (running, _):
        assert b"250-STARTTLS\r\n" in await talk(running, b"EHLO me\r\n")
        answer = await talk_secure(running, b"EHLO me\r\nSTARTTLS\r\n")
        assert b"250-STARTTLS" not in answer
        assert codes(answer) == ["250", "503 5.5.1", "221 2.0.0"]
    async with server() as (running, _):
        answer = await talk(running, b"EHLO me\r\nSTARTTLS\r\n")
    assert b"STARTTLS" not in answer
    assert codes(answer) == ["250", "502 5.5.1"]


async def test_starttls_takes_no_argument(pair):
    async with server(tls=pair) as (running, _):
        assert codes(await talk(running, b"EHLO me\r\nSTARTTLS now\r\n")) == ["250", "501 5.5.4"]


async def test_after_starttls_all_is_forgotten(pair):
    async with server(tls=pair, auth={"users": USERS}) as (running, _), client(running) as (reader, writer):
        writer.write(b"EHLO me\r\nAUTH PLAIN " + ANN + b"\r\nMAIL FROM:<a@b.test>\r\nSTARTTLS\r\n")
        await reader.readuntil(b"\r\n220 2.0.0 ")
        await reader.readline()
        await writer.start_tls(trust(), server_hostname="relay.test")
        writer.write(b"RCPT TO:<c@d.test>\r\nMAIL FROM:<a@b.test>\r\nEHLO me\r\nAUTH PLAIN " + ANN + b"\r\nQUIT\r\n")
        answer = b"220 \r\n" + await asyncio.wait_for(reader.read(), 60)
    assert codes(answer) == ["503 5.5.1", "503 5.5.1", "250", "235 2.7.0", "221 2.0.0"]


INJECTED = b"RSET\r\nEHLO evil\r\nMAIL FROM:<evil@b.test>\r\nRCPT TO:<c@d.test>\r\n"


async def test_what_is_pipelined_behind_starttls_is_refused(pair):
    async with server(tls=pair) as (running, _):
        answer = await talk(running, b"EHLO me\r\nSTARTTLS\r\n" + INJECTED, eof=False)
        assert codes(answer) == ["250", "501 5.5.1"]


@pytest.mark.parametrize("pause", [0.0, 0.001, 0.01])
async def test_what_comes_in_clear_after_starttls_is_never_a_command(pair, pause):
    """CVE-2011-0411: the commands of someone in between must not be read as those of the client within TLS."""
    async with server(tls=pair) as (running, _):
        for _ in range(10):
            reader, writer = await asyncio.open_connection(*running.addresses[0])
            writer.write(b"EHLO me\r\nSTARTTLS\r\n")
            await asyncio.sleep(pause)
            writer.write(INJECTED)
            answer = b""
            try:
                await asyncio.wait_for(reader.readuntil(b"\r\n220 2.0.0 "), 60)
                await reader.readline()
                await asyncio.wait_for(writer.start_tls(trust(), server_hostname="relay.test"), 60)
                writer.write(b"NOOP\r\nQUIT\r\n")
                answer = await asyncio.wait_for(reader.read(), 60)
            except (ssl.SSLError, OSError, EOFError):
                pass
            assert answer in (b"", b"250 2.0.0 Ok\r\n221 2.0.0 Bye\r\n")
            writer.close()


async def test_octets_read_but_not_asked_for_when_tls_begins_are_thrown_away(pair, monkeypatch):
    """The same, where the clear commands come just while 220 is written."""
    async with server(tls=pair) as (running, _), client(running) as (reader, writer):
        await reader.readline()
        (session,) = running.sessions
        say = session._say

        async def inject(reply: str) -> None:
            if reply.startswith("220 2.0.0"):
                session._reader.feed_data(INJECTED)
            await say(reply)

        session._say = inject
        writer.write(b"STARTTLS\r\n")
        await reader.readline()
        await writer.start_tls(trust(), server_hostname="relay.test")
        writer.write(b"NOOP\r\nQUIT\r\n")
        assert await asyncio.wait_for(reader.read(), 60) == b"250 2.0.0 Ok\r\n221 2.0.0 Bye\r\n"


# -- AUTH within TLS -------------------------------------------------------------------------------------------------


async def test_auth_is_for_tls_where_the_client_is_not_local(pair, monkeypatch):
    monkeypatch.setattr(handshake, "_is_loopback", lambda peer: False)
    async with server(tls=pair, auth={"users": USERS}, allow_networks=["10.0.0.0/8"]) as (running, taken):
        answer = await talk(running, b"EHLO me\r\nAUTH PLAIN " + ANN + b"\r\n")
        assert b"AUTH PLAIN LOGIN" not in answer
        assert codes(answer) == ["250", "538 5.7.11"]
        answer = await talk_secure(running, b"EHLO me\r\nAUTH PLAIN " + ANN + b"\r\n" + MAIL + b"x\r\n.\r\n")
        assert b"250-AUTH PLAIN LOGIN\r\n" in answer
        assert codes(answer)[1:5] == ["235 2.7.0", "250 2.1.0", "250 2.1.5", "354"]
    assert (taken[0].tls, taken[0].user, taken[0].trusted) == (True, "ann", True)


@pytest.mark.parametrize(
    ("mode", "greeting", "log_in", "word"),
    [
        ("starttls", b"EHLO", False, "ESMTPS"),
        ("starttls", b"EHLO", True, "ESMTPSA"),
        ("implicit", b"EHLO", True, "ESMTPSA"),
        ("implicit", b"HELO", False, "SMTP"),
        (None, b"EHLO", True, "ESMTPA"),
        (None, b"EHLO", False, "ESMTP"),
        (None, b"HELO", False, "SMTP"),
    ],
)
async def test_received_says_how_it_came(pair, mode, greeting, log_in, word):
    options = {"tls": {**pair, "mode": mode}} if mode else {}
    octets = greeting + b" me\r\n" + (b"AUTH PLAIN " + ANN + b"\r\n" if log_in else b"") + MAIL + b"x\r\n.\r\n"
    async with server(auth={"users": USERS}, **options) as (running, taken):
        await (talk_secure if mode else talk)(running, octets)
    trace = trace_headers(taken[0], "relay.test", new_id(0.0), 0.0)
    assert f" with {word} id ".encode() in trace


@pytest.mark.parametrize("mode", ["starttls", "implicit"])
async def test_smtplib_comes_by_tls_and_logs_in(pair, mode):
    def send(host: str, port: int) -> None:
        if mode == "implicit":
            smtp: smtplib.SMTP = smtplib.SMTP_SSL("localhost", port, timeout=10, context=trust())
        else:
            smtp = smtplib.SMTP("localhost", port, timeout=10)
            smtp.starttls(context=trust())
        with smtp:
            smtp.login("ann", "secret")
            smtp.sendmail("a@b.test", ["c@d.test"], "Subject: x\r\n\r\ny")

    folder = Path(pair["key"]).parent
    tls = {**write_pair(folder, "localhost"), "mode": mode}
    async with server(tls=tls, auth={"users": USERS}, allow_networks=["10.0.0.0/8"]) as (running, taken):
        await asyncio.to_thread(send, *running.addresses[0])
    assert (taken[0].user, taken[0].tls) == ("ann", True)


async def test_a_delay_within_tls_does_not_outlive_its_client(pair, monkeypatch):
    monkeypatch.setattr(handshake, "_DELAY_SECONDS", 3600.0)
    async with server(tls=pair, auth={"users": USERS}) as (running, _):
        async with secure(running) as (_, writer):
            writer.write(b"EHLO me\r\nAUTH PLAIN " + WRONG + b"\r\n")
            while not running.seat.board.failures("127.0.0.1", time.monotonic()):
                await asyncio.sleep(0.01)
        async with asyncio.timeout(60):
            while running.sessions:
                await asyncio.sleep(0.01)


# -- certificates ----------------------------------------------------------------------------------------------------


async def test_new_certificates_hold_once_the_configuration_is_reloaded(pair, tmp_path):
    async with server(tls=pair) as (running, _), client(running) as (reader, writer):
        writer.write(b"EHLO me\r\n")
        await reader.readuntil(b"DSN\r\n")
        running.reload(RelayConfig(tls=write_pair(tmp_path, "new.test")))
        async with secure(running, "new.test"):
            pass
        with pytest.raises(CertificateError):
            running.reload(RelayConfig(tls={**pair, "key": str(tmp_path / "new.test.key")}))
        async with secure(running, "new.test"):
            pass
        running.reload(RelayConfig())
        writer.write(b"STARTTLS\r\nEHLO me\r\nSTARTTLS\r\n")
        assert (await reader.readline()).startswith(b"454 4.7.0 ")
        assert (await reader.readuntil(b"502 5.5.1 ")).startswith(b"250-relay.test")


def test_what_is_wrong_with_a_certificate_is_said(pair, tmp_path, problems: Problems):  # noqa: F811
    (tmp_path / "junk.pem").write_text("junk")
    (tmp_path / "cut.pem").write_text(Path(pair["certificate"]).read_text()[:200])
    other = write_pair(tmp_path, "other.test")

    def found(certificate: str, key: str) -> list[str]:
        return problems(
            f"relay:\n  smarthost: {{host: sandbox}}\n  tls:\n    certificate: {certificate}\n    key: {key}\n"
        )

    name = Path(pair["certificate"]).name
    unreadable = "holds no certificate in PEM that can be read"
    assert found("junk.pem", pair["key"]) == [f"config.yaml:4: relay.tls.certificate: junk.pem: {unreadable}"]
    assert found("cut.pem", pair["key"]) == [f"config.yaml:4: relay.tls.certificate: cut.pem: {unreadable}"]
    assert found(name, "junk.pem") == [
        "config.yaml:5: relay.tls.key: junk.pem: holds no private key in PEM that can be read"
    ]
    assert found(name, Path(other["key"]).name) == [
        f"config.yaml:5: relay.tls.key: other.test.key: is not the key of the first certificate in {name}"
    ]
    assert found(name, "absent.key") == ["config.yaml:5: relay.tls.key: absent.key: no such file"]


def test_an_encrypted_key_is_told_apart(pair, tmp_path):
    key = serialization.load_pem_private_key(Path(pair["key"]).read_bytes(), None)
    (tmp_path / "encrypted.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"password"),
        )
    )
    with pytest.raises(CertificateError, match=r"encrypted\.key: is encrypted"):
        tls_context(Path(pair["certificate"]), tmp_path / "encrypted.key")
    with pytest.raises(CertificateError, match="Is a directory"):
        tls_context(tmp_path, tmp_path / "encrypted.key")

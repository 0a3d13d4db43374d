"""Real clients that come by TLS and AUTH: swaks, msmtp, Django, and Postfix with a password for its relayhost."""

from __future__ import annotations

import os
import re
import smtplib
import subprocess
import sys
import textwrap

import pytest

from bench.mails import newsletter
from tests.e2e.harness import eventually, tracepost
from tests.peers import postfix
from tests.peers.conftest import command, skip_where
from tests.peers.sink import arrived, sink

USER, PASSWORD = "app", "a-word-to-come-in"
RELAY = """\
allow_networks: ["192.0.2.0/24"]
tls: {{certificate: {file}, key: {file}, mode: {mode}}}
auth: {{users: {{{user}: "{hash}"}}}}
"""


def hashed(password: str) -> str:
    """What ``tracepost hash-password`` makes of a password."""
    run = subprocess.run(
        [sys.executable, "-m", "relay.cli", "hash-password"],
        input=password + "\n",
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 0, run.stderr
    assert password not in run.stdout
    return run.stdout.strip()


@pytest.fixture(scope="module", params=["starttls", "implicit"])
def service(request, certificate, tmp_path_factory):
    relay = RELAY.format(file=certificate.own, mode=request.param, user=USER, hash=hashed(PASSWORD))
    with sink() as host:
        smarthost = f"{{host: 127.0.0.1, port: {host.port}, tls: none}}"
        with tracepost(tmp_path_factory.mktemp("service"), smarthost, relay=relay) as running:
            yield running, host, request.param


@pytest.fixture
def relay(service):
    service[1].messages.clear()
    return service


def word_of(message) -> bytes:
    """How the mail came to us, by our own Received header."""
    return re.search(rb"\(Tracepost\) with (\S+)", message.content)[1]


def swaks(port: int, mode: str, authority, *options: str) -> subprocess.CompletedProcess[str]:
    tls = {"starttls": ["--tls"], "implicit": ["--tls-on-connect"], "none": []}[mode]
    tls += ["--tls-verify", "--tls-ca-path", str(authority)] if tls else []
    address = ["--server", "localhost", "--port", str(port), "--from", "news@example.com", "--to", "ann@example.net"]
    data = ["--data", newsletter().decode().replace("\r\n", "\n")]
    whole = [command("swaks"), *address, *tls, *options, *data]
    sent = subprocess.run(whole, capture_output=True, text=True, timeout=60)
    if "requires Net::SSLeay" in sent.stdout + sent.stderr:
        pytest.skip("swaks has no TLS without Net::SSLeay")
    return sent


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_swaks_comes_in(relay, certificate, mechanism):
    running, host, mode = relay
    login = ["--auth", mechanism, "--auth-user", USER, "--auth-password", PASSWORD]
    sent = swaks(running.smtp_port, mode, certificate.authority, *login)
    assert sent.returncode == 0, sent.stdout + sent.stderr
    (message,) = arrived(host)
    assert word_of(message) == b"ESMTPSA"
    assert PASSWORD not in (running.folder / "log").read_text()


def test_a_wrong_password_stays_outside(relay, certificate):
    running, host, mode = relay
    login = ["--auth", "PLAIN", "--auth-user", USER, "--auth-password", "guessed"]
    sent = swaks(running.smtp_port, mode, certificate.authority, *login)
    assert sent.returncode != 0
    assert "535 5.7.8" in sent.stdout
    assert host.messages == []


def test_nobody_relays_without_a_password(relay, certificate):
    running, host, mode = relay
    sent = swaks(running.smtp_port, mode, certificate.authority)
    assert sent.returncode != 0
    assert "530 5.7.0" in sent.stdout
    assert host.messages == []


@pytest.mark.parametrize("mechanism", ["plain", "login"])
def test_msmtp_comes_in(relay, certificate, mechanism):
    running, host, mode = relay
    msmtp(running.smtp_port, mode, certificate.authority, mechanism)
    (message,) = arrived(host)
    assert word_of(message) == b"ESMTPSA"


def msmtp(port: int, mode: str, authority, mechanism: str, user: str = USER, password: str = PASSWORD) -> None:
    options = ["--host=localhost", f"--port={port}", "--from=news@example.com", f"--auth={mechanism}"]
    options += ["--tls=on", f"--tls-starttls={'on' if mode == 'starttls' else 'off'}", f"--tls-trust-file={authority}"]
    options += [f"--user={user}", f"--passwordeval=echo '{password}'"]
    mail = newsletter().replace(b"\r\n", b"\n")
    subprocess.run([command("msmtp"), *options, "ann@example.net"], input=mail, check=True, timeout=60)


def test_django_comes_in(relay, certificate):
    running, host, mode = relay
    django(running.smtp_port, mode, certificate.authority)
    (message,) = arrived(host)
    assert word_of(message) == b"ESMTPSA"


def django(port: int, mode: str, authority, user: str = USER, password: str = PASSWORD) -> None:
    switch = "EMAIL_USE_TLS" if mode == "starttls" else "EMAIL_USE_SSL"
    script = textwrap.dedent(f"""
        import django
        from django.conf import settings
        settings.configure(EMAIL_HOST="localhost", EMAIL_PORT={port}, {switch}=True,
                           EMAIL_HOST_USER="{user}", EMAIL_HOST_PASSWORD="{password}")
        django.setup()
        from django.core.mail import send_mail
        assert send_mail("Grüße", "Hi", "news@example.com", ["ann@example.net"], html_message="<p>Hi</p>") == 1
    """)
    environ = {**os.environ, "SSL_CERT_FILE": str(authority)}
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60, env=environ)


def relayhost(port: int, mode: str, authority, user: str = USER, password: str = PASSWORD) -> dict[str, str]:
    """Postfix's settings for a relayhost that wants verified TLS and a password."""
    return {
        "relayhost": f"[localhost]:{port}",
        "smtp_tls_security_level": "secure",
        "smtp_tls_secure_cert_match": "hostname",
        "smtp_tls_CAfile": str(authority),
        "smtp_tls_wrappermode": "yes" if mode == "implicit" else "no",
        "smtp_sasl_auth_enable": "yes",
        "smtp_sasl_security_options": "noanonymous",
        "smtp_sasl_password_maps": f"inline:{{{{[localhost]:{port} = {user}:{password}}}}}",
    }


def test_postfix_comes_in(relay, certificate):
    skip_where(postfix.missing())
    running, host, mode = relay
    settings = relayhost(running.smtp_port, mode, certificate.authority)
    with postfix.postfix(running.smtp_port, settings=settings) as server:
        through(server, times=5)
        messages = arrived(host, 5)
        assert {word_of(message) for message in messages} == {b"ESMTPSA"}


def test_postfix_keeps_its_mail_while_its_password_is_wrong(relay, certificate):
    skip_where(postfix.missing())
    running, host, mode = relay
    settings = relayhost(running.smtp_port, mode, certificate.authority, password="guessed")
    with postfix.postfix(running.smtp_port, settings=settings) as server:
        through(server)
        eventually(lambda: "SASL authentication failed" in "".join(server.queue()))
        assert host.messages == []


def through(server: postfix.Postfix, times: int = 1) -> None:
    with smtplib.SMTP("127.0.0.1", server.port, timeout=30) as client:
        for _ in range(times):
            client.sendmail("news@example.com", ["ann@example.net"], newsletter())


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_from_loopback_a_password_may_come_in_clear(certificate, tmp_path, mechanism):
    relay = RELAY.format(file=certificate.own, mode="starttls", user=USER, hash=hashed(PASSWORD))
    with (
        sink() as host,
        tracepost(tmp_path, f"{{host: 127.0.0.1, port: {host.port}, tls: none}}", relay=relay) as running,
    ):
        login = ["--auth", mechanism, "--auth-user", USER, "--auth-password", PASSWORD]
        sent = swaks(running.smtp_port, "none", certificate.authority, *login)
        assert sent.returncode == 0, sent.stdout + sent.stderr
        assert word_of(arrived(host)[0]) == b"ESMTPA"

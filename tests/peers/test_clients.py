"""Real clients in numbers: many sessions, many mails in one, pipelining, recipients read from the mail."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap

import pytest

from bench.mails import LINKS, newsletter
from tests.e2e.harness import eventually, tracepost
from tests.peers.conftest import command
from tests.peers.sink import arrived, sink

PIXEL = re.compile(rb"http://track\.test/o/[\w=\r\n-]+?\.gif")


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with (
        sink() as host,
        tracepost(tmp_path_factory.mktemp("service"), f"{{host: 127.0.0.1, port: {host.port}, tls: none}}") as running,
    ):
        yield running, host


@pytest.fixture
def relay(service):
    """The service, and its smarthost with nothing in it yet."""
    service[1].messages.clear()
    return service


def pixels(messages) -> set[bytes]:
    """The pixel of each mail; there is one in each."""
    found = [PIXEL.findall(message.content.replace(b"=\r\n", b"")) for message in messages]
    assert {len(each) for each in found} == {1}
    return {each[0] for each in found}


@pytest.mark.parametrize("kept", [True, False], ids=["kept", "one-each"])
def test_smtp_source_loses_nothing_in_many_sessions(relay, tmp_path, kept):
    source = command("smtp-source")
    running, host = relay
    mail = tmp_path / "mail"
    mail.write_bytes(newsletter().replace(b"\r\n", b"\n"))
    options = ["-s", "40", "-m", "200", "-r", "2", "-F", str(mail), "-f", "news@example.com", "-t", "ann@example.net"]
    options += ["-d"] if kept else []
    sent = subprocess.run([source, *options, f"127.0.0.1:{running.smtp_port}"], capture_output=True, timeout=120)
    assert (sent.returncode, sent.stderr) == (0, b"")
    messages = arrived(host, 400, 60)
    assert len(pixels(messages)) == 400
    assert all(message.content.count(b"http://track.test/c/") == LINKS for message in messages)
    eventually(lambda: accounted(running))


def accounted(running) -> bool:
    """Whether every mail so far is counted as delivered to its two recipients."""
    rows = running.web.get("/api/v1/messages", params={"limit": 1000}).json()["items"]
    return len(rows) % 200 == 0 and all((row["recipients"], row["delivered"]) == (2, 2) for row in rows)


def test_swaks_pipelines_its_commands(relay):
    running, host = relay
    people = ["ann@example.net", "bob@example.net", "cat@example.net"]
    options = ["--server", f"127.0.0.1:{running.smtp_port}", "--pipeline", "--from", "news@example.com"]
    options += ["--to", ",".join(people), "--data", newsletter().decode().replace("\r\n", "\n")]
    sent = subprocess.run([command("swaks"), *options], capture_output=True, text=True, timeout=60)
    assert sent.returncode == 0, sent.stdout + sent.stderr
    messages = arrived(host, 3)
    assert sorted(message.recipients for message in messages) == [[f"<{who}>".encode()] for who in people]
    assert len(pixels(messages)) == 3


def test_msmtp_reads_the_recipients_from_the_mail(relay):
    running, host = relay
    mail = newsletter().replace(b"To: Ann", b"Bcc: dan@example.net\r\nTo: Ann").replace(b"\r\n", b"\n")
    options = ["--host=127.0.0.1", f"--port={running.smtp_port}", "--read-recipients", "--read-envelope-from"]
    options += ["--auth=off", "--tls=off", "--undisclosed-recipients=off", "--remove-bcc=off"]
    subprocess.run([command("msmtp"), *options], input=mail, check=True, timeout=60)
    messages = arrived(host, 2)
    assert {message.mail.split(b" ")[0] for message in messages} == {b"<news@example.com>"}
    assert sorted(message.recipients for message in messages) == [[b"<ann@example.net>"], [b"<dan@example.net>"]]
    assert not any(b"dan@" in message.content for message in messages)


def test_django_sends_many_mails_in_one_session(relay):
    running, host = relay
    script = textwrap.dedent(f"""
        import django
        from django.conf import settings
        settings.configure(EMAIL_HOST="127.0.0.1", EMAIL_PORT={running.smtp_port})
        django.setup()
        from django.core.mail import EmailMultiAlternatives, get_connection
        def mail(number):
            made = EmailMultiAlternatives("Grüße", "Grüß Gott", "news@example.com", [f"r{{number}}@example.net"])
            made.attach_alternative('<p><a href="https://example.org/ü">hier</a></p>', "text/html")
            return made
        assert get_connection().send_messages([mail(number) for number in range(30)]) == 30
    """)
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
    messages = arrived(host, 30)
    assert sorted(message.recipients[0] for message in messages) == sorted(
        b"<r%d@example.net>" % number for number in range(30)
    )
    assert len(pixels(messages)) == 30

"""The main job from end to end: mail in, tracked mail out, hits counted; real clients against the running service."""

from __future__ import annotations

import email
import re
import shutil
import smtplib
import subprocess
import sys
import textwrap
from email.message import EmailMessage

import pytest

from tests.e2e.harness import Tracepost, eventually, tracepost
from tests.e2e.judge import judge

BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
HTML = '<html><body><p>Hi</p><a href="https://example.org/a?x=1&amp;y=2#top">Read on</a></body></html>'


def newsletter(subject: str = "News", **headers: str) -> EmailMessage:
    mail = EmailMessage()
    mail["From"] = "News <news@example.com>"
    mail["To"] = "ann@example.net"
    mail["Subject"] = subject
    mail["Message-ID"] = f"<{subject}@example.com>"
    for name, value in headers.items():
        mail[name.replace("_", "-")] = value
    mail.set_content("Hi, read https://example.org/a")
    mail.add_alternative(HTML, subtype="html")
    return mail


def send(service: Tracepost, mail: EmailMessage | bytes, to: list[str] | None = None) -> None:
    with smtplib.SMTP("127.0.0.1", service.smtp_port, timeout=30) as client:
        raw = mail if isinstance(mail, bytes) else mail.as_bytes(policy=mail.policy.clone(linesep="\r\n"))
        client.sendmail("news@example.com", to or ["ann@example.net"], raw)


def kept(service: Tracepost) -> list[bytes]:
    """The mail in the sandbox, oldest first."""
    return [path.read_bytes() for path in sorted((service.folder / "data" / "sandbox").glob("*.eml"))]


def tracked_paths(raw: bytes) -> tuple[list[str], list[str]]:
    """Paths of the tracked links and of the pixels in a mail."""
    body = b"".join(part.get_payload(decode=True) or b"" for part in email.message_from_bytes(raw).walk())
    return (
        re.findall(r"http://track\.test(/c/[\w-]+)", body.decode("latin-1")),
        re.findall(r"http://track\.test(/o/[\w-]+\.gif)", body.decode("latin-1")),
    )


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with tracepost(tmp_path_factory.mktemp("service")) as running:
        yield running


def delivered(service: Tracepost, act) -> list[bytes]:
    """What newly stands in the sandbox once ``act`` has run and nothing waits any more."""
    before = len(kept(service))
    act()
    eventually(service.settled)
    return kept(service)[before:]


def test_a_mail_goes_through_to_a_counted_click(service):
    mail = newsletter("main-job", X_Track_Tag="welcome", X_Track_Metadata='{"order": "7"}')
    (arrived,) = delivered(service, lambda: send(service, mail))
    sent = mail.as_bytes(policy=mail.policy.clone(linesep="\r\n"))
    verdict = judge(sent, arrived)
    assert [change.before for change in verdict.changes] == ["https://example.org/a?x=1&amp;y=2#top"]
    assert len(verdict.pixels) == 1
    assert b"X-Track" not in arrived

    (link,), (pixel,) = tracked_paths(arrived)
    answer = service.web.get(link, headers={"User-Agent": BROWSER})
    assert (answer.status_code, answer.headers["location"]) == (302, "https://example.org/a?x=1&y=2#top")
    assert service.web.get(pixel, headers={"User-Agent": BROWSER}).status_code == 200
    service.web.get(pixel, headers={"User-Agent": "Mozilla/5.0"})
    service.web.head(link, headers={"User-Agent": BROWSER})

    row = eventually(lambda: (r := service.message("<main-job@example.com>"))["clicks"] and r)
    expected = {
        "sender": "news@example.com",
        "subject": "main-job",
        "tag": "welcome",
        "metadata": {"order": "7"},
        "instrumented": True,
        "recipients": 1,
        "sent": 1,
        "delivered": 1,
        "errors": 0,
        "opens": 1,
        "unique_opens": 1,
        "machine_opens": 1,
        "clicks": 1,
        "unique_clicks": 1,
        "machine_clicks": 1,
    }
    assert {name: row[name] for name in expected} == expected


def test_each_recipient_has_links_of_its_own(service):
    people = ["ann@example.net", "bob@example.net", "cat@example.net"]
    arrived = delivered(service, lambda: send(service, newsletter("three"), people))
    assert len(arrived) == 3
    links = {link for raw in arrived for link in tracked_paths(raw)[0]}
    assert len(links) == 3
    for link in links:
        service.web.get(link, headers={"User-Agent": BROWSER})
    row = service.message("<three@example.com>")
    assert (row["recipients"], row["sent"], row["clicks"], row["unique_clicks"]) == (3, 3, 3, 3)


def test_bcc_never_leaves(service):
    (arrived,) = delivered(service, lambda: send(service, newsletter("bcc", Bcc="secret@example.net")))
    assert b"secret@" not in arrived


def test_a_mail_that_is_not_tracked_arrives_as_it_came_and_says_why(service):
    raw = (
        b"From: news@example.com\r\nMessage-ID: <signed@example.com>\r\nDate: Mon, 1 Jan 2024 00:00:00 +0000\r\n"
        b"DKIM-Signature: v=1; a=rsa-sha256\r\nContent-Type: text/html\r\n\r\n<a href=http://example.org/>x</a>\r\n"
    )
    (arrived,) = delivered(service, lambda: send(service, raw))
    assert arrived.endswith(raw)
    row = service.message("<signed@example.com>")
    assert (row["instrumented"], row["reason"]) == (False, "dkim_signed")


def test_headers_switch_tracking_off_for_one_mail(service):
    mail = newsletter("off", X_Track_Opens="no", X_Track_Clicks="no")
    (arrived,) = delivered(service, lambda: send(service, mail))
    assert tracked_paths(arrived) == ([], [])
    assert service.message("<off@example.com>")["reason"] == "tracking_off"


def test_django_sends_through_it(service):
    script = textwrap.dedent(f"""
        import django
        from django.conf import settings
        settings.configure(EMAIL_HOST="127.0.0.1", EMAIL_PORT={service.smtp_port})
        django.setup()
        from django.core.mail import EmailMultiAlternatives
        mail = EmailMultiAlternatives("Grüße", "Grüß Gott", "news@example.com", ["ann@example.net"])
        mail.bcc, mail.extra_headers = ["b@example.net"], {{"Message-ID": "<django@example.com>"}}
        mail.attach_alternative('<p>Grüß Gott <a href="https://example.org/ü?a=1&amp;b=2">hier</a></p>', "text/html")
        mail.attach("a.html", '<a href="https://example.org/attached">x</a>', "text/html")
        assert mail.send() == 1
    """)
    arrived = delivered(service, lambda: subprocess.run([sys.executable, "-c", script], check=True, timeout=60))
    assert len(arrived) == 2
    links = [tracked_paths(raw)[0] for raw in arrived]
    assert [len(found) for found in links] == [1, 1]
    answer = service.web.get(links[0][0], headers={"User-Agent": BROWSER})
    assert answer.headers["location"] == "https://example.org/%C3%BC?a=1&b=2"
    assert service.message("<django@example.com>")["subject"] == "Grüße"


def test_swaks_sends_through_it(service):
    swaks = shutil.which("swaks")
    if swaks is None:
        pytest.skip("swaks is not installed")
    command = [swaks, "--server", f"127.0.0.1:{service.smtp_port}", "--from", "news@example.com", "--to"]
    command += ["ann@example.net", "--h-Subject", "swaks", "--add-header", "Content-Type: text/html", "--body", HTML]
    (arrived,) = delivered(service, lambda: subprocess.run(command, check=True, timeout=60, capture_output=True))
    assert len(tracked_paths(arrived)[0]) == 1


def test_msmtp_sends_through_it(service, tmp_path):
    msmtp = shutil.which("msmtp")
    if msmtp is None:
        pytest.skip("msmtp is not installed")
    command = [msmtp, "--host=127.0.0.1", f"--port={service.smtp_port}", "--from=news@example.com", "--auth=off"]
    mail = newsletter("msmtp").as_bytes()
    (arrived,) = delivered(
        service, lambda: subprocess.run([*command, "ann@example.net"], input=mail, check=True, timeout=60)
    )
    assert len(tracked_paths(arrived)[0]) == 1


def test_our_own_links_are_not_wrapped_again(service):
    (once,) = delivered(service, lambda: send(service, newsletter("again")))
    (twice,) = delivered(service, lambda: send(service, once))
    assert tracked_paths(once) == tracked_paths(twice)


def test_a_forged_token_is_404(service):
    answer = service.web.get("/c/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
    assert answer.status_code == 404
    assert "location" not in answer.headers


def test_links_outlive_the_database(tmp_path):
    with tracepost(tmp_path) as running:
        (arrived,) = delivered(running, lambda: send(running, newsletter("lost")))
    (link,), _ = tracked_paths(arrived)
    for path in (tmp_path / "data").glob("*.db*"):
        path.unlink()
    with tracepost(tmp_path) as running:
        answer = running.web.get(link, headers={"User-Agent": BROWSER})
        assert answer.headers["location"] == "https://example.org/a?x=1&y=2#top"
        (row,) = eventually(lambda: running.web.get("/api/v1/messages").json()["items"])
        assert (row["clicks"], row["unique_clicks"]) == (1, 1)

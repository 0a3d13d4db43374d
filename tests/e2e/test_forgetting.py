"""A person is forgotten by the running service: every octet of every file in ``data_dir`` is searched for the address,
in every encoding that something of ours writes."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path

import pytest

from tests.e2e import opting
from tests.e2e.harness import Tracepost, eventually, in_time, serving, tracepost
from tests.e2e.opting import BROWSER
from tests.e2e.test_main_job import delivered, kept, send
from tests.fakes.smarthost import FakeSmarthost, Script
from tracker.redaction import octets_hold

ANN, BOB = "Ann.Lee+News@example.net", "bob@example.net"
PEOPLE = [ANN, BOB]
HTML = (
    "<html><body><p>Dear Ann.Lee+News@example.net, dear all.</p>"
    '<a href="https://example.org/p?e={{ recipient.email }}&amp;n=1">yours</a>'
    '<a href="https://example.org/u/Ann.Lee%2BNews%40example.net">hers</a>'
    '<a href="{{ mirror_url }}">web</a><a href="{{ unsubscribe_url }}">no</a></body></html>'
)
SENDERS = """\
- match: "*"
  mirror_page: true
  list_unsubscribe: true
"""


def newsletter(name: str, encoding: str, more: int = 0) -> EmailMessage:
    mail = EmailMessage(policy=SMTP)
    mail["From"] = "News <news@example.com>"
    mail["To"] = ANN
    mail["Subject"] = f"{name} für {ANN}"
    mail["Message-ID"] = f"<{name}@example.com>"
    mail["X-Track-Metadata"] = f'{{"customer": "{ANN}", "order": "7"}}'
    mail["X-Track-Tag"] = "spring"
    mail.set_content(f"Liebe Ännchen {ANN}\n" * 3 + "x" * more, cte=encoding)
    mail.add_alternative(HTML, subtype="html", cte=encoding)
    return mail


def paths(raw: bytes, kind: str) -> list[str]:
    body = b"".join(part.get_payload(decode=True) or b"" for part in message_from_bytes(raw).walk())
    return re.findall(rf"http://track\.test(/{kind}/[\w-]+)", body.decode("latin-1"))


def held(folder: Path) -> dict[str, int]:
    """The files that hold the address, and how large they are."""
    found = {}
    for path in folder.rglob("*"):
        if path.is_file() and octets_hold(path.read_bytes(), ANN):
            found[str(path.relative_to(folder))] = path.stat().st_size
    return found


def counts(service: Tracepost) -> dict[str, tuple[int, ...]]:
    names = ("recipients", "sent", "opens", "machine_opens", "clicks", "unique_clicks", "opt_outs", "mirror_views")
    rows = service.web.get("/api/v1/messages", params={"limit": 1000}).json()["items"]
    return {row["message_id"]: tuple(row[name] for name in names) for row in rows}


def hits(service: Tracepost) -> list[str]:
    lines = service.web.get("/api/v1/events", params={"limit": 1000}).text.splitlines()
    return [line for line in lines if '"type":"click"' in line.replace(" ", "")]


def forget(service: Tracepost, address: str = ANN) -> dict:
    answer = service.web.delete(f"/api/v1/recipients/{address}")
    assert answer.status_code in (200, 202), answer.text
    return answer.json()


def test_no_octet_of_her_address_stays_in_any_file(tmp_path):
    with tracepost(tmp_path, senders=SENDERS) as service:
        sent: list[bytes] = []
        for number, encoding in enumerate(("base64", "quoted-printable", "8bit", "base64")):
            mail = newsletter(f"m{number}", encoding, more=400_000 if number == 3 else 0)
            sent += delivered(service, lambda mail=mail: send(service, mail.as_bytes(), PEOPLE))
        for raw in sent:
            for link in paths(raw, "c"):
                assert service.web.get(link, headers={"User-Agent": BROWSER}).status_code == 302
            assert service.web.get(paths(raw, "o")[0] + ".gif", headers={"User-Agent": BROWSER}).status_code == 200
            assert service.web.get(paths(raw, "m")[0], headers={"User-Agent": BROWSER}).status_code == 200
        opt_out = opting.link(service, "m0", ANN)
        assert service.web.post(opt_out, data=opting.ONE_CLICK).status_code == 200
        eventually(lambda: counts(service)["<m0@example.com>"][-2] == 1)
        eventually(lambda: service.settled() and service.metric("journal_facts") == 0)
        before, places = counts(service), held(tmp_path / "data")
        assert {Path(place).parts[0].partition(".")[0] for place in places} >= {"tracepost", "sandbox", "spool"}

        assert forget(service, ANN.upper()) == {"forgotten": True, "messages": 4, "queued": 0}
        assert held(tmp_path / "data") == {}
        assert counts(service) == before
        assert not octets_hold((tmp_path / "log").read_bytes(), ANN)

        # Her links lead where they led, and count, without her name.
        seen = len(hits(service))
        led = [
            service.web.get(paths(raw, "c")[0], headers={"User-Agent": BROWSER.replace("128", "131")}).headers[
                "location"
            ]
            for raw in sent
        ]
        assert sum(octets_hold(where.encode(), ANN) for where in led) == len(led) // 2
        eventually(lambda: len(hits(service)) == seen + len(led))
        assert held(tmp_path / "data") == {}

        # Her no is heeded: it is known by its hash.
        entries = service.web.get("/api/v1/suppressions").json()["items"]
        assert [(entry["address"], entry["kind"]) for entry in entries] == [(None, "mail")]
        opting.suppressed_soon(service, ANN, "later")
        assert forget(service)["forgotten"]
        assert held(tmp_path / "data") == {}


async def test_mail_that_is_queued_goes_first_and_the_service_then_finishes(tmp_path):
    async with FakeSmarthost() as host:
        host.script["rcpt"] = Script("452 4.2.2 full", when=lambda line: b"ann" in line.lower())
        smarthost = f"{{host: 127.0.0.1, port: {host.port}, tls: none}}"
        retry = "retry: {first: 1s, longest: 2s, give_up_after: 1h}"
        async with serving(tmp_path, smarthost, relay=retry, senders=SENDERS) as service:
            mail = newsletter("waits", "base64").as_bytes()
            await asyncio.to_thread(send, service, mail, PEOPLE)
            await in_time(lambda: len(host.messages) == 1)
            await in_time(lambda: counts(service).get("<waits@example.com>", (0, 0))[1] == 1)
            assert await asyncio.to_thread(forget, service) == {"forgotten": False, "messages": 1, "queued": 1}
            command = [sys.executable, "-m", "relay.cli", "forget", ANN, "-c", str(tmp_path / "config.yaml")]
            said = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60)
            assert (said.returncode, said.stdout) == (1, "")
            assert "still queued that name it: 1" in said.stderr
            host.script.clear()
            await in_time(lambda: len(host.messages) == 2)
            await in_time(lambda: not any((tmp_path / "data" / "forgetting").iterdir()))
            await in_time(lambda: held(tmp_path / "data") == {})
            assert await asyncio.to_thread(counts, service) == {"<waits@example.com>": (2, 2, 0, 0, 0, 0, 0, 0)}
            arrived = [b"".join(each.recipients).decode() for each in host.messages]
            assert sorted(arrived) == [f"<{who}>" for who in PEOPLE]
            said = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60)
            assert (said.returncode, said.stdout) == (0, "forgotten; messages that it had got: 0\n")
            assert not octets_hold((tmp_path / "log").read_bytes(), ANN)


@pytest.mark.parametrize("way", ["command", "api"])
def test_others_are_not_touched(tmp_path, way):
    with tracepost(tmp_path) as service:
        for name, person in (("bob", BOB), ("ann", ANN)):
            delivered(service, lambda name=name, person=person: opting.send(service, opting.receipt(name), person))
        opting.row(service, "bob", sent=1)
        if way == "api":
            forget(service)
        else:
            command = [sys.executable, "-m", "relay.cli", "forget", ANN, "-c", str(tmp_path / "config.yaml")]
            assert subprocess.run(command, timeout=60, check=False).returncode == 0
        assert held(tmp_path / "data") == {}
        rows = service.web.get("/api/v1/messages", params={"recipient": BOB}).json()["items"]
        assert [row["message_id"] for row in rows] == ["<bob@example.com>"]
        assert len(kept(service)) == 1

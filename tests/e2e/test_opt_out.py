"""Opt-outs from end to end: only a person or a mail program's one click opts out, and it holds, whatever the store
does; real mail and real requests against the running service."""

from __future__ import annotations

import asyncio
import base64
import re
import smtplib
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import httpx
import pytest

from tests.e2e.harness import Tracepost, eventually, tracepost
from tests.e2e.opting import (
    ANN,
    BOB,
    BROWSER,
    CAT,
    ONE_CLICK,
    SENDER,
    TURNS,
    link,
    listed,
    newsletter,
    receipt,
    row,
    send,
    suppressed_soon,
)
from tests.fakes.smarthost import FakeSmarthost, Script


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with tracepost(
        tmp_path_factory.mktemp("service"), relay="workers: 2\n", public_url="http://127.0.0.1:{http}"
    ) as run:
        yield run


# -- who opts out, and who does not ----------------------------------------------------------------------------------


def test_five_hundred_scanners_opt_nobody_out_and_one_click_does(service):
    send(service, newsletter("scanned"))
    path = link(service, "scanned")
    agents = [BROWSER, "Barracuda Sentinel", "curl/8", "", "Mozilla/5.0 (compatible; bingbot/2.0)", "python-requests/2"]

    def scan(number: int) -> int:
        method, agent = ("HEAD", "GET")[number % 2], agents[number // 2 % len(agents)]
        return stranger.request(method, path, headers={"User-Agent": agent}).status_code

    with httpx.Client(base_url=service.web.base_url, timeout=30) as stranger, ThreadPoolExecutor(8) as pool:
        assert set(pool.map(scan, range(500))) == {200}
        assert row(service, "scanned", opt_outs=0, opt_out_clicks=1)
        assert listed(service) == []
        answer = stranger.post(path, data=ONE_CLICK)
        assert (answer.status_code, "set-cookie" in answer.headers) == (200, False)
    assert row(service, "scanned", opt_outs=1)
    assert listed(service) == [(ANN, SENDER, "mail")]
    service.web.delete("/api/v1/suppressions", params={"address": ANN})


def test_a_newsletter_is_suppressed_and_a_receipt_goes_out(service):
    send(service, newsletter("first"))
    service.web.post(link(service, "first"))
    suppressed_soon(service, ANN, "wait")
    assert send(service, newsletter("both"), ANN, BOB) == {}
    both = row(service, "both", pending=0)
    assert (both["recipients"], both["suppressed"], both["sent"], both["bounced"]) == (2, 1, 1, 0)
    send(service, receipt("receipt"), ANN)
    assert row(service, "receipt", pending=0)["sent"] == 1
    events = service.web.get(f"/api/v1/messages/{both['id']}/events").json()["items"]
    assert [event["recipient"] for event in events if event["type"] == "suppressed"] == [ANN]
    box = [path.read_bytes() for path in (service.folder / "data" / "sandbox").glob("*.eml")]
    assert sum(b"<both@example.com>" in mail for mail in box) == 1
    assert not any(b"Undelivered" in mail or b"delivery-status" in mail for mail in box)
    service.web.post(link(service, "first"), data={"action": "undo"})
    eventually(lambda: listed(service) == [])


def test_who_wants_no_tracking_gets_the_mail_as_it_came(service):
    send(service, newsletter("untracked-0"), CAT)
    service.web.post(link(service, "untracked-0", CAT), data={"action": "opt_out", "kind": "tracking"})
    box = service.folder / "data" / "sandbox"
    turns = iter(range(1, 100))

    def plain() -> bool:
        id = f"untracked-{next(turns)}"
        send(service, newsletter(id), CAT)
        row(service, id, sent=1)
        (mail,) = [mail for path in box.glob("*.eml") if f"<{id}@".encode() in (mail := path.read_bytes())]
        return mail.endswith(newsletter(id)) and b"/c/" not in mail

    eventually(plain)
    assert (CAT, SENDER, "tracking") in listed(service)


def test_forged_links_are_not_found_and_no_link_is_logged(service):
    person = "somebody-whose-name-is-secret@example.net"
    send(service, newsletter("forged"), person)
    path = link(service, "forged", person)
    for forged in (path[:-1], path + "A", path[:40] + ("A" if path[40] != "A" else "B") + path[41:], "/u/", "/u/x"):
        for method in ("GET", "HEAD", "POST"):
            assert service.web.request(method, forged).status_code == 404
    service.web.post(path, data={"action": "undo"})
    log = (service.folder / "log").read_text()
    assert path.removeprefix("/u/")[:40] not in log
    assert person not in log


def test_the_links_that_the_mail_itself_holds(tmp_path):
    """The placeholder and the List-Unsubscribe header of one copy lead to that reader's own page."""
    senders = '- match: "*"\n  list_unsubscribe: true\n'
    mail = receipt("placeholder").replace(b"</body>", b'<a href="{{ unsubscribe_url }}">no more</a></body>')
    with tracepost(tmp_path, senders=senders) as service:
        send(service, mail, ANN, BOB)
        assert row(service, "placeholder", sent=2)
        copies = [path.read_bytes() for path in (tmp_path / "data" / "sandbox").glob("*.eml")]
        pages = {}
        for copy in copies:
            (in_header,) = re.findall(rb"List-Unsubscribe:\r\n <http://track\.test(/u/[\w-]+)>", copy)
            (in_body,) = re.findall(rb'href="http://track\.test(/u/[\w-]+)"', copy)
            shown = service.web.get(in_body.decode()).text
            pages[ANN if ANN in shown else BOB] = in_header.decode()
        assert b"List-Unsubscribe-Post: List-Unsubscribe=One-Click" in copies[0]
        assert service.web.post(pages[BOB], data=ONE_CLICK).status_code == 200
        assert row(service, "placeholder", opt_outs=1)
        assert listed(service) == [(BOB, SENDER, "mail")]
        suppressed_soon(service, BOB, "placed")
        send(service, mail, ANN)


def test_a_saved_type_holds_for_later_mail(tmp_path):
    with tracepost(tmp_path) as service:
        send(service, receipt("tracked"))
        assert row(service, "tracked", sent=1)
        saved = service.web.put("/api/v1/links", json={"url": "https://example.org/*", "type": "never"})
        assert saved.status_code == 200

        def untouched() -> bool:
            id = f"saved-{next(TURNS)}"
            send(service, receipt(id))
            row(service, id, sent=1)
            (link,) = service.web.get(f"/api/v1/messages/{row(service, id)['id']}/links").json()["items"]
            return (link["type"], link["reason"], link["tracked"]) == ("never", "saved", False)

        eventually(untouched)
        (tmp_path / "mail.eml").write_bytes(receipt("preview"))
        command = [sys.executable, "-m", "relay.cli", "preview", str(tmp_path / "mail.eml"), "-c"]
        shown = subprocess.run([*command, str(tmp_path / "config.yaml")], capture_output=True, check=True, text=True)
        assert "never" in shown.stdout
        assert "[saved]" in shown.stdout


# -- the list --------------------------------------------------------------------------------------------------------


def suppress(service: Tracepost, *words: str) -> str:
    command = [sys.executable, "-m", "relay.cli", "suppress", *words, "-c", str(service.folder / "config.yaml")]
    done = subprocess.run(command, capture_output=True, timeout=60, check=True, cwd=Path(__file__).parents[2])
    return done.stdout.decode()


def test_the_command_works_while_the_service_runs(service):
    suppress(service, "add", "dan@example.net", "--sender", SENDER)
    suppressed_soon(service, "dan@example.net", "command")
    assert "dan@example.net" in suppress(service, "list")
    suppress(service, "remove", "dan@example.net")

    def heard() -> bool:
        id = f"removed-{next(TURNS)}"
        send(service, newsletter(id), "dan@example.net")
        return row(service, id, pending=0)["sent"] == 1

    eventually(heard)


def test_csv_goes_round_by_api_and_command(service):
    rows = [{"address": f"p{n}@csv.test", "sender": SENDER, "reason": '="odd", one'} for n in range(300)]
    assert service.web.post("/api/v1/suppressions", json=rows).json()["added"] == 300
    first = service.web.get("/api/v1/suppressions", params={"format": "csv"}).content
    assert suppress(service, "export").encode() == first
    for each in rows[:5]:
        service.web.delete("/api/v1/suppressions", params={"address": each["address"]})
    file = service.folder / "list.csv"
    file.write_bytes(first)
    assert suppress(service, "import", str(file)).startswith("5 added")
    again = service.web.get("/api/v1/suppressions", params={"format": "csv"}).content
    assert sorted(again.splitlines()) == sorted(first.splitlines())


# -- while the store is away -----------------------------------------------------------------------------------------


def test_an_opt_out_holds_though_the_store_was_away_or_lost(tmp_path):
    with tracepost(tmp_path) as service:
        send(service, newsletter("before"))
        path, store = link(service, "before"), tmp_path / "data" / "tracepost.db"
        away = tmp_path / "away"
        away.mkdir()
        for file in store.parent.glob("tracepost.db*"):
            file.rename(away / file.name)
        store.mkdir()
        assert service.web.get("/api/v1/suppressions").status_code == 503
        assert service.web.get(path, headers={"User-Agent": BROWSER}).status_code == 200
        assert "You are unsubscribed" in service.web.post(path).text
        assert send(service, newsletter("meanwhile"), BOB) == {}
        store.rmdir()
        for file in away.iterdir():
            file.rename(store.parent / file.name)
        assert row(service, "before", opt_outs=1, opt_out_clicks=1)
        assert listed(service) == [(ANN, SENDER, "mail")]
        suppressed_soon(service, ANN, "back")
        assert row(service, "meanwhile", sent=1)

        for file in store.parent.glob("tracepost.db*"):
            file.unlink()
        service.web.post(path, data=ONE_CLICK)
        eventually(lambda: listed(service) == [(ANN, SENDER, "mail")])
        suppressed_soon(service, ANN, "lost")


def test_the_relay_goes_by_what_it_last_knew(tmp_path):
    with tracepost(tmp_path) as service:
        service.web.post("/api/v1/suppressions", json={"address": ANN})
        suppressed_soon(service, ANN, "known")
        store = tmp_path / "data" / "tracepost.db"
        for file in store.parent.glob("tracepost.db*"):
            file.unlink()
        store.mkdir()
        send(service, newsletter("away"), ANN, BOB)
        sandbox = tmp_path / "data" / "sandbox"
        kept = eventually(lambda: [mail for path in sandbox.glob("*") if b"<away@" in (mail := path.read_bytes())])
        assert len(kept) == 1
        store.rmdir()
        away = row(service, "away", pending=0)
        assert (away["suppressed"], away["sent"]) == (1, 1)


# -- with a real smarthost's answers ---------------------------------------------------------------------------------


@pytest.fixture
async def host():
    async with FakeSmarthost() as running:
        yield running


def at(host: FakeSmarthost, more: str = "") -> str:
    return f"{{host: 127.0.0.1, port: {host.port}, tls: none, timeout: 5s{more}}}"


async def aside(function, *arguments):
    """Run what blocks beside the fake host's loop."""
    return await asyncio.to_thread(function, *arguments)


def arrived(host: FakeSmarthost, id: str) -> list[tuple[list[bytes], bytes]]:
    messages = [each for each in host.messages if f"<{id}@".encode() in each.content]
    return sorted((sorted(each.recipients), each.content) for each in messages)


@pytest.mark.parametrize("delivery", ["queue", "proxy"])
async def test_who_does_not_exist_gets_no_second_mail_of_any_kind(tmp_path, host, delivery):
    host.script["rcpt"] = Script("550 5.1.1 no such user", when=lambda line: b"bob@" in line)

    def walk() -> None:
        with tracepost(tmp_path, at(host), relay=f"delivery: {delivery}\n") as service:
            with smtplib.SMTP("127.0.0.1", service.smtp_port, timeout=30) as client:
                client.sendmail(SENDER, [ANN, BOB], receipt("first"))
            assert row(service, "first", sent=1, bounced=1)
            eventually(lambda: listed(service) == [(BOB, None, "mail")])
            del host.script["rcpt"]
            turns = iter(range(100))

            def heard() -> bool:
                id = f"again-{next(turns)}"
                send(service, receipt(id), BOB)
                return row(service, id, pending=0)["suppressed"] == 1

            eventually(heard)
            reason = service.web.get("/api/v1/suppressions").json()["items"][0]["reason"]
            assert reason == "does not exist"

    await aside(walk)


@pytest.mark.parametrize("script", ["550 no such user", "550 5.7.1 policy", "450 4.1.1 later", "552 5.2.2 full"])
async def test_other_refusals_suppress_nobody(tmp_path, host, script):
    host.script["rcpt"] = Script(script, when=lambda line: b"bob@" in line)

    def walk() -> None:
        with tracepost(tmp_path, at(host)) as service:
            send(service, receipt("refused"), BOB, ANN)
            row(service, "refused", sent=1)
            eventually(lambda: row(service, "refused")["bounced"] or "450" in script)
            assert listed(service) == []

    await aside(walk)


@pytest.mark.parametrize("tracked", [True, False])
async def test_proxy_leaves_out_whom_it_must_and_says_250(tmp_path, host, tracked):
    senders = f'- match: "*"\n  open_tracking: {str(tracked).lower()}\n  click_tracking: {str(tracked).lower()}\n'

    def walk() -> None:
        with tracepost(tmp_path, at(host), senders=senders, relay="delivery: proxy\n") as service:
            service.web.post("/api/v1/suppressions", json={"address": ANN, "sender": SENDER})
            suppressed_soon(service, ANN, "proxied")
            assert arrived(host, "proxied") == []
            assert send(service, newsletter("three"), ANN, BOB, CAT) == {}
            three = row(service, "three", pending=0)
            assert (three["recipients"], three["suppressed"], three["sent"]) == (3, 1, 2)
            people = [who for recipients, _ in arrived(host, "three") for who in recipients]
            assert sorted(people) == [b"<bob@example.net>", b"<cat@example.net>"]
            send(service, receipt("three-receipts"), ANN, BOB)
            assert row(service, "three-receipts", sent=2)

    await aside(walk)


async def test_proxy_tells_the_client_where_the_others_are_refused_after_all(tmp_path, host):
    """The transaction is begun again without the one who is left out; who was taken before may be refused then."""
    senders = '- match: "*"\n  open_tracking: false\n  click_tracking: false\n'
    seen = count()

    def walk() -> None:
        with tracepost(tmp_path, at(host), senders=senders, relay="delivery: proxy\n") as service:
            service.web.post("/api/v1/suppressions", json={"address": ANN})
            suppressed_soon(service, ANN, "refused")
            host.script["rcpt"] = Script("451 4.7.1 later", when=lambda line: b"bob@" in line and next(seen) == 1)
            with pytest.raises(smtplib.SMTPDataError, match=r"4\.7\.1 later"):
                send(service, newsletter("again"), ANN, BOB)
            assert arrived(host, "again") == []
            assert send(service, newsletter("again"), ANN, BOB) == {}
            assert row(service, "again", suppressed=1, sent=1)["recipients"] == 2
            assert len(arrived(host, "again")) == 1

    await aside(walk)


async def test_proxy_gives_a_plain_copy_to_who_wants_no_tracking(tmp_path, host):
    def walk() -> None:
        with tracepost(tmp_path, at(host), relay="delivery: proxy\n") as service:
            entries = [{"address": BOB, "kind": "tracking"}, {"address": ANN}]
            service.web.post("/api/v1/suppressions", json=entries)
            suppressed_soon(service, ANN, "heard")
            send(service, newsletter("mixed"), BOB, CAT)
            row(service, "mixed", sent=2)
            copies = {recipients[0]: content for recipients, content in arrived(host, "mixed")}
            assert copies[b"<bob@example.net>"].endswith(newsletter("mixed"))
            assert b"/c/" in copies[b"<cat@example.net>"]

    await aside(walk)


async def test_passthrough_leaves_out_whom_it_must_in_the_clients_own_session(tmp_path, host):
    host.users = {b"app": base64.b64encode(b"\0app\0secret")}
    relay = "delivery: proxy\nauth: {passthrough: true}\n"

    def sent(service: Tracepost, id: str, *to: str) -> None:
        with smtplib.SMTP("127.0.0.1", service.smtp_port, timeout=30) as client:
            client.login("app", "secret")
            assert client.sendmail(SENDER, to, newsletter(id)) == {}

    def walk() -> None:
        with tracepost(tmp_path, at(host), relay=relay) as service:
            entries = [{"address": ANN}, {"address": BOB, "kind": "tracking"}]
            service.web.post("/api/v1/suppressions", json=entries)
            turns = iter(range(100))

            def heard() -> bool:
                id = f"through-{next(turns)}"
                sent(service, id, ANN)
                return row(service, id, pending=0)["suppressed"] == 1

            eventually(heard)
            sent(service, "several", ANN, BOB, CAT)
            several = row(service, "several", pending=0)
            assert (several["suppressed"], several["sent"]) == (1, 2)
            ((recipients, content),) = arrived(host, "several")
            assert recipients == [b"<bob@example.net>", b"<cat@example.net>"]
            assert content.endswith(newsletter("several"))

    await aside(walk)

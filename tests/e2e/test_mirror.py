"""The mirror page of the running service: the mail as it was sent, shown by a real browser that is let do no harm."""

from __future__ import annotations

import re
import smtplib
import threading
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from uuid import UUID

import pytest

from tests.e2e.harness import Tracepost, eventually, tracepost
from tests.e2e.hostile import FOILED, PAYLOADS, SCRIPT
from tests.e2e.test_main_job import BROWSER, kept
from tests.test_mirroring import GIF
from tracker.tokens import Keyring, Mirror, parse_key

SENDERS = '- {match: "*@keep.test", mirror_page: true}\n- {match: "*@example.com"}\n'
AGENT = {"User-Agent": BROWSER}


class Site(BaseHTTPRequestHandler):
    """Notes what it is asked for; ``pages`` are served as they are."""

    asked: list[str] = []  # noqa: RUF012
    pages: dict[str, str] = {}  # noqa: RUF012

    def do_GET(self) -> None:
        if self.path not in self.pages:
            self.asked.append(self.path)
        script = self.path.endswith(".js")
        body = GIF if "/img" in self.path else self.pages.get(self.path, "document.title='pwned'" * script)
        self.send_response(200)
        kind = "image/gif" if "/img" in self.path else "text/javascript" if script else "text/html; charset=utf-8"
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(body if isinstance(body, bytes) else body.encode())

    do_POST = do_HEAD = do_GET

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def site():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    server.handle_error = lambda request, address: None  # a page that is left early hangs up
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://evil.test:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with tracepost(tmp_path_factory.mktemp("mirror"), senders=SENDERS, public_url="http://127.0.0.1:{http}") as running:
        yield running


def mail(html: str, name: str, sender: str = "news@keep.test", pictures: tuple[str, ...] = ()) -> EmailMessage:
    made = EmailMessage()
    made["From"], made["To"], made["Subject"] = sender, "ann@example.net", name
    made["Message-ID"] = message_id(name, sender)
    made.set_content("text")
    made.add_alternative(html, subtype="html")
    for each in pictures:
        made.get_payload()[1].add_related(GIF, "image", "gif", cid=f"<{each}>")
    return made


def message_id(name: str, sender: str = "news@keep.test") -> str:
    return f"<{name.replace(' ', '-')}@{sender.partition('@')[2]}>"


def octets(made: EmailMessage) -> bytes:
    return made.as_bytes(policy=made.policy.clone(linesep="\r\n"))


def sent(service: Tracepost, made: EmailMessage, people: tuple[str, ...] = ("ann@example.net",)) -> UUID:
    """Send a mail; the id by which it is known."""
    with smtplib.SMTP("127.0.0.1", service.smtp_port, timeout=30) as client:
        client.sendmail(made["From"], list(people), octets(made))
    eventually(service.settled)
    return UUID(service.message(made["Message-ID"])["id"])


def mirror(service: Tracepost, message: UUID, recipient: int | None = 1) -> str:
    """The path of a mirror page."""
    key = parse_key((service.folder / "data" / "signing.key").read_text())
    return f"/m/{Keyring([key]).seal(Mirror(message, recipient))}"


def test_each_recipient_sees_the_mail_as_it_was_sent(service):
    html = "<html><body><h1>Grüße</h1><a href='http://shop.test/?a=1&amp;b=2'>x</a><img src='cid:logo'></body></html>"
    people = ("ann@example.net", "bob@example.net")
    message = sent(service, mail(html, "as sent", pictures=("logo",)), people)
    copies = [raw.decode("latin-1") for raw in kept(service)[-2:]]
    for recipient in (1, 2):
        answer = service.web.get(mirror(service, message, recipient), headers=AGENT)
        assert answer.status_code == 200
        assert "<h1>Grüße</h1>" in answer.text
        assert "data:image/gif;base64," in answer.text
        assert "/o/" not in answer.text
        token = answer.text.split("/c/")[1].split("'")[0]
        assert sum(token in copy.replace("=\r\n", "") for copy in copies) == 1
        assert service.web.get(f"/c/{token}", headers=AGENT).headers["location"] == "http://shop.test/?a=1&b=2"
    row = eventually(lambda: (r := service.message("<as-sent@keep.test>"))["mirror_views"] == 2 and r)
    assert (row["clicks"], row["unique_clicks"]) == (2, 2)


def test_a_mirror_link_keeps_the_page_and_without_one_there_is_none(service):
    linked = sent(service, mail("<a href=http://x.test/ data-track=mirror>x</a>", "linked", "a@example.com"))
    assert service.web.get(mirror(service, linked)).status_code == 200
    plain = sent(service, mail("<a href=http://x.test/>x</a>", "plain", "a@example.com"))
    answer = service.web.get(mirror(service, plain))
    assert answer.status_code == 410
    assert "not kept any more" in answer.text


def test_the_mirror_link_of_a_mail_leads_to_it(service):
    html = "<a href='{{ mirror_url }}'>web</a><a href='{{ unsubscribe_url }}'>out</a>"
    sent(service, mail(html, "own links", "a@example.com"))
    copy = kept(service)[-1].replace(b"=\r\n", b"").decode("latin-1")
    path = re.search(r"/m/[\w-]+", copy)[0]
    answer = service.web.get(path, headers=AGENT)
    assert answer.status_code == 200
    assert re.findall(r"/[mu]/[\w-]+", answer.text) == re.findall(r"/[mu]/[\w-]+", copy)
    assert eventually(lambda: service.message("<own-links@example.com>")["mirror_views"]) == 1


def test_a_page_waits_for_a_store_that_is_away_and_is_gone_with_one_that_is_lost(tmp_path):
    with tracepost(tmp_path, senders=SENDERS) as service:
        message = sent(service, mail("<p>here</p>", "lost"))
        assert service.web.get(mirror(service, message)).status_code == 200
        data = tmp_path / "data"
        kept_aside = tmp_path / "aside"
        kept_aside.mkdir()
        for path in data.glob("tracepost.db*"):
            path.rename(kept_aside / path.name)
        (data / "tracepost.db").mkdir()
        answer = service.web.get(mirror(service, message))
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "30")
        (data / "tracepost.db").rmdir()
        assert service.web.get(mirror(service, message)).status_code == 410


def test_pages_past_their_time_are_dropped(tmp_path):
    with tracepost(tmp_path, senders=SENDERS) as service:
        message = sent(service, mail("<p>here</p>", "old"))
    with tracepost(tmp_path, senders=SENDERS, tracker="retention: {mirror_pages: 1s}") as service:
        eventually(lambda: b'"mirror_pages": 1' in (tmp_path / "log").read_bytes())
        assert service.web.get(mirror(service, message)).status_code == 410


# -- in a browser -----------------------------------------------------------------------------------------------------


def test_it_shows_pictures_and_its_links_open(service, site, browser):
    html = (
        f"<p style='color:rgb(1,2,3)'>x</p><img id=own src='cid:logo'><img id=far src='{site}/img-far'>"
        f"<a id=here href='{site}/here'>here</a><a id=tab target=_blank href='{site}/tab'>tab</a>"
    )
    message = sent(service, mail(html, "shown", pictures=("logo",)))
    page = browser.new_page()
    page.goto(f"{str(service.web.base_url).rstrip('/')}{mirror(service, message)}")
    for name in ("own", "far"):
        assert page.locator(f"#{name}").evaluate("image => image.naturalWidth") == 1
    assert page.locator("p").evaluate("p => getComputedStyle(p).color") == "rgb(1, 2, 3)"
    with page.expect_popup() as popup:
        page.locator("#tab").click()
    popup.value.wait_for_url(f"{site}/tab")
    popup.value.close()
    page.locator("#here").click()
    page.wait_for_url(f"{site}/here")
    page.close()


def guilty() -> set[int]:
    """The pages that asked for what is no picture: page N may ask for ``/N/img…``."""
    asked = [re.match(r"/(\d+)/(?!img)", path) for path in Site.asked]
    return {int(match[1]) for match in asked if match}


def harm_in_cages(browser, urls: list[str]) -> set[int]:
    """Which pages, by themselves or when clicked, ran their code, asked somebody, took a file or set a cookie."""
    Site.asked.clear()
    context = browser.new_context()
    bad: set[int] = set()
    for start in range(0, len(urls), 12):
        pages = [context.new_page() for _ in urls[start : start + 12]]
        for number, page in enumerate(pages, start):
            page.on("dialog", lambda dialog, number=number: (dialog.dismiss(), bad.add(number)))
            page.on("download", lambda _, number=number: bad.add(number))
            page.goto(urls[number], wait_until="commit")
        pages[0].wait_for_timeout(300)
        for page in pages:
            for target in page.locator("#click").all():
                target.click(force=True, timeout=2000, no_wait_after=True)
        pages[0].wait_for_timeout(300)
        bad.update(number for number, page in enumerate(pages, start) if "pwned" in page.title())
        for page in context.pages:
            page.close()
    assert not context.cookies()
    context.close()
    return bad | guilty()


def harm_at_large(browser, site: str, pages: list[str]) -> set[int]:
    """The same for pages that nothing holds, side by side in frames."""
    Site.asked.clear()
    Site.pages.update({f"/page/{number}": page for number, page in enumerate(pages)})
    Site.pages["/all"] = "".join(f"<iframe src=/page/{number}></iframe>" for number in range(len(pages)))
    bad: set[int] = set()
    host = browser.new_page()
    host.on("download", lambda _: bad.add(list(PAYLOADS).index("download")))
    host.goto(f"{site}/all")
    for frame in list(host.frames[1:]):
        target = frame.locator("#click")
        if "/page/" in frame.url and target.count():
            target.first.click(force=True, timeout=5000, no_wait_after=True)
    host.wait_for_timeout(500)
    host.context.close()
    return bad | guilty()


def test_no_payload_does_harm(service, site, browser):
    pages, urls = [], []
    for number, (name, payload) in enumerate(PAYLOADS.items()):
        pages.append(payload.replace("RUN", SCRIPT).replace("EVIL", f"{site}/{number}"))
        with smtplib.SMTP("127.0.0.1", service.smtp_port, timeout=30) as client:
            client.sendmail("a@keep.test", ["ann@example.net"], octets(mail(pages[-1], name)))
    eventually(service.settled)
    base = str(service.web.base_url).rstrip("/")
    for name in PAYLOADS:
        urls.append(base + mirror(service, UUID(service.message(message_id(name))["id"])))
    names = list(PAYLOADS)
    assert not {names[number] for number in harm_in_cages(browser, urls)}
    # at large nearly all do what they are made for, so this test would see it
    harmless = set(names) - {names[number] for number in harm_at_large(browser, site, pages)}
    assert not harmless - FOILED

"""A tracked link in real Chromium leads exactly where the link itself would have led."""

from __future__ import annotations

import smtplib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.e2e.harness import eventually, tracepost
from tests.e2e.test_main_job import kept

SITE = "http://shop.test:{site}"
LINKS = [
    "/plain",
    "/a?x=1&amp;y=2#top",
    "/copy?a=1&copy=1&amp;lt=2&lt=3&sect;=4",
    "/odd|{}^\\`~!$'()*+,;=:@/x",
    "/space in path?and in query#and here",
    "/%EF%zz%2F%20?%EF=%",
    "/ünïcödé/☃?q=ünï☃&amp;x=ü#frägment☃",
    "/nested?u=<a href='http://x.test/'>y</a>",
    "/tab\tand\nnewline",
    "  /  ".strip() + "trailing   ",
    "/dots/../up/./here//double",
    "/brackets[1]?a[]=1&amp;b[x]=2",
    "?only=query",
    "#only-fragment",
    "/emoji/😀?e=😀#😀",
    '/quote&quot;s?"',
]
HOSTS = [
    "http://bücher.test:{site}/ü",
    "HTTP://SHOP.TEST:{site}/Case",
    "http:\\\\shop.test:{site}\\back\\slash?a\\b",
    "http://user:pass@shop.test:{site}/auth",
]
PAGE = '<html><head><meta charset="{charset}"></head><body>{body}</body></html>'


class Site(BaseHTTPRequestHandler):
    """Answers anything with an empty page; ``/page`` is the mail's HTML as it was before."""

    pages: dict[str, tuple[bytes, str]] = {}  # noqa: RUF012

    def do_GET(self) -> None:
        body, charset = self.pages.get(self.path, (b"<title>there</title>", "utf-8"))
        self.send_response(200)
        self.send_header("Content-Type", f"text/html; charset={charset}")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def site():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def followed(browser, page_url: str) -> list[str]:
    """Where each link of a page leads, as the address bar shows it."""
    page = browser.new_page()
    try:
        page.goto(page_url)
        count = page.locator("a").count()
        places = []
        for number in range(count):
            page.goto(page_url)
            page.locator("a").nth(number).evaluate("link => link.click()")
            page.wait_for_function("document.title === 'there'")
            places.append(page.url)
        return places
    finally:
        page.close()


@pytest.mark.parametrize("charset", ["utf-8", "windows-1252", "iso-2022-jp", "euc-kr"])
def test_each_link_leads_where_it_led(tmp_path, site, browser, charset):
    hrefs = [(SITE + path).format(site=site) if "{}" not in path else SITE.format(site=site) + path for path in LINKS]
    hrefs += [host.format(site=site) for host in HOSTS]
    hrefs = [href for href in hrefs if can_stand(href, charset) and (charset == "utf-8" or depends_on_charset(href))]
    links = "\r\n".join(f'<a href="{href}">x</a>' if '"' not in href else f"<a href='{href}'>x</a>" for href in hrefs)
    html = PAGE.format(charset=charset, body=links).encode(charset)
    head = f"From: news@example.com\r\nMIME-Version: 1.0\r\nContent-Type: text/html; charset={charset}\r\n"
    with tracepost(tmp_path, public_url="http://127.0.0.1:{http}") as service:
        with smtplib.SMTP("127.0.0.1", service.smtp_port) as client:
            mail = head.encode() + b"Content-Transfer-Encoding: 8bit\r\n\r\n" + html + b"\r\n"
            client.sendmail("news@example.com", ["ann@example.net"], mail)
        eventually(service.settled)
        tracked = kept(service)[0].partition(b"\r\n\r\n")[2]
        assert tracked.count(b"/c/") == len(hrefs)
        Site.pages["/before"], Site.pages["/after"] = (html, charset), (tracked, charset)
        before = followed(browser, f"http://127.0.0.1:{site}/before")
        after = followed(browser, f"http://127.0.0.1:{site}/after")
    assert after == before


def depends_on_charset(href: str) -> bool:
    return not href.isascii() or "&" in href


def can_stand(text: str, charset: str) -> bool:
    try:
        return text.encode(charset).decode(charset) == text
    except UnicodeError:
        return False

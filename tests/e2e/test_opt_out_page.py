"""The opt-out page in real Chromium: by keyboard alone, with and without script, wide and narrow, light and dark."""

from __future__ import annotations

import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.e2e.harness import eventually, tracepost
from tests.e2e.looks import RATIO
from tests.e2e.opting import SENDER, link, listed, newsletter, row, send

EVE = "eve@example.net"


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with tracepost(tmp_path_factory.mktemp("service")) as running:
        yield running


@pytest.fixture(scope="module")
def address(service) -> str:
    """The address of an opt-out page."""
    send(service, newsletter("browsed"), EVE)
    return str(service.web.base_url).rstrip("/") + link(service, "browsed", EVE)


@contextmanager
def opened(browser, **options):
    """A page; at the end the browser must have complained of nothing."""
    context = browser.new_context(**options)
    page, complaints = context.new_page(), []
    page.on("console", lambda message: complaints.append(message.text))
    yield page
    context.close()
    assert complaints == []


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("script", [True, False])
def test_a_person_walks_through_the_page_by_keyboard_alone(service, browser, address, width, script):
    size = {"width": width, "height": 800}
    with opened(browser, viewport=size, java_script_enabled=script) as page:
        page.goto(address)
        assert page.title() == "Stop these mails? · example.com"
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        page.wait_for_selector("h1:has-text('You are unsubscribed')")
        eventually(lambda: (EVE, SENDER, "mail") in listed(service))
        page.keyboard.press("Tab")
        page.keyboard.press("Space")
        page.wait_for_selector("h1:has-text('You are subscribed again')")
        eventually(lambda: (EVE, SENDER, "mail") not in listed(service))
        page.keyboard.press("Tab")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        page.wait_for_selector("h1:has-text('You are no longer tracked')")
        eventually(lambda: (EVE, SENDER, "tracking") in listed(service))
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        page.wait_for_selector("h1:has-text('It is as it was before')")
        eventually(lambda: (EVE, SENDER, "tracking") not in listed(service))


CONTRASTS = (
    "() => {"
    + RATIO
    + """
  return [...document.querySelectorAll('h1, p, b, button')].map(e => {
    const s = getComputedStyle(e), button = e.tagName === 'BUTTON';
    return { text: e.textContent, button, ratio: ratio(s.color, ground(e)),
      edge: button ? ratio(s.borderTopColor, ground(e.parentElement)) : 99,
      height: e.getBoundingClientRect().height };
  });
}"""
)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("language", ["en", "de", "fr", "es", "ja"])
def test_the_page_can_be_read_and_touched(browser, address, scheme, language):
    for width in (320, 390, 1280):
        size = {"width": width, "height": 800}
        with opened(browser, viewport=size, color_scheme=scheme, locale=language) as page:
            page.goto(address)
            assert page.locator("html").get_attribute("lang") == language
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            for found in page.evaluate(CONTRASTS):
                assert found["ratio"] >= 4.5, found
                assert found["edge"] >= 3, found
                assert not found["button"] or found["height"] >= 44, found


class Shop(BaseHTTPRequestHandler):
    """Sends whoever comes to /bye on to another host of its own."""

    def do_GET(self) -> None:
        port = self.server.server_address[1]
        moved = self.path == "/bye"
        self.send_response(302 if moved else 200)
        self.send_header("Location", f"http://www.shop.test:{port}/there") if moved else None
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"" if moved else b"<title>there</title>" + str(self.headers["Referer"]).encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_the_browser_goes_on_to_the_senders_own_page(tmp_path, browser):
    shop = ThreadingHTTPServer(("127.0.0.1", 0), Shop)
    threading.Thread(target=shop.serve_forever, daemon=True).start()
    senders = f'- match: "news@example.com"\n  opt_out_url: http://shop.test:{shop.server_port}/bye\n'
    try:
        with tracepost(tmp_path, senders=senders) as service:
            send(service, newsletter("own-page"))
            with opened(browser) as page:
                page.goto(str(service.web.base_url).rstrip("/") + link(service, "own-page"))
                page.locator("button").first.click()
                page.wait_for_url(re.compile(r"http://www\.shop\.test:\d+/there"))
                assert page.text_content("body") == "None"
                assert row(service, "own-page", opt_outs=1)
    finally:
        shop.shutdown()
        shop.server_close()

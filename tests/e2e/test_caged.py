"""Hostile mail on the dashboard, in real Chromium: what it says runs nothing, leads nowhere and asks for nothing."""

from __future__ import annotations

import smtplib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.e2e.harness import API_KEY, eventually, tracepost

HOSTILE = """<!doctype html><html><head>
<base href="{evil}/base/" target="_top">
<meta http-equiv="refresh" content="0;url={evil}/refresh">
<link rel="preconnect" href="{evil}"><link rel="dns-prefetch" href="{evil}"><link rel="prefetch" href="{evil}/prefetch">
<link rel="stylesheet" href="{evil}/link.css"><link rel="icon" href="{evil}/icon">
<style>@import "{evil}/import.css"; @font-face {{ font-family: f; src: url({evil}/font.woff2) }}
body {{ font-family: f; background: url({evil}/background.png) }}
#over {{ position: fixed; inset: 0; z-index: 9 }}</style>
<script>top.owned = 1; fetch("{evil}/fetch"); top.location = "{evil}/top"</script>
<script src="{evil}/script.js"></script></head>
<body onload="top.owned = 2" background="{evil}/body.png">
<!-- <a title=" --><a id="hidden" href="{evil}/hidden">hidden</a> " -->
<h1>Hostile</h1>
<img src="{evil}/pixel.png" onerror="top.owned = 3" alt="pixel"><img srcset="{evil}/srcset.png 1x" alt="srcset">
<p><a id="plain" href="{evil}/plain" target="_top" ping="{evil}/ping">plain</a>
<a id="blank" href="{evil}/blank" target="_blank">blank</a>
<a id="script" href="javascript:top.owned = 4">script</a>
<a id="relative" href="/logout" target="_top">relative</a>
<a id="opt" href="{{{{ unsubscribe_url }}}}" target="_top">stop</a><a id="copy" href="{{{{ mirror_url }}}}">copy</a></p>
<form id="form" action="{evil}/form" method="post" target="_top"><button id="send">send</button></form>
<svg onload="top.owned = 5" width="40" height="20"><a xlink:href="{evil}/svg"><text y="15">svg</text></a>
<image href="{evil}/image.png"/><script>top.owned = 6</script></svg>
<iframe src="{evil}/iframe"></iframe>
<iframe srcdoc="<script>top.owned = 7</script><img src='{evil}/srcdoc.png'>"></iframe>
<object data="{evil}/object"></object><embed src="{evil}/embed">
<video poster="{evil}/poster.png" src="{evil}/video" autoplay>
</video><audio src="{evil}/audio" autoplay></audio><math><mtext><style><img src={evil}/math.png></style></mtext></math>
<noscript><img src="{evil}/noscript.png"></noscript><a id="over" href="{evil}/over"></a>
<div><template shadowrootmode="open"><img src="{evil}/shadow.png"></template></div>
<p style="height: 3000px">long</p><!-- <meta title=" --><link rel="preconnect" href="{evil}">"></body></html>"""
PICTURES = {
    *("/background.png", "/body.png", "/pixel.png", "/srcset.png", "/poster.png", "/image.png", "/srcdoc.png"),
    *("/math.png", "/noscript.png", "/shadow.png", "/icon"),
}


class Evil(ThreadingHTTPServer):
    """Notes what is asked of it, and each connection."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.asked: list[str] = []
        self.connections = 0

    def get_request(self):
        self.connections += 1
        return super().get_request()


class Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = do_GET

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def evil():
    server = Evil()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def service(tmp_path_factory, evil):
    with tracepost(tmp_path_factory.mktemp("service"), public_url="http://127.0.0.1:{http}") as running:
        html = HOSTILE.format(evil=f"http://evil.test:{evil.server_port}")
        head = "From: news@example.com\r\nMessage-ID: <hostile@example.com>\r\nMIME-Version: 1.0\r\n"
        with smtplib.SMTP("127.0.0.1", running.smtp_port) as client:
            mail = f"{head}Subject: Hostile\r\nContent-Type: text/html; charset=utf-8\r\n\r\n{html}\r\n".encode()
            client.sendmail(
                "news@example.com", ["ann@example.net"], mail.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
            )
        eventually(running.settled)
        yield running


@pytest.fixture(params=["picture", "sandbox"])
def place(request, service) -> str:
    """A page with the mail in a frame."""
    if request.param == "picture":
        return f"/messages/{service.message('<hostile@example.com>')['id']}"
    (file,) = (service.folder / "data" / "sandbox").glob("*.eml")
    return f"/sandbox/{file.stem}"


def opened(browser, service, path, **options):
    """A page of the dashboard, signed in, with its frame loaded."""
    page = browser.new_context(**options).new_page()
    base = str(service.web.base_url).rstrip("/")
    page.goto(f"{base}/login")
    page.fill("input[name=key]", API_KEY)
    page.keyboard.press("Enter")
    page.wait_for_url(lambda url: "/login" not in url)
    page.goto(base + path)
    page.locator("iframe").scroll_into_view_if_needed()
    page.wait_for_function("document.querySelector('iframe').contentWindow !== null")
    eventually(lambda: len(page.frames) > 1 and page.frames[1].url.startswith(base))
    page.frames[1].wait_for_load_state()
    return page


def counted(service) -> tuple[int, ...]:
    row = service.message("<hostile@example.com>")
    return tuple(row[name] for name in COUNTS)


COUNTS = ("opens", "machine_opens", "clicks", "machine_clicks", "opt_outs", "opt_out_clicks", "mirror_views")


def test_it_runs_nothing_and_asks_for_nothing(browser, service, evil, place):
    evil.asked.clear()
    evil.connections, before = 0, counted(service)
    page = opened(browser, service, place)
    said = []
    page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
    url, frame = page.url, page.frames[1]
    address = frame.url
    page.wait_for_timeout(1000)  # a refresh or a script would have had its time
    assert said == []
    assert page.evaluate("window.owned") is None
    assert page.url == url
    assert frame.url == address
    assert (evil.asked, evil.connections) == ([], 0)
    assert counted(service) == before
    assert frame.locator("h1").inner_text() == "Hostile"
    assert frame.locator("#plain").is_visible()
    page.context.close()


def test_nothing_in_it_can_be_followed_or_sent(browser, service, evil, place):
    evil.asked.clear()
    before = counted(service)
    page = opened(browser, service, place)
    url, frame = page.url, page.frames[1]
    address = frame.url
    for name in ("plain", "blank", "script", "relative", "opt", "copy", "send", "hidden", "over"):
        spot = frame.locator(f"#{name}")
        assert spot.count() or name == "hidden"
        if spot.count() and (box := spot.bounding_box()):
            page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
            page.mouse.click(box["x"] + 3, box["y"] + 3, button="middle")
    page.locator("iframe").focus()
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.tagName") != "IFRAME":
            break
        page.keyboard.press("Enter")
    page.wait_for_timeout(500)
    assert page.url == url
    assert frame.url.partition("#")[0] == address
    assert len(page.context.pages) == 1
    assert evil.asked == []
    assert counted(service) == before
    page.context.close()


def test_its_pictures_load_when_asked_for_and_count_nothing(browser, service, evil, place):
    evil.asked.clear()
    before = counted(service)
    page = opened(browser, service, place)
    assert "1 other host" in page.locator(".note").first.inner_text()
    page.click("text=Load pictures")
    page.wait_for_load_state()
    page.locator("iframe").scroll_into_view_if_needed()
    eventually(lambda: {"/pixel.png", "/srcset.png", "/background.png"} <= set(evil.asked))
    page.wait_for_timeout(500)
    assert set(evil.asked) <= PICTURES
    assert counted(service) == before
    assert page.evaluate("window.owned") is None
    page.click("text=Stop loading them")
    page.wait_for_load_state()
    assert page.locator("text=Load pictures").count() == 1
    page.context.close()


def test_it_can_be_read_to_its_end(browser, service, place):
    page = opened(browser, service, place)
    box = page.locator("iframe").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 60)

    def scrolled() -> bool:
        page.mouse.wheel(0, 600)
        return page.frames[1].evaluate("document.scrollingElement.scrollTop") > 0

    eventually(scrolled)
    page.context.close()


PAGES = ["/queue", "/sandbox", "/settings", "/links", "/suppressions"]


@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize("script", [True, False])
def test_every_page_fits_a_phone_and_complains_of_nothing(browser, service, mode, script):
    message = service.message("<hostile@example.com>")["id"]
    (file,) = (service.folder / "data" / "sandbox").glob("*.eml")
    context = browser.new_context(viewport={"width": 360, "height": 740}, color_scheme=mode, java_script_enabled=script)
    page = context.new_page()
    complaints = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    base = str(service.web.base_url).rstrip("/")
    asked = []
    page.on("requestfinished", lambda request: asked.append(request.url))
    page.goto(f"{base}/login")
    page.fill("input[name=key]", API_KEY)
    page.keyboard.press("Enter")
    page.wait_for_url(lambda url: "/login" not in url)
    for path in (*PAGES, f"/messages/{message}", f"/sandbox/{file.stem}"):
        page.goto(base + path)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, path
        assert page.locator("h1").count() == 1
        unnamed = "input:not([type=hidden]):not([aria-label]):not([id]), select:not([aria-label]):not([id])"
        assert page.locator(unnamed).count() == 0
        assert page.evaluate(UNLABELLED) == []
    assert complaints == []
    assert [url for url in asked if not url.startswith((base, "data:"))] == []
    context.close()


UNLABELLED = """() => [...document.querySelectorAll('input:not([type=hidden]), select, textarea, iframe, button')]
  .filter(each => !(each.labels?.length || each.getAttribute('aria-label') || each.title || each.textContent.trim()))
  .map(each => each.outerHTML)"""


def test_the_queue_shows_what_waits_and_the_settings_what_is_in_force(browser, service):
    page = browser.new_context().new_page()
    base = str(service.web.base_url).rstrip("/")
    page.goto(f"{base}/queue")
    assert page.url == f"{base}/login?next=%2Fqueue"
    page.fill("input[name=key]", API_KEY)
    page.keyboard.press("Enter")
    page.wait_for_selector("text=The queue is empty")
    page.click("nav >> text=Settings")
    page.wait_for_selector("text=The configuration that is in force")
    text = page.inner_text("main")
    assert "relay.test" in text
    assert API_KEY not in text
    page.context.close()

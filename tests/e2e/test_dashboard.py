"""The dashboard in real Chromium: wide and narrow, light and dark, by keyboard alone, without script, refreshing."""

from __future__ import annotations

import re
import time
from contextlib import contextmanager

import pytest
from playwright.sync_api import expect

from tests.e2e.looks import RATIO
from tests.fakes.month import fill
from tests.tracker.facts import accepted, hit, outcome
from tests.tracker.served import served
from tests.tracker.tracked import READ_KEY
from tracker.model import Status
from tracker.store.base import MessageFilter
from tracker.store.sqlite import SqliteStore

expect.set_options(timeout=60_000)
PAGES = [
    "/",
    "/report",
    "/report?period=year&by=label",
    "/mailings",
    "/mailings/{mailing}",
    "/messages",
    "/messages?q=zzz",
    "/messages/{message}",
]
SAMPLE = "swaks --server 127.0.0.1:2525 --from news@example.com --to ann@example.net"

NAMES = """() => {
  const name = e => (e.getAttribute('aria-label') || [...(e.labels || [])].map(l => l.textContent).join(' ')
    || (e.getAttribute('aria-labelledby') || '').split(' ').map(id => document.getElementById(id)?.textContent).join('')
    || e.textContent).trim();
  const wrong = [];
  const all = selector => [...document.querySelectorAll(selector)];
  for (const e of all('a, button, input:not([type=hidden]):not([hidden]), select, summary, [role=region], [role=img]'))
    if (!name(e)) wrong.push('no name: ' + e.outerHTML.slice(0, 120));
  for (const e of all('[role=region]')) if (e.tabIndex !== 0) wrong.push('cannot be scrolled by keyboard: ' + name(e));
  for (const e of all('img')) if (!e.hasAttribute('alt')) wrong.push('no alt');
  for (const e of all('table')) {
    if (!e.querySelector('thead th')) wrong.push('a table without heads');
    for (const th of e.querySelectorAll('th')) if (!th.scope) wrong.push('no scope: ' + th.textContent);
    for (const tr of e.querySelectorAll('tbody tr')) if (!tr.querySelector('th')) wrong.push('a row without head');
  }
  const ids = all('[id]').map(e => e.id);
  for (const id of new Set(ids)) if (ids.filter(each => each === id).length > 1) wrong.push('twice: #' + id);
  for (const e of all('[aria-labelledby], [aria-describedby]'))
    for (const id of (e.getAttribute('aria-labelledby') || e.getAttribute('aria-describedby')).split(' '))
      if (!document.getElementById(id)) wrong.push('nowhere: #' + id);
  if (all('h1').length !== 1) wrong.push('not one h1');
  let before = 0;
  for (const e of all('h1, h2, h3, h4')) {
    if (+e.tagName[1] > before + 1) wrong.push('a heading too deep: ' + e.textContent);
    before = +e.tagName[1];
  }
  for (const e of all('[style], style, script:not([src])')) wrong.push('not under the policy: ' + e.tagName);
  return wrong;
}"""

FAINT = (
    "() => {"
    + RATIO
    + """
  const found = [];
  for (const e of document.querySelectorAll('body *')) {
    const own = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    if (!own || !e.checkVisibility({ visibilityProperty: true })) continue;
    const s = getComputedStyle(e), svg = e instanceof SVGElement;
    if (svg && e.tagName === 'title') continue;
    const against = ratio(svg ? s.fill : s.color, ground(svg ? e.ownerSVGElement.closest('.card, body') : e));
    if (against < 4.5) found.push([e.textContent.trim().slice(0, 40), against]);
    if (parseFloat(s.fontSize) < 11) found.push([e.textContent.trim().slice(0, 40), s.fontSize]);
  }
  return found;
}"""
)

CUT = """() => [...document.querySelectorAll('main :is(th, td)')]
  .filter(e => e.textContent.trim().length > 12 && e.checkVisibility() && !e.closest('thead') && e.clientWidth < 72)
  .map(e => e.textContent.trim().replace(/\\s+/g, ' ').slice(0, 60))"""
"""Cells so narrow that their words are broken."""


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    made = SqliteStore(tmp_path_factory.mktemp("month") / "store.sqlite")
    fill(made, time.time(), size=0.1)
    yield made
    made.close()


@pytest.fixture(scope="module")
def address(store):
    with served(store) as running:
        yield running


@contextmanager
def opened(browser, address: str, key: str | None = READ_KEY, **options):
    """A page, signed in; at the end the browser must have complained of nothing, and asked no other host."""
    context = browser.new_context(**options)
    page, wrong = context.new_page(), []
    page.on("console", lambda message: wrong.append(message.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda request: request.url.startswith(address) or wrong.append(request.url))
    page.goto(f"{address}/login")
    if key:
        page.fill("#key", key)
        page.keyboard.press("Enter")
        page.wait_for_url(f"{address}/")
    yield page
    context.close()
    assert wrong == []


def paths(store) -> list[str]:
    mailing = max(store.mailings(MessageFilter(), 100).rows, key=lambda row: row["messages"])["id"]
    message = max(store.messages(MessageFilter(), 100).rows, key=lambda row: row["clicks"])["id"]
    return [path.format(mailing=mailing, message=message) for path in PAGES]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_every_page_can_be_read_by_everybody(browser, store, address, width, scheme):
    with opened(browser, address, viewport={"width": width, "height": 800}, color_scheme=scheme) as page:
        for path in paths(store):
            assert page.goto(address + path).status == 200
            assert page.evaluate("document.documentElement.scrollWidth") <= width, path
            assert page.evaluate(NAMES) == [], path
            assert page.evaluate(FAINT) == [], path
            assert page.evaluate(CUT) == [], path
        shown = page.evaluate("getComputedStyle(document.body.parentElement).backgroundColor")
        assert (max(map(int, re.findall(r"\d+", shown))) < 64) is (scheme == "dark")


def test_empty_pages_say_what_to_do(browser, tmp_path):
    empty = SqliteStore(tmp_path / "empty.sqlite")
    size = {"width": 360, "height": 800}
    with served(empty, sample=SAMPLE) as address, opened(browser, address, viewport=size) as page:
        for path in ("/", "/mailings", "/messages", "/links"):
            page.goto(address + path)
            assert SAMPLE in page.inner_text("main")
            assert page.evaluate("document.documentElement.scrollWidth") <= 360
            assert page.evaluate(NAMES) == [] == page.evaluate(FAINT)
        page.goto(f"{address}/report")
        assert SAMPLE in page.inner_text("main")
        assert "Nothing to show: there were no mails, opens or clicks in this time." in page.inner_text("main")
        assert page.evaluate(NAMES) == [] == page.evaluate(FAINT)
        empty.close()


def focused(page) -> str:
    return page.evaluate("(document.activeElement.innerText || document.activeElement.id).trim()")


def tab_to(page, text: str) -> None:
    """Press Tab until this has the focus, which shows it each time."""
    for _ in range(60):
        page.keyboard.press("Tab")
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none", page.evaluate(
            "document.activeElement.outerHTML.slice(0, 200)"
        )
        if focused(page) == text:
            return
    pytest.fail(f"{text} is not reached")


@pytest.mark.parametrize(("width", "script"), [(360, True), (360, False), (1280, True), (1280, False)])
def test_a_walk_by_keyboard_alone(browser, address, width, script):
    size = {"width": width, "height": 800}
    with opened(browser, address, key=None, viewport=size, java_script_enabled=script, reduced_motion="reduce") as page:
        page.wait_for_selector("#key:focus")
        page.keyboard.type(READ_KEY)
        page.keyboard.press("Enter")
        page.wait_for_url(f"{address}/")
        page.keyboard.press("Tab")
        assert focused(page) == "Skip to content"
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "main"
        page.goto(f"{address}/")
        if width == 360:
            assert not page.locator("nav >> text=Report").is_visible()
            tab_to(page, "Menu")
            page.keyboard.press("Enter")
        tab_to(page, "Report")
        page.keyboard.press("Enter")
        page.wait_for_url(f"{address}/report")
        assert page.locator("nav a[aria-current=page]").inner_text().strip() == "Report" or width == 360
        tab_to(page, "7 days")
        page.keyboard.press("Enter")
        page.wait_for_url(f"{address}/report?period=7d")
        tab_to(page, "As a table")
        page.keyboard.press("Enter")
        assert page.locator("#activity tbody tr").count() == 7
        assert page.locator("#activity tbody").is_visible()


def test_pages_are_whole_without_script(browser, store, address):
    with opened(browser, address, java_script_enabled=False, accept_downloads=True) as page:
        assert page.locator("main .tiles li").count() == 6
        assert page.locator("#activity svg.plot .band").count() == 24
        assert not page.locator("[data-live-pause]").is_visible()
        page.goto(f"{address}/mailings")
        with page.expect_download() as download:
            page.click("text=CSV")
        lines = download.value.path().read_text().splitlines()
        assert lines[0].startswith("id,")
        assert len(lines) == 1 + len(store.mailings(MessageFilter(), 1000).rows)
        page.fill("#q", "field notes")
        page.keyboard.press("Enter")
        page.wait_for_url("**/mailings?q=field+notes&sender=")
        assert page.locator(".mailings tbody tr").count() == 3
        page.click(".mailings tbody a >> nth=0")
        page.wait_for_url("**/mailings/*")
        page.click("text=All 12 messages")
        page.wait_for_url("**/messages?mailing_key=*")
        assert page.locator(".mailings tbody tr").count() == 12


def test_a_bar_says_its_numbers_when_pointed_at(browser, address):
    with opened(browser, address, viewport={"width": 1280, "height": 900}) as page:
        band = page.locator("#activity .band").nth(5)
        assert not band.locator(".tip").is_visible()
        band.locator(".reach").hover()
        assert band.locator(".tip").is_visible()
        full = page.locator("#activity tbody th").nth(5).text_content()
        assert band.locator(".tip .at").text_content() == full
        assert band.locator("title").text_content().startswith(f"{full}: ")


# -- refreshing ------------------------------------------------------------------------------------------------------


@pytest.fixture
def living(browser, tmp_path):
    """An overview whose clock the test moves, and its store, with one mail in it."""
    own = SqliteStore(tmp_path / "living.sqlite")
    own.apply(_mail())
    with served(own) as address:
        context = browser.new_context(viewport={"width": 1280, "height": 500})
        page = context.new_page()
        failed = []
        page.on("pageerror", lambda error: failed.append(str(error)))
        page.clock.install()
        page.goto(f"{address}/login")
        page.fill("#key", READ_KEY)
        page.keyboard.press("Enter")
        page.wait_for_url(f"{address}/")
        page.clock.pause_at(time.time() + 1)  # from now on it asks when the test lets time pass, and only then
        yield page, own
        context.close()
        assert failed == []
    own.close()


def _mail() -> list[object]:
    now = time.time()
    message = accepted(at=now - 30, mailing=f"mailing {now}")
    return [message, outcome(message.id, at=now - 29), hit(message.id, at=now - 20), hit(message.id, 1, 1, at=now - 10)]


def delivered(page):
    return page.locator(".tiles li:has(.label:text-is('Delivered')) b")


def refreshed(page) -> None:
    """Let the time pass after which it asks, and wait for the answer."""
    with page.expect_response("**/?part=live"):
        page.clock.run_for(5000)


def test_the_overview_refreshes_by_itself_and_keeps_focus_and_place(living):
    page, store = living
    expect(delivered(page)).to_have_text("1")
    page.locator("#clicks summary").focus()
    page.keyboard.press("Enter")
    page.evaluate("scrollTo(0, 300)")
    page.evaluate("document.body.dataset.mark = 'same page'")
    store.apply(_mail())
    refreshed(page)
    expect(delivered(page)).to_have_text("2")
    assert page.evaluate("document.body.dataset.mark") == "same page"
    assert page.evaluate("document.activeElement.closest('figure').id") == "clicks"
    assert page.evaluate("document.querySelector('#clicks details').open")
    assert page.evaluate("scrollY") == 300
    assert page.locator(".mailings tbody tr").count() == 2
    assert page.locator("[data-live-status]").inner_text().startswith("Refreshed ")


def test_what_has_not_changed_is_left_in_peace(living):
    page, store = living
    refreshed(page)
    page.wait_for_timeout(200)
    page.evaluate("document.querySelector('[data-live] .tiles').dataset.mark = 'same'")
    with page.expect_response("**/?part=live") as answer:
        page.clock.run_for(5000)
    assert answer.value.headers["content-encoding"] == "gzip"
    answer.value.finished()
    page.wait_for_timeout(200)
    assert page.evaluate("document.querySelector('[data-live] .tiles').dataset.mark") == "same"
    store.apply(_mail())
    refreshed(page)
    expect(delivered(page)).to_have_text("2")


def test_what_is_read_aloud_is_what_is_wrong_and_only_when_it_changes(living):
    page, store = living
    spoken = page.locator("[role=status][data-live-aloud]")
    assert spoken.text_content() == "Nothing is wrong."
    page.evaluate("""() => { window.told = 0; new MutationObserver(() => window.told++).observe(
        document.querySelector('[data-live-aloud]'), {childList: true, characterData: true, subtree: true}) }""")
    store.apply(_mail())
    refreshed(page)
    expect(delivered(page)).to_have_text("2")
    assert page.evaluate("window.told") == 0
    message = accepted(at=time.time() - 60)
    store.apply([message, outcome(message.id, status=Status.ERROR, at=time.time() - 5)])
    refreshed(page)
    expect(spoken).to_contain_text("1 thing needs a look: 1 recipient was given up")
    assert page.evaluate("window.told") > 0
    assert page.locator(".troubles li.bad").count() == 1


def test_it_rests_in_a_hidden_tab_and_when_told_to(living):
    page, _ = living
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.click("text=Pause")
    page.clock.run_for(30_000)
    assert asked == []
    page.evaluate("""() => { Object.defineProperty(document, 'hidden', {value: true, configurable: true});
        document.dispatchEvent(new Event('visibilitychange')) }""")
    status = page.locator("[data-live-status]")
    status.evaluate("status => { status.textContent = 'asking' }")
    with page.expect_response("**/?part=live"):
        page.click("text=Go on")
    expect(status).to_contain_text("Refreshed")  # the answer is dealt with
    page.clock.run_for(30_000)
    assert len(asked) == 1
    with page.expect_response("**/?part=live"):
        page.evaluate("""() => { Object.defineProperty(document, 'hidden', {value: false, configurable: true});
            document.dispatchEvent(new Event('visibilitychange')) }""")


def test_marked_text_stays_marked(living):
    page, store = living
    page.evaluate("getSelection().selectAllChildren(document.querySelector('.tiles'))")
    store.apply(_mail())
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.clock.run_for(20_000)
    assert asked == []
    page.evaluate("getSelection().removeAllRanges()")
    refreshed(page)


def test_when_the_session_ends_the_page_asks_for_a_key(living):
    page, _ = living
    page.context.clear_cookies()
    page.clock.run_for(5000)
    page.wait_for_url("**/login")

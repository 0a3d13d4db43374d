"""Which type a link has and why, and what goes in its place: the order of those who speak, as a table."""

from __future__ import annotations

import base64
import itertools

import pytest

from relay.personal import unknown
from relay.rewriting import placeholders
from relay.rewriting.instrument import Options, scan
from relay.rewriting.marks import MARKS
from relay.rewriting.parameters import add, pairs_of
from relay.rewriting.placeholders import SPELLINGS
from relay.rewriting.rules import Types
from tests.rewriting.judge import BASE, never, value
from tracker.model import LinkType

HEAD = b"Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n"
VALUES = {"message.tag": "märz", "metadata.order": "A&7/8"}


def seen(body, is_ours=never, **wanted):
    """The links of a page, and the page as it leaves: ``C1[target]`` stands for a tracked URL."""
    wanted = {"open_tracking": False, "click_tracking": True, "values": VALUES} | wanted
    raw = HEAD + base64.encodebytes(body.encode()).replace(b"\n", b"\r\n")
    found = scan(raw, Options(BASE, **wanted), is_ours)
    assert not (found.reason or "").startswith("error"), found.reason
    out = found.render(lambda link, target: f"C{link.position}[{target}]", "", value)
    return found.links, base64.b64decode(out[len(HEAD) :]).decode()


def only(href, attributes="", text="x", **wanted):
    """The one link of a page and what stands in its place."""
    (link,), out = seen(f"<p>\r\n<a {attributes} href='{href}'>{text}</a>\r\n</p>", **wanted)
    return link, out.split("href='")[1].split("'>")[0]


# -- who speaks first ------------------------------------------------------------------------------------------------

ATTRIBUTE = {None: "", "tracked": "data-track=tracked", "never": "data-track=never", "off": "clicktracking=off"}
SAVED = {None: (), "mirror": (("https://x.test/a", "mirror"),)}
RULES = {None: (), "opt_out": (("https://x.test/*", "opt_out"),)}


@pytest.mark.parametrize(
    ("attribute", "saved", "rule"), list(itertools.product(ATTRIBUTE, SAVED, RULES)), ids=lambda each: str(each)
)
def test_attribute_then_saved_type_then_rule_then_tracked(attribute, saved, rule):
    types = Types(SAVED[saved], RULES[rule])
    link, _ = only("https://x.test/a?b=c", ATTRIBUTE[attribute], types=types)
    name = {"off": "attribute clicktracking"}.get(attribute, "attribute data-track")
    expected = (
        ("never" if attribute == "off" else attribute, name) if attribute
        else (saved, "saved") if saved
        else (rule, "rule https://x.test/*") if rule
        else ("tracked", "default")
    )  # fmt: skip
    assert (link.type, link.reason) == expected
    assert link.tracked == (link.type is not LinkType.NEVER)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(
    ("attributes", "type", "reason", "leaves"),
    [
        ("", "opt_out", "placeholder", f"{BASE}/u/own"),
        ("data-track=never", "never", "attribute data-track", "{{ unsubscribe_url }}"),
        ("data-track=mirror", "mirror", "attribute data-track", f"{BASE}/u/own"),
        ("data-tracking-type=opt-out", "opt_out", "attribute data-tracking-type", f"{BASE}/u/own"),
        # other services' switches only say that clicks are not counted
        ("clicktracking=off", "opt_out", "placeholder", f"{BASE}/u/own"),
        ("data-pm-no-track", "opt_out", "placeholder", f"{BASE}/u/own"),
        ("data-pm-no-track data-track=never", "never", "attribute data-track", "{{ unsubscribe_url }}"),
    ],
)
def test_a_placeholder_speaks_after_attributes_and_before_all_else(attributes, type, reason, leaves, rule):
    types = Types((("{{ unsubscribe_url }}", "never"),), RULES[rule])
    link, left = only("{{ unsubscribe_url }}", attributes, types=types)
    assert (link.type, link.reason, left) == (type, reason, leaves)


def test_our_attributes_win_over_others_whatever_their_order():
    for attributes in ("clicktracking=off data-track=tracked", "data-track=tracked clicktracking=off"):
        assert only("https://x.test/", attributes)[0].reason == "attribute data-track"
    assert only("https://x.test/", "data-msys-unsubscribe=1 clicktracking=off")[0].type == "opt_out"
    assert only("https://x.test/", "clicktracking=off data-msys-unsubscribe=1")[0].type == "never"
    assert only("https://x.test/", "data-track=nonsense clicktracking=on")[0].reason == "default"


@pytest.mark.parametrize("name", MARKS)
def test_every_mark_says_what_the_table_says(name):
    mark = MARKS[name]
    for said, type in (mark.values or {"": LinkType.NEVER, "anything": LinkType.NEVER}).items():
        for written in {said, said.upper(), said.replace("_", "-")}:
            link, _ = only("https://x.test/", f'{name.upper()}="{written}"')
            assert (link.type, link.reason) == (type, f"attribute {name}"), (name, written)
    if mark.values is not None:
        assert only("https://x.test/", f'{name}="something else"')[0].reason == "default"


# -- saved types and rules -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "url", "holds"),
    [
        ("https://x.test/a", "https://x.test/a", True),
        ("https://x.test/a", "https://x.test/a?b=c", True),
        ("https://x.test/a", "https://x.test/a#d", True),
        ("https://x.test/a?b=c", "https://x.test/a?b=c#d", True),
        ("https://x.test/a?b=c", "https://x.test/a?b=d", False),
        ("https://x.test/a", "https://x.test/ab", False),
        ("https://x.test/a", "https://x.test/A", False),
        ("HTTPS://X.test/a", "https://x.TEST/a", True),
        ("https://x.test/a*", "https://x.test/a/b?c", True),
        ("https://x.test/reset/*", "https://x.test/reset/t0ken?x=1", True),
        ("https://x.test/reset/*", "https://y.test/?u=https://x.test/reset/1", False),
        ("*.test/*", "https://x.test/a", True),
        ("https://x.test/[ab]", "https://x.test/b", True),
        ("https://x.test/[ab]", "https://x.test/[ab]", True),
        ("https://x.test/p?id=*", "https://x.test/p?id=7", True),
        ("https://x.test/?u={{ recipient.email }}", "https://x.test/?u={{ recipient.email }}", True),
    ],
)
def test_globs_and_urls(pattern, url, holds):
    expected = (LinkType.NEVER, "saved") if holds else None
    assert Types(saved=((pattern, "never"),)).of(url) == expected
    assert Types(rules=((pattern, "never"),)).of(url) == ((LinkType.NEVER, f"rule {pattern}") if holds else None)


def test_the_first_rule_wins_and_an_exact_saved_url_before_a_glob():
    rules = Types(rules=(("https://x.test/a*", "never"), ("https://x.test/*", "mirror")))
    assert rules.of("https://x.test/ab") == (LinkType.NEVER, "rule https://x.test/a*")
    assert rules.of("https://x.test/b") == (LinkType.MIRROR, "rule https://x.test/*")
    saved = Types(
        saved=(("https://x.test/*", "never"), ("https://x.test/a", "tracked"), ("https://x.test/a", "mirror"))
    )
    assert saved.of("https://x.test/a?q") == (LinkType.TRACKED, "saved")
    assert Types(saved=(("*", "shiny"),)).of("https://x.test/") is None


# -- placeholders ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("clicks", [True, False])
def test_every_spelling_is_filled_in_whether_clicks_are_tracked_or_not(spelling, clicks):
    name = SPELLINGS[spelling][1]
    leaves = f"{BASE}/u/own" if name == placeholders.OPT_OUT else f"{BASE}/m/own"
    written = {spelling, spelling.replace(" ", ""), f" {spelling} ", f"http://{spelling}"}
    for href in written | {spelling.replace("<", "&lt;").replace(">", "&gt;")}:
        link, left = only(href, click_tracking=clicks)
        assert (link.type, link.reason, link.tracked, left) == (placeholders.TYPES[name], "placeholder", True, leaves)
    if spelling.startswith("{{ "):
        assert only(spelling.replace(" ", "%20"))[1] == leaves
        assert only("%7B%7Bunsubscribe_url%7D%7D")[1] == f"{BASE}/u/own"


def test_a_placeholder_inside_a_url_is_percent_encoded_and_never_inside_a_click():
    link, left = only("https://x.test/go?next={{ unsubscribe_url }}&amp;a=b#{{mirror_url}}", click_tracking=True)
    own = BASE.replace(":", "%3A").replace("/", "%2F")
    assert left == f"https://x.test/go?next={own}%2Fu%2Fown&amp;a=b#{own}%2Fm%2Fown"
    assert (link.type, link.reason, link.tracked) == (LinkType.OPT_OUT, "placeholder", False)
    assert only("https://x.test/?*|ARCHIVE|*")[0].type is LinkType.MIRROR


@pytest.mark.parametrize("clicks", [True, False])
@pytest.mark.parametrize("mark", ["opt-out", "mirror"])
def test_a_page_of_the_apps_own_is_a_click_of_its_type_even_with_clicks_off(mark, clicks):
    link, left = only("https://x.test/out?a=1&amp;b=2", f"data-track={mark}", click_tracking=clicks)
    assert left == "C1[https://x.test/out?a=1&amp;b=2]"
    assert (link.type.value, link.tracked) == (mark.replace("-", "_"), True)


@pytest.mark.parametrize("href", ["{{ foo }}", "{{{ foo }}}", "%foo%", "*|FOO|*", "<%foo%>", "/{{ unsubscribe_url }}"])
def test_what_is_neither_a_url_nor_known_is_no_link(href):
    assert seen(f"<a href='{href}'>x</a>") == ((), f"<a href='{href}'>x</a>")


@pytest.mark.parametrize(
    "href",
    ["https://x.test/{{ foo }}", "https://x.test/{{{ pm:x }}}", "https://x.test/{{ foo }}?u={{ recipient.email }}",
     "https://x.test/{{ metadata. }}", "https://x.test/{{}}", "https://x.test/?q={{#if a}}{{ message.id }}{{/if}}"],
)  # fmt: skip
def test_braces_that_are_not_ours_leave_the_link_untouched(href):
    link, left = only(href)
    assert (link.reason, link.tracked, left) == ("placeholder", False, href)


def test_an_unclosed_brace_is_just_a_character():
    assert only("https://x.test/?q={{a")[1] == "C1[https://x.test/?q={{a]"


# -- what is personal ------------------------------------------------------------------------------------------------

PERSONAL_HREF = (
    "https://x.test/{{ recipient.email }}/{{message.id}}?t={{ message.tag }}&amp;o={{metadata.order}}"
    "&amp;n={{ metadata.none }}#{{ recipient.email }}"
)
PERSONAL_TARGET = (
    "https://x.test/ann%2Bx%40example.net/0192f0c1-0000-7000-8000-000000000000?t=m%C3%A4rz&amp;o=A%267%2F8&amp;n="
    "#ann%2Bx%40example.net"
)


def test_personal_values_are_percent_encoded_in_path_query_and_fragment():
    link, left = only(PERSONAL_HREF)
    assert left == f"C1[{PERSONAL_TARGET}]"
    assert link.url == PERSONAL_HREF.replace("&amp;", "&")


def test_they_are_filled_in_with_clicks_off_too_but_never_in_a_link_typed_never():
    link, left = only(PERSONAL_HREF, click_tracking=False)
    assert (left, link.reason, link.tracked) == (PERSONAL_TARGET, "click_tracking_off", False)
    assert only(PERSONAL_HREF, "data-track=never")[1] == PERSONAL_HREF


@pytest.mark.parametrize("spelling", ["{{recipient.email}}", "{{ recipient.email }}"])
@pytest.mark.parametrize(
    ("text", "wanted"),
    [("x", {"click_tracking": False}), ("https://x.test/", {"skip_visible": True}), ("x", {"longest_address": 2000})],
)
def test_they_are_filled_in_in_a_link_that_is_not_tracked_with_or_without_inner_spaces(spelling, text, wanted):
    link, left = only(f"https://x.test/?u={spelling}", text=text, **wanted)
    assert (left, link.tracked) == ("https://x.test/?u=ann%2Bx%40example.net", False)


@pytest.mark.parametrize("spelling", ["{{unsubscribe_url}}", "{{ unsubscribe_url }}", "%unsubscribe_url%"])
def test_an_opt_out_link_inside_another_url_is_filled_in_with_or_without_inner_spaces(spelling):
    link, left = only(f"https://x.test/?u={spelling}")
    assert left == only("https://x.test/?u={{ unsubscribe_url }}")[1]
    assert "{{" not in left
    assert link.type == "opt_out"


def test_a_target_that_is_not_ascii_keeps_its_placeholders():
    _, left = only("https://bücher.test/ä/{{ recipient.email }}?ü={{ metadata.order }}")
    assert left == "C1[https://xn--bcher-kva.test/%C3%A4/ann%2Bx%40example.net?%C3%BC=A%267%2F8]"


@pytest.mark.parametrize(
    ("href", "attributes", "left"),
    [
        ("{{ unsubscribe_url }}", "", None),
        ("{{ mirror_url }}", "", None),
        ("https://x.test/?u={{ recipient.email }}", "", None),
        ("https://x.test/?u={{ unsubscribe_url }}", "", None),
        ("https://x.test/", "data-track=opt-out", None),
        ("https://x.test/?m={{ message.id }}&amp;t={{ message.tag }}", "",
         "C1[https://x.test/?m=0192f0c1-0000-7000-8000-000000000000&amp;t=m%C3%A4rz]"),
    ],
)  # fmt: skip
def test_a_shared_copy_leaves_alone_what_is_one_recipients_own(href, attributes, left):
    link, there = only(href, attributes, shared=True)
    assert there == (left or href)
    assert link.reason == ("default" if left else "shared_copy")


def test_a_url_is_too_long_for_all_recipients_or_none():
    href = "https://x.test/" + "y" * 1300 + "?u={{ recipient.email }}"
    assert only(href, longest_address=20)[0].reason == "default"
    link, left = only(href, longest_address=300)
    assert (link.reason, link.tracked) == ("url_too_long", False)
    assert left.endswith("?u=ann%2Bx%40example.net")


# -- parameters ------------------------------------------------------------------------------------------------------

PARAMS = (("utm_source", "news letter"), ("utm_campaign", "{{ message.tag }}"), ("u", "{{ recipient.email }}"),
          ("none", "{{ metadata.none }}"))  # fmt: skip


@pytest.mark.parametrize(
    ("href", "target"),
    [
        ("https://x.test", "https://x.test?utm_source=news%20letter&utm_campaign=m%C3%A4rz&u=ann%2Bx%40example.net"),
        ("https://x.test/#f?g", "https://x.test/?utm_source=news%20letter&utm_campaign=m%C3%A4rz&u=ann%2Bx%40example.net#f?g"),
        ("https://x.test/?utm_source=mine&amp;u=", "https://x.test/?utm_source=mine&u=&utm_campaign=m%C3%A4rz"),
        ("https://x.test/?a=b&amp;", "https://x.test/?a=b&utm_source=news%20letter&utm_campaign=m%C3%A4rz&u=ann%2Bx%40example.net"),
        ("https://x.test/?utm%5Fsource&amp;utm_campaign&amp;u", "https://x.test/?utm%5Fsource&utm_campaign&u"),
        ("https://x.test/?", "https://x.test/?utm_source=news%20letter&utm_campaign=m%C3%A4rz&u=ann%2Bx%40example.net"),
    ],
)  # fmt: skip
def test_parameters_stand_before_the_fragment_and_override_nothing(href, target):
    link, left = only(href, parameters=pairs_of(PARAMS, VALUES))
    assert left == f"C1[{target.replace('&', '&amp;')}]"
    assert link.url == href.replace("&amp;", "&")


def test_parameters_are_for_tracked_links_alone():
    for attributes in ("data-track=never", "data-track=opt-out", "data-track=mirror", "clicktracking=off"):
        assert "utm_source" not in only("https://x.test/", attributes, parameters=pairs_of(PARAMS, VALUES))[1]
    assert only("https://x.test/", click_tracking=False, parameters=pairs_of(PARAMS, VALUES))[1] == "https://x.test/"


def test_a_personal_parameter_keeps_links_of_a_shared_copy_as_they_are():
    assert only("https://x.test/", shared=True, parameters=pairs_of(PARAMS, VALUES))[0].reason == "shared_copy"
    shared = pairs_of((("c", "{{ message.tag }}"), ("i", "{{ message.id }}")), VALUES)
    assert only("https://x.test/", shared=True, parameters=shared)[0].tracked


def test_names_and_values_are_escaped_whatever_they_hold():
    assert pairs_of((("a&b", "c=d&e#f?{{message.tag}}%"),), VALUES) == (("a&b", "a%26b=c%3Dd%26e%23f%3Fm%C3%A4rz%25"),)
    assert add("https://x.test/", ()) == "https://x.test/"


@pytest.mark.parametrize(
    ("text", "found"),
    [("", None), ("{{ message.tag }}", None), ("{{metadata.a b}}", None), ("x{{ foo }}", "{{ foo }}"),
     ("{{ unsubscribe_url }}", "{{ unsubscribe_url }}"), ("{{ metadata.NAME }}{{ }}", "{{ }}"), ("{{", None)],
)  # fmt: skip
def test_what_a_parameter_may_name(text, found):
    assert unknown(text) == found


# -- +notrack --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wanted", [{}, {"click_tracking": False}, {"shared": True}])
@pytest.mark.parametrize(
    ("href", "left"),
    [
        ("https+notrack://x.test/?a=1&amp;copy=2", "https://x.test/?a=1&amp;copy=2"),
        (" HTTP+NoTrack://x.test/a b", " HTTP://x.test/a b"),
        ("http+notrack://x.test/{{ foo }}", "http://x.test/{{ foo }}"),
    ],
)
def test_the_suffix_goes_and_all_else_stays(href, left, wanted):
    link, there = only(href, **wanted, parameters=pairs_of((("a", "b"),), {}))
    assert (link.type, link.reason, link.tracked, there) == (LinkType.NEVER, "scheme +notrack", False, left)


def test_a_suffix_written_in_references_stays_as_it_is():
    assert only("https&#43;notrack://x.test/")[1] == "https&#43;notrack://x.test/"


# -- links whose text is a URL ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "skipped"),
    [
        ("https://x.test/a", True), ("HTTP://x.test", True), ("www.x.test", True), ("x.example.com/offers?a", True),
        ("<b>https://x.test/</b>", True), (" x.test ", True), ("bücher.example", True), ("Our shop", False),
        ("ann@example.com", False), ("See https://x.test", False), ("1.5", False), ("e.g.", False), ("", False),
    ],
)  # fmt: skip
def test_visible_urls(text, skipped):
    link, left = only("https://x.test/", text=text, skip_visible=True)
    assert (link.reason == "visible_url", left == "https://x.test/") == (skipped, skipped)
    assert only("https://x.test/", text=text)[0].tracked


def test_a_visible_url_is_skipped_only_where_nobody_says_otherwise():
    assert only("https://x.test/", "data-track=tracked", "https://x.test/", skip_visible=True)[0].tracked
    assert only("https://x.test/", "data-track=opt-out", "https://x.test/", skip_visible=True)[0].tracked
    link, _ = only("https://x.test/", "data-label=Shop", "https://x.test/", skip_visible=True)
    assert (link.label, link.reason) == ("Shop", "visible_url")


@pytest.mark.parametrize(
    ("attributes", "label"),
    [("data-track-label=a data-label=b", "a"), ("data-msys-linkname=c data-label=b", "b"),
     ("data-msys-linkname='c &amp;'", "c &"), ("data-label=''", "x"), ("", "x")],
)  # fmt: skip
def test_labels(attributes, label):
    assert only("https://x.test/", attributes)[0].label == label


def test_our_own_urls_are_never_wrapped_again():
    link, left = only(f"{BASE}/u/abc", is_ours=lambda url: url.startswith(BASE))
    assert (link.reason, left) == ("already_tracked", f"{BASE}/u/abc")

"""A mail's HTML for a frame: nothing leads anywhere, nothing is asked for, and what hosts its pictures are on."""

from __future__ import annotations

import re
import time

import pytest
from lxml import html

from tracker.reading.cage import MOST_HOSTS, Shown, caged, hosts, links, policy

TOKEN = "AR1lhlv1D_yA3_7FOX7q0oOXc0LsiF6CsVTRVrDVBVv-5A"


def body(text: str) -> str:
    """What stands in the page after its head."""
    return caged(text).partition("</head>")[2]


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("<p>a &lt;b&gt; &amp; Grüße</p>", "<p>a &lt;b&gt; &amp; Grüße</p>"),
        ("a<link rel=preconnect href=//x.test>b", "a b"),
        ("a<LINK rel='>' href='//x.test'/>b", "a b"),
        ('a<meta http-equiv="refresh" content="0;url=//x.test">b', "a b"),
        ("a<base\nhref=//x.test>b", "a b"),
        ("<li<link >nk rel=preconnect href=//x.test>", "<li nk rel=preconnect href=//x.test>"),
        ("<l<link>ink rel=preconnect>", "<l ink rel=preconnect>"),
        ("a<link rel=preconnect href='//x.test", "a&lt;link rel=preconnect href='//x.test"),
        ("a<meta", "a&lt;meta"),
        ("<linked>", "<linked>"),
        ("a<iframe src=//x.test>b</iframe>c", "a b</iframe>c"),
        ("<object data=//x.test><embed src=//x.test>b</object>", " b</object>"),
        ("<a href=https://x.test/ class=b>x</a>", '<a href="#" class=b>x</a>'),
        ("<A CLASS=b HREF='/c/x' ping=/p>x</A>", '<A href="#" CLASS=b>x</A>'),
        ("<a href=1 href=2 xlink:href=3>x</a>", '<a href="#">x</a>'),
        ("<a name=here>x</a>", "<a name=here>x</a>"),
        ("<area shape=rect href=https://x.test/>", '<area href="#" shape=rect>'),
        ("<svg><a xlink:href='javascript:1'>x</a></svg>", '<svg><a href="#">x</a></svg>'),
        ("<abbr href=x>", "<abbr href=x>"),
        ("<a href=x title='y", "&lt;a href=x title='y"),
        (
            "<!-- <a title=' --><a href=https://x.test> '>",
            "<!-- <a title=' -->&lt;a href=https://x.test> '>",
        ),
        ("<!-- <meta title=' --><link rel=preconnect href=//x.test> '>x", "<!-- x"),
    ],
)
def test_what_could_reach_out_is_taken_out_and_nothing_else(given: str, shown: str) -> None:
    assert re.sub(r"\s+(?=[> ])", "", body(given)) == shown


def test_the_page_is_inert_and_keeps_the_mails_own_doctype() -> None:
    assert caged("<p>x</p>").startswith("<html inert><head><style>")
    strict = caged("\n<!DOCTYPE html>\n<html lang=de><body bgcolor=red>x")
    assert strict.startswith("<!DOCTYPE html><html inert><head><style>")
    assert strict.endswith("<html lang=de><body bgcolor=red>x")


def test_links_are_shown_as_they_are_said_to_be() -> None:
    def on_link(href: str) -> Shown:
        return Shown("#7", "<b>7</b>") if href == "https://x.test/?a=1&b=2" else Shown()

    text = '<a title=t href="https://x.test/?a=1&amp;b=2">x</a><a href=y>z</a><area href="https://x.test/?a=1&b=2">'
    tree = html.fromstring(caged(text, on_link))
    assert [(each.get("href"), each.text_content()) for each in tree.iter("a", "area")] == [
        ("#7", "7x"),
        ("#", "z"),
        ("#7", ""),
    ]


def test_time_grows_with_the_length_alone() -> None:
    for piece in ("<a ", "<link ", "<a href='", '<a b="', "<meta =", "url(", "src=", "<a></", "//", "< link"):
        started = time.process_time()
        text = piece * (200_000 // len(piece))
        caged(text)
        hosts(text)
        list(links(text))
        assert time.process_time() - started < 30, piece


def test_the_hosts_of_pictures_and_of_nothing_else() -> None:
    text = """
      <img src="https://One.test/a.png"><img srcset='https://two.test/a 1x, http://two.test:8080/b 2x'>
      <td background=//three.test/bg style="background: url(&quot;https://four.test/x&quot;)">
      <style>@import url(https://fonts.test/css); @font-face { src: url('https://fonts.test/a.woff2?x') }
      .a { background: url( 'https://five.test/a;b' ) }</style><video poster="https://six.test/"></video>
      <img src="data:image/png;base64,AAAA//evil.test/"><a href="https://link.test/">x</a><img src="/relative.png">
      <img src="javascript:x"><img src="https://a b.test/'; script-src *">
    """
    assert hosts(text) == (
        [
            *("https://one.test", "https://two.test", "http://two.test:8080", "https://three.test"),
            *("http://three.test", "https://four.test", "https://five.test", "https://six.test", "https://a"),
        ],
        False,
    )


@pytest.mark.parametrize(
    "never", ["track.test", "TRACK.test", "track.test:443", "other.test", "https", ""], ids=lambda each: each or "none"
)
def test_hosts_of_ours_are_never_asked(never: str) -> None:
    kept, left_out = hosts("<img src=https://track.test/logo.png><img src=https://cdn.test/a.png>", [never])
    ours = "track.test" in never.lower()
    assert kept == (["https://cdn.test"] if ours else ["https://track.test", "https://cdn.test"])
    assert left_out == ours


@pytest.mark.parametrize("path", [f"/o/{TOKEN}.gif", f"/c/{TOKEN}", f"/m/{TOKEN}?x#y", f"/u/{TOKEN}"])
def test_a_host_with_a_url_like_our_own_is_never_asked(path: str) -> None:
    text = f"<img src='http://elsewhere.test/logo.png'><img src=//elsewhere.test{path}><img src=https://cdn.test/o/x>"
    assert hosts(text) == (["https://cdn.test"], True)


def test_a_policy_stays_short_enough_for_a_header() -> None:
    text = "".join(f"<img src=https://h{number}.test/>" for number in range(500))
    kept, left_out = hosts(text)
    assert (len(kept), left_out) == (MOST_HOSTS, True)
    assert len(policy(kept)) < 4096


def test_a_policy_lets_in_nothing_but_what_it_names() -> None:
    assert policy() == (
        "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'none'; base-uri 'none';"
        " frame-ancestors 'self'"
    )
    assert "img-src data: https://cdn.test;" in policy(["https://cdn.test"])


def test_the_links_of_a_text_with_what_they_say() -> None:
    text = "<a href='https://x.test/?a&amp;b'>Go <b>now</b> &amp; here</a> x <a name=n>no</a><a href=y>open <a href=z>"
    assert list(links(text)) == [("https://x.test/?a&b", "Go now & here"), ("y", "open"), ("z", "")]
    pictures = '<a href=1><img src=x alt=\'Our &amp; shop\'><img alt="" ></a><area href=2 alt="The <b>roof"><p>no</p>'
    assert list(links(pictures)) == [("1", "Our & shop"), ("2", "The <b>roof")]

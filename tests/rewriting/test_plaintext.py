"""Links in plain text: where a URL begins and ends, in every wrapping, and that all else stays as it came."""

from __future__ import annotations

import base64
import email
import quopri
import re
from urllib.parse import unquote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay.rewriting.instrument import Options, scan
from relay.rewriting.rules import Types
from tests.rewriting.judge import BASE, never, value
from tracker.model import LinkType

TEXT = b"Content-Type: text/plain; charset=utf-8\r\n"
ON = {"open_tracking": True, "click_tracking": True, "text_tracking": True}


def seen(text, head=TEXT, is_ours=never, **wanted):
    """The links of a text, and the text as it leaves: ``<1>`` stands for the first tracked URL."""
    found = scan(head + b"\r\n" + text.encode(), Options(BASE, **(ON | wanted)), is_ours)
    assert not (found.reason or "").startswith("error"), found.reason
    out = found.render(lambda link, target: f"<{link.position}>", "", value)
    return found.links, out[len(head) + 2 :].decode()


@pytest.mark.parametrize(
    ("text", "leaves", "urls"),
    [
        ("http://x.test/", "<1>", ["http://x.test/"]),
        ("See http://x.test/a.\r\n", "See <1>.\r\n", ["http://x.test/a"]),
        ("http://x.test/a, http://x.test/b; http://x.test/c!?", "<1>, <2>; <3>!?",
         ["http://x.test/a", "http://x.test/b", "http://x.test/c"]),
        ("(http://x.test/a)", "(<1>)", ["http://x.test/a"]),
        ("(see http://x.test/a_(b).)", "(see <1>.)", ["http://x.test/a_(b)"]),
        ("[http://x.test/a[1]]", "[<1>]", ["http://x.test/a[1]"]),
        ("[text](http://x.test/a)", "[text](<1>)", ["http://x.test/a"]),
        ("<http://x.test/a.>", "<<1>>", ["http://x.test/a."]),
        ("<URL:http://x.test/a,>", "<URL:<1>>", ["http://x.test/a,"]),
        ('"http://x.test/a"', '"<1>"', ["http://x.test/a"]),
        ("'http://x.test/a'", "'<1>'", ["http://x.test/a"]),
        ("*http://x.test/a* _http://x.test/b_", "*<1>* _<2>_", ["http://x.test/a", "http://x.test/b"]),
        ("http://x.test/a_ http://x.test/b*", "<1> <2>", ["http://x.test/a_", "http://x.test/b*"]),
        ("> http://x.test/a\r\n>> http://x.test/b\r\n>http://x.test/c", "> <1>\r\n>> <2>\r\n><3>",
         ["http://x.test/a", "http://x.test/b", "http://x.test/c"]),
        ("HTTPS://X.test:80/a?b=c&d=%20&e#f", "<1>", ["HTTPS://X.test:80/a?b=c&d=%20&e#f"]),
        ("http://x.test/?u=http://y.test/", "<1>", ["http://x.test/?u=http://y.test/"]),
        ("http://x.test/@,'[]|{}^\\z", "<1>", ["http://x.test/@,'[]|{}^\\z"]),
        ("http://x.test/&amp;a", "<1>", ["http://x.test/&amp;a"]),
        ("“http://x.test/a” – «http://x.test/b» …", "“<1>” – «<2>» …", ["http://x.test/a", "http://x.test/b"]),
        ("「http://x.test/a」をhttp://x.test/b。http://x.test/c、", "「<1>」を<2>。<3>、",
         ["http://x.test/a", "http://x.test/b", "http://x.test/c"]),
        ("http://x.test/a\u00a0b", "<1>\u00a0b", ["http://x.test/a"]),
        ("http://x.test\r\nhttp://y.test", "<1>\r\n<2>", ["http://x.test", "http://y.test"]),
    ],
)  # fmt: skip
def test_where_a_url_ends(text, leaves, urls):
    links, left = seen(text)
    assert left == leaves
    assert [(link.url, link.label, link.reason) for link in links] == [(url, url, "default") for url in urls]


@pytest.mark.parametrize(
    "text",
    ["www.x.test", "xhttp://x.test/", "ftp://x.test/", "mailto:a@x.test", "http:x.test", "http:// x", "http://", "x.y"],
)  # fmt: skip
def test_what_is_no_link(text):
    assert seen(text) == ((), text)


@pytest.mark.parametrize(
    ("text", "head"),
    [
        ("http://x.test/\u65e5\u672c", TEXT),
        ("http://b\u00fccher.test/", TEXT),
        ("<http://x.test/a\r\nb>", TEXT),
        ("<http://x.test/a \r\n  b.html>", TEXT),
        ("http://x.test/a \r\nb", b"Content-Type: text/plain; format=flowed; delsp=yes\r\n"),
        ("http://x.test/" + "a" * 9000, TEXT),
    ],
)
def test_a_url_is_tracked_whole_or_left_alone(text, head):
    (link,), left = seen(text, head)
    assert (left, link.tracked) == (text, False)
    assert link.reason == "doubtful_end"


def test_flowed_text_keeps_its_soft_breaks():
    flowed = b"Content-Type: text/plain; format=flowed\r\n"
    text = "> Look at \r\n> http://x.test/a \r\n> and \r\nhttp://x.test/b \r\nnow.\r\n-- \r\nAnn\r\n"
    assert seen(text, flowed)[1] == text.replace("http://x.test/a", "<1>").replace("http://x.test/b", "<2>")


def test_a_line_that_would_grow_too_long_keeps_its_url():
    text = "y" * 900 + " http://x.test/a\r\nhttp://x.test/b\r\n"
    links, left = seen(text)
    assert [link.reason for link in links] == ["line_too_long", "default"]
    assert left == text.replace("http://x.test/b", "<2>")


# -- what is changed without text tracking ---------------------------------------------------------------------------


def test_a_placeholder_finds_room_on_a_line_before_links_that_are_only_tracked():
    links, out = seen(" ".join(f"http://x.test/{n}" for n in range(20)) + " {{ unsubscribe_url }}\r\n")
    assert links[-1].reason == "placeholder"
    assert {link.reason for link in links[:-1]} == {"default", "line_too_long"}
    assert "{{" not in out


def test_without_text_tracking_only_what_must_not_leave_is_changed():
    text = (
        "http://x.test/a {{ unsubscribe_url }} <{{mirror_url}}> https+notrack://x.test/b\r\n"
        'http://x.test/c[[data-msys-clicktrack="0"]] http://x.test/d?u={{ recipient.email }}. http://x.test/out\r\n'
    )
    links, left = seen(text, text_tracking=False, types=Types(rules=(("*/out", "opt_out"),)))
    assert left == (
        f"http://x.test/a {BASE}/u/own <{BASE}/m/own> https://x.test/b\r\n"
        "http://x.test/c http://x.test/d?u=ann%2Bx%40example.net. http://x.test/out\r\n"
    )
    assert [(link.position, link.type.value, link.tracked) for link in links] == [
        (1, "opt_out", True), (2, "mirror", True), (3, "never", False), (4, "never", False), (5, "tracked", False),
    ]  # fmt: skip


@pytest.mark.parametrize("tracking", [True, False])
def test_sparkposts_marks_leave_with_their_url_or_without(tracking):
    text = (
        "http://x.test/a[[data-msys-clicktrack='0']] http://x.test/b[[data-msys-unsubscribe=\"1\"]]"
        ' http://x.test/c[[data-msys-linkname="Shop"]].\r\n'
    )
    links, left = seen(text, text_tracking=tracking)
    assert left == f"http://x.test/a <2> {'<3>' if tracking else 'http://x.test/c'}.\r\n"
    assert [link.type.value for link in links] == ["never", "opt_out", "tracked"]
    assert links[2].label == "Shop"


def test_a_shared_copy_keeps_its_placeholders():
    links, left = seen("{{ unsubscribe_url }}", shared=True)
    assert (left, links[0].reason) == ("{{ unsubscribe_url }}", "shared_copy")


def test_text_without_any_of_it_is_not_even_looked_at():
    links, left = seen("http://x.test/a {{ foo }} %url% *| <%", text_tracking=False)
    assert (links, left) == ((), "http://x.test/a {{ foo }} %url% *| <%")
    found = scan(TEXT + b"\r\nhttp://x.test/", Options(BASE, True, True), never)
    assert (found.reason, found.instrumented, found.closed) == ("no_html", False, False)


# -- beside HTML -----------------------------------------------------------------------------------------------------

ALTERNATIVE = (
    b"Content-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\n%s\r\n"
    b"--b\r\nContent-Type: text/html\r\n\r\n%s\r\n--b--\r\n"
)


def test_what_the_html_says_of_a_url_holds_in_the_text():
    text = b"http://x.test/a http://x.test/b http://x.test/c http://x.test/d http://x.test/e"
    page = (
        b"<a href='http://x.test/a' clicktracking=off>a</a>\r\n<a href='http://x.test/b' data-track=opt-out>b</a>\r\n"
        b"<a href='http+notrack://x.test/c'>c</a>\r\n<a href='http://x.test/d'>d</a>\r\n"
        b"<a href='http://x.test/e' data-track=opt-out>e</a>\r\n<a href='http://x.test/e' data-pm-no-track>e</a>\r\n"
    )
    found = scan(ALTERNATIVE % (text, page), Options(BASE, **ON), never)
    assert [(link.position, link.type.value, link.reason) for link in found.links[6:]] == [
        (7, "never", "attribute clicktracking"),
        (8, "opt_out", "attribute data-track"),
        (9, "never", "scheme +notrack"),
        (10, "tracked", "default"),
        (11, "never", "attribute data-pm-no-track"),
    ]


def test_positions_count_through_the_html_first_and_are_the_same_without_text():
    raw = ALTERNATIVE % (b"http://x.test/t", b"<a href='http://x.test/h'>h</a>")
    on, off = (scan(raw, Options(BASE, True, True, text_tracking=each), never) for each in (True, False))
    assert [(link.position, link.url) for link in on.links] == [(1, "http://x.test/h"), (2, "http://x.test/t")]
    assert off.links == on.links[:1]
    out = on.render(lambda link, target: f"C{link.position}", "", value)
    assert out.index(b"\r\nC2\r\n") < out.index(b"'C1'")


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        (TEXT + b"Content-Disposition: attachment\r\n", "no_html"),
        (b"Content-Type: message/rfc822\r\n", "no_html"),
        (b"Content-Type: text/csv\r\n", "no_html"),
        (b"Content-Type: multipart/signed; boundary=b\r\n", "signed"),
        (TEXT + b"DKIM-Signature: x\r\n", "dkim_signed"),
    ],
)
def test_what_is_never_touched(head, reason):
    raw = head + b"\r\n{{ unsubscribe_url }} http://x.test/"
    found = scan(raw, Options(BASE, **ON), never)
    assert (found.reason, found.instrumented) == (reason, False)
    assert found.closed == (reason != "no_html")


def test_a_text_that_is_not_what_it_says_is_noted_and_left():
    for head, reason in (
        (b"Content-Type: text/plain; charset=euc-jp\r\n", "charset_not_exact"),
        (b"Content-Transfer-Encoding: base64\r\n", "encoding_not_exact"),
        (b"Content-Transfer-Encoding: x-foo\r\n", "encoding_unknown"),
    ):
        raw = head + b"\r\n\xff\xff http://x.test/"
        found = scan(raw, Options(BASE, **ON), never)
        assert found.notes == (f"part 1 (text/plain): {reason}",)
        assert found.render(lambda link, target: "", "", str) == raw
        assert scan(raw, Options(BASE, True, True), never).notes == ()


def test_octets_of_no_charset_come_out_as_they_came():
    links, _ = seen("\xff", head=b"")
    assert links == ()
    raw = b"\r\n\xff\xfe1 http://x.test/a \x80\xff\r\n"[:2] + b"caf\xe9 http://x.test/a \x80\xff\r\n"
    found = scan(raw, Options(BASE, **ON), never)
    assert found.render(lambda link, target: "<1>", "", str) == raw.replace(b"http://x.test/a", b"<1>")


# -- all else stays --------------------------------------------------------------------------------------------------

PIECES = st.sampled_from(
    ["http://x.test/a", "https://y.test/?b=c&d", "{{ unsubscribe_url }}", " ", "\r\n", "> ", "<", ">", "(", ")", ".",
     ",", "word", "\u00fc", "\u65e5\u672c", "\u3002", "=", "=3D", "-- ", "\t", "{{", "}}", "*|", "https+notrack://z.test/",
     "[[data-msys-clicktrack=\"0\"]]", "http://", "x" * 80, "\u2028", "\x85", "{{ recipient.email }}"]
)  # fmt: skip
WRAPPINGS = st.sampled_from(
    [("utf-8", "8bit"), ("utf-8", "base64"), ("utf-8", "quoted-printable"), ("utf-16", "base64"), ("gb18030", "8bit"),
     ("iso-2022-jp-2", "7bit"), ("utf-7", "7bit"), ("shift_jis", "8bit"), ("utf-16-le", "quoted-printable")]
)  # fmt: skip


def wrap(text, charset, encoding):
    octets = text.encode(charset, "ignore")
    if encoding == "base64":
        octets = base64.encodebytes(octets).replace(b"\n", b"\r\n")
    elif encoding == "quoted-printable":
        octets = quopri.encodestring(octets.replace(b"\r\n", b"\n"), quotetabs=True).replace(b"\n", b"\r\n")
    head = f"Content-Type: text/plain; charset={charset}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n"
    return head.encode() + octets


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(PIECES, max_size=30).map("".join), WRAPPINGS, st.booleans())
def test_all_but_the_links_is_the_same(text, wrapping, tracking):
    raw = wrap(text, *wrapping)
    found = scan(raw, Options(BASE, True, True, text_tracking=tracking), never)
    assert not (found.reason or "").startswith("error")
    out = found.render(lambda link, target: f"{BASE}/c/{link.position}-", "", value)
    if not found.instrumented:
        assert out == raw
        return
    before, after = (email.message_from_bytes(mail) for mail in (raw, out))
    assert before.items() == after.items()
    old, new = (mail.get_payload(decode=True).decode(wrapping[0]) for mail in (before, after))
    assert new.count(BASE) == sum(link.tracked for link in found.links)
    # what must not leave aside, what is between links stands in the original too, in order
    old, new = (re.sub(r"\[\[data-msys-clicktrack=.0.\]\]|\+notrack", "", each) for each in (old, new))
    at = 0
    for piece in re.split(rf"{BASE}/(?:c/\d+-|[um]/own)|ann\+x@example\.net", unquote(new)):
        assert old.find(piece, at) >= 0, (piece, old[at:])
        at = old.find(piece, at) + len(piece)


def test_quoted_printable_lines_stay_short_and_others_stay_as_they_came():
    lines = [b"caf=C3=A9 =", b"and more", b"see http://x.te=", b"st/a=3Db for details", b"trailing=20", b"end"]
    head = TEXT + b"Content-Transfer-Encoding: quoted-printable\r\n\r\n"
    found = scan(head + b"\r\n".join(lines), Options(BASE, **ON), never)
    assert found.links[0].url == "http://x.test/a=b"
    out = found.render(lambda link, target: f"{BASE}/c/" + "z" * 150, "", str)[len(head) :].split(b"\r\n")
    assert out[:2] == lines[:2]
    assert out[-2:] == lines[-2:]
    assert all(len(line) <= 76 for line in out)


def test_a_url_typed_never_is_kept_and_named():
    links, left = seen("http://x.test/reset/t0ken", types=Types(rules=(("*/reset/*", "never"),)))
    assert left == "http://x.test/reset/t0ken"
    assert (links[0].type, links[0].reason) == (LinkType.NEVER, "rule */reset/*")
    links, left = seen(f"{BASE}/c/1", is_ours=lambda url: True)
    assert (links[0].reason, left) == ("already_tracked", f"{BASE}/c/1")

"""What is a link, what is left alone and why, where the pixel goes."""

from __future__ import annotations

import base64

import pytest

from relay.rewriting import message
from relay.rewriting.instrument import Options, scan
from tests.rewriting.judge import BASE, OPTIONS, judge, never, render
from tracker.model import LinkType

HEAD = b"From: a@example.com\r\nContent-Type: text/html; charset=utf-8\r\n"


def mail(body, head=HEAD):
    return head + b"\r\n" + (body if isinstance(body, bytes) else body.encode())


def links(body, options=OPTIONS, is_ours=never, head=HEAD):
    return scan(mail(body, head), options, is_ours).links


def only(body, **more):
    (link,) = links(body, **more)
    return link


@pytest.mark.parametrize(
    ("value", "url", "target"),
    [
        ("http://x.test/?a=1&amp;b=2", "http://x.test/?a=1&b=2", None),
        ("http://x.test/?a=1&copy=1&lt", "http://x.test/?a=1&copy=1<", None),
        ("http://x.test/?a&lt=1&notit;", "http://x.test/?a&lt=1&notit;", None),
        ("  http://x.test/a\r\n\tb ", "http://x.test/ab", None),
        ("http://x.test/%EF|{}^[]@,", "http://x.test/%EF|{}^[]@,", None),
        ("http://x.test/&#1;", "http://x.test/", None),
        ("http://x.test/a&#1;b", "http://x.test/a\x01b", "http://x.test/a%01b"),
        ("HTTP://X.test", "HTTP://X.test", None),
        ("http:x.test", "http:x.test", "http://x.test"),
        ("https:/x.test/a", "https:/x.test/a", "https://x.test/a"),
        ("http:\\\\x.test", "http:\\\\x.test", "http://x.test"),
        ("http://x.test/?u=http://y.test/?href=1#f", "http://x.test/?u=http://y.test/?href=1#f", None),
        ("http://bücher.test/ü?ü#ü", "http://bücher.test/ü?ü#ü", "http://xn--bcher-kva.test/%C3%BC?%C3%BC#%C3%BC"),
        ("http://u:p@bücher.test:80/", "http://u:p@bücher.test:80/", "http://u:p@xn--bcher-kva.test:80/"),
        ("http://x.test/😀", "http://x.test/😀", "http://x.test/%F0%9F%98%80"),
        ("http://", "http://", None),
        ("http://%%%/", "http://%%%/", None),
        ("http://x.test/a b\\c", "http://x.test/a b\\c", None),
    ],
)
def test_values(value, url, target):
    link = only(f'<a href="{value}">x</a>')
    assert (link.url, link.target, link.tracked, link.reason) == (url, target or url, True, "default")


def test_a_query_goes_in_the_charset_of_the_document():
    body = '<a href="http://x.test/ü?ü&#8364;&#28450;#ü">'.encode("latin-1")
    link = only(body, head=b"Content-Type: text/html; charset=iso-8859-1\r\n")
    assert link.target == "http://x.test/%C3%BC?%FC%80%26%2328450%3B#%C3%BC"


@pytest.mark.parametrize(
    "body",
    [
        '<a href="mailto:a@b.test">', '<a href="tel:1">', '<a href="#x">', '<a href="cid:1">', '<a href="{x}">',
        '<a href="%x%">', '<a href="/a">', '<a href="">', "<a href>", "<a>", '<a name="http://x.test">',
        '<link href="http://x.test">', '<base href="http://x.test">', '<img src="http://x.test">',
        '<form action="http://x.test">', "<style>a{b:url(http://x.test)}<a href='http://x.test'></style>",
        "<script><a href='http://x.test'></script>", "<!-- <a href='http://x.test'> -->",
        "<title><a href='http://x.test'></title>", "<textarea><a href='http://x.test'></textarea>",
        "<p title=\"<a href='http://x.test'>\">", "<a href='http://x.test", "<abbr href='http://x.test'>",
        "<a href='javascript:http://x'>", "http://x.test",
    ],
)  # fmt: skip
def test_no_links(body):
    assert links(body) == ()


@pytest.mark.parametrize(
    "body",
    [
        "<a href=http://x.test/>x</a>", "<A\nHREF = 'http://x.test/' >x</A>", "<a/href='http://x.test/'/>x",
        "<a class='b'href='http://x.test/'id=c>x</a>", "<a href='http://x.test/' href='http://y.test/'>x</a>",
        "<area href='http://x.test/' alt=x>", "<v:roundrect href='http://x.test/'><center>x</center></v:roundrect>",
        "<!--[if mso]><a href='http://x.test/'>x</a><![endif]-->", "<!--[if !mso]><!--><a href=http://x.test/>x</a>",
        "<![if !mso]><a href=http://x.test/>x</a><![endif]>", "<b a='>' c=\"<\"><a href=http://x.test/>x</a>",
        "<a href=http://x.test/><img src=y alt=x></a>", "<a href=http://x.test/><b>x</b>", "< <a href=http://x.test/>x",
        "<a data-label=x href=http://x.test/>y</a>", "<a href=http://x.test/>\r\n x\t<!-- y --></a>",
    ],
)  # fmt: skip
def test_links(body):
    link = only(body)
    assert (link.url, link.label, link.type) == ("http://x.test/", "x", LinkType.TRACKED)
    found, out = render(mail(body))
    assert out.count(b"track.test/c/1-") == 1
    assert scan(out, OPTIONS, never).links[0].url.startswith(f"{BASE}/c/1-")
    assert found.instrumented


@pytest.mark.parametrize(
    "mark",
    ["data-track=never", 'data-tracking-type="never"', "clicktracking=off", 'disable-tracking="true"',
     "data-pm-no-track", "ses:no-track", "mc:disable-tracking", "data-msys-clicktrack='0'",
     "mautic:disable-tracking=true", "CLICKTRACKING=OFF"],
)  # fmt: skip
def test_marks(mark):
    body = f"<a href='http://x.test/' {mark}>x</a>"
    link = only(body)
    assert (link.type, link.tracked) == (LinkType.NEVER, False)
    assert link.reason == "attribute " + mark.split("=")[0].lower()
    assert body.encode() in render(mail(body))[1]


def test_marks_that_say_otherwise():
    assert only("<a href='http://x.test/' data-track=tracked>x").reason == "attribute data-track"
    assert only("<a href='http://x.test/' clicktracking=on>x").reason == "default"


def test_reasons():
    assert only("<a href='http://x.test/{{ y }}'>x").reason == "placeholder"
    assert only("<a href='http://x.test/'>x", options=Options(BASE, True, False)).reason == "click_tracking_off"
    assert only(f"<a href='http://x.test/{'y' * 3000}'>x").reason == "url_too_long"
    measured = Options(BASE, True, True, measure=lambda target: 100)
    assert only(f"<a href='http://x.test/{'y' * 3000}'>x", options=measured).reason == "default"
    assert only("<a href='http://x.test/c/1'>x", is_ours=lambda url: True).reason == "already_tracked"
    late = b"<a href='http://x.test/\xff'>x</a>"
    assert only(late).reason == "charset_not_exact"


def test_positions_count_on_across_leaves_and_every_leaf_has_a_pixel():
    raw = (
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/html\r\n\r\n"
        b"<a href=http://x.test/1>x</a>\r\n--b\r\nContent-Type: text/html\r\n\r\n<a href=http://x.test/2>x</a>\r\n--b--\r\n"
    )
    found, out = judge(raw)
    assert [link.position for link in found.links] == [1, 2]
    assert out.count(b"/o/p.gif") == 2


@pytest.mark.parametrize(
    ("page", "before"),
    [
        ("<body><p>x</p></body></html>", "</body></html>"),
        ("<p>x</p></html>\r\n", "</html>\r\n"),
        ("<p>x</p>\r\n", "\r\n"),
        ("<p>x</p></body><!-- </body> --></html>", "</body><!-- </body> --></html>"),
        ("</body><p></body>\r\n", "</body>\r\n"),
        ("<p>x<style></body>", "<style></body>"),
        ("<p>x<a href='</body>", "<a href='</body>"),
    ],
)
def test_the_pixels_place(page, before):
    found, out = render(mail(page))
    at = out.index(b"<img src=")
    assert found.pixels
    assert out[out.index(b">", at) + 1 :] == before.encode()


def test_no_second_pixel():
    page = f"<img src='{BASE}/o/abcdefghijklmnop.gif'>x"
    assert not scan(mail(page), OPTIONS, lambda url: url.startswith(BASE)).pixels
    assert scan(mail(page), OPTIONS, never).pixels


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        (b"DKIM-Signature: x\r\nContent-Type: text/html\r\n", "dkim_signed"),
        (b"auto-submitted: Auto-Replied (x)\r\nContent-Type: text/html\r\n", "auto_submitted"),
        (b"Content-Type: text/plain\r\n", "no_html"),
        (b"", "no_html"),
        (b"Content-Type: text/html\r\nContent-Disposition: attachment\r\n", "attachment"),
        (b"Content-Type: application/pkcs7-mime; smime-type=signed-data\r\n", "signed"),
        (b"Content-Type: application/pkcs7-mime\r\n", "encrypted"),
        (b"Content-Type: text/html\r\nContent-Transfer-Encoding: x-uuencode\r\n", "encoding_unknown"),
        (b"Content-Type: text/html\r\nContent-Transfer-Encoding: base64\r\n", "encoding_not_exact"),
        (b"Content-Type: text/html; charset=utf-16\r\n", "charset_not_exact"),
        (b"Content-Type: multipart/signed; boundary=b\r\n", "signed"),
    ],
)
def test_untouched(head, reason):
    raw = mail("<a href=http://x.test/>x</a>\r\n\r\n--b\r\nContent-Type: text/html\r\n\r\n<a href=http://y.test>", head)
    found, out = render(raw)
    assert (found.reason, out) == (reason, raw)


def test_auto_generated_is_tracked():
    assert render(mail("<p>x", b"Auto-Submitted: auto-generated\r\n" + HEAD))[0].instrumented


def test_pgp_is_untouched():
    text = "-----BEGIN PGP MESSAGE-----\r\nx\r\n"
    assert render(mail(f"<pre>{text}</pre>"))[0].reason == "pgp"
    encoded = base64.encodebytes(text.encode()).replace(b"\n", b"\r\n")
    assert render(mail(encoded, HEAD + b"Content-Transfer-Encoding: base64\r\n"))[0].reason == "pgp"


@pytest.mark.parametrize(
    "charset",
    ["iso-2022-jp", "hz", "utf-7", "gb18030", "euc-kr", "ks_c_5601-1987", "big5", "shift_jis", "koi8-r", "utf-16",
     "windows-1251", "x-unknown"],
)  # fmt: skip
def test_charsets(charset):
    text = {"koi8-r": "привет", "windows-1251": "привет", "euc-kr": "안녕", "ks_c_5601-1987": "안녕", "hz": "你好",
            "big5": "你好", "utf-7": "hi <b>"}.get(charset, "日本")  # fmt: skip
    codec = {"ks_c_5601-1987": "cp949", "x-unknown": "euc-jp"}.get(charset, charset)
    page = f"<html><body><p>{text}</p> <a href='http://x.test/'>{text}</a> <p>{text}\r\n</p></body></html>"
    body = base64.encodebytes(page.encode(codec)).replace(b"\n", b"\r\n")
    head = f"Content-Type: text/html; charset={charset}\r\nContent-Transfer-Encoding: base64\r\n".encode()
    found, out = render(mail(body, head))
    assert found.instrumented
    after = base64.b64decode(out.split(b"\r\n\r\n", 1)[1]).decode(codec)
    value = after[after.index("http://track.test/c/") : after.index("z'>") + 1]
    pixel = after[after.index("<img") : after.index("</body>")]
    assert after.replace(value, "http://x.test/").replace(pixel, "") == page
    if charset not in ("x-unknown", "utf-7"):
        assert found.links[0].label == text


def test_quoted_printable_keeps_other_lines():
    lines = [b"<p>=E4 trailing =", b"text</p>", b"a=zz <b>", b'<a href=3D"http://x.te=', b'st/?a=3D1&amp;b=3D2">x</a>',
             b"== odd", b"</body>"]  # fmt: skip
    head = b"Content-Type: text/html; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n"
    raw = mail(b"\r\n".join(lines), head)
    found, out = render(raw)
    assert found.links[0].url == "http://x.test/?a=1&b=2"
    got = out.split(b"\r\n\r\n", 1)[1].split(b"\r\n")
    assert got[:3] == lines[:3]
    assert got[3].startswith(b'<a href=3D"http://track.test/c/1-')
    assert b"== odd" in got
    assert all(len(line) <= 76 for line in got)


def test_quoted_printable_that_does_not_map_is_untouched():
    head = HEAD + b"Content-Transfer-Encoding: quoted-printable\r\n"
    raw = mail(b'<a href=3D"http://x.test/==">x</a>', head)
    assert render(raw)[1] == raw
    assert scan(raw, OPTIONS, never).reason == "encoding_not_exact"


def test_base64_keeps_its_width_and_first_lines():
    page = b"<p>" + b"x" * 200 + b"</p><a href='http://x.test/'>x</a>" + b"y" * 100
    text = base64.b64encode(page)
    body = b"\r\n".join(text[at : at + 60] for at in range(0, len(text), 60)) + b"\r\n\r\n"
    _, out = judge(mail(body, HEAD + b"Content-Transfer-Encoding: base64\r\n"))
    got = out.split(b"\r\n\r\n", 1)[1].split(b"\r\n")
    assert got[:4] == body.split(b"\r\n")[:4]
    assert {len(line) for line in got[:-3]} == {60}
    assert out.endswith(b"\r\n\r\n")


def test_long_lines():
    fits = mail("x" * 880 + " <a class=c href='http://x.test/' title='a b'>x</a>\r\n")
    found, out = judge(fits)
    assert found.links[0].tracked
    assert max(map(len, out.split(b"\r\n"))) <= 998
    assert b"title='a b'" in out
    stays = mail("<p>y</p>\r\n" + "x" * 960 + "<a href='http://x.test/'>x</a>\r\n")
    assert judge(stays)[0].links[0].tracked
    no_room = mail("<p>y</p>\r\n" + "x" * 900 + f"<b class='{'y' * 60}'></b><a\thref='http://x.test/'>x</a>\r\n")
    found, out = judge(no_room)
    assert (found.links[0].tracked, found.links[0].reason) == (False, "line_too_long")
    came_long = mail("<p>y</p>\r\n" + "x" * 1200 + " <a href='http://x.test/'>x</a>\r\n<p>z</p>\r\n")
    found, out = judge(came_long)
    assert found.links[0].reason == "line_too_long"
    assert found.pixels
    broken = mail("x" * 700 + "<a href='http://x.test/'>" + "y" * 700 + "</a>\r\n<p>z</p>\r\n")
    found, out = judge(broken)
    assert found.links[0].tracked
    assert max(map(len, out.split(b"\r\n"))) <= 998
    one_line = mail("<body>" + "x" * 3000 + "</body>")
    found, out = judge(one_line)
    assert out == one_line
    assert found.notes == ("part 1 (text/html): no pixel, line_too_long",)


def test_headers():
    raw = b"From x\r\nTo: a\r\nSubject: one\r\n two\r\nbcc : b,\r\n\tc\r\njunk\r\nBCC:d\r\nX: \xff\r\n\r\nBcc: body\r\n"
    assert message.get(raw, "subject") == "one two"
    assert message.get(raw, "X") == "\xff"
    assert message.get(raw, "none") is None
    assert message.remove(raw, ["Bcc"]) == raw.replace(b"bcc : b,\r\n\tc\r\n", b"").replace(b"BCC:d\r\n", b"")
    assert [h.name for h in message.headers(raw)] == ["To", "Subject", "bcc", "BCC", "X"]
    assert message.prepend(raw, [b"A: 1", b"B: 2\r\n x\r\n"]) == b"A: 1\r\nB: 2\r\n x\r\n" + raw
    assert message.remove(b"\r\nBcc: x\r\n", ["Bcc"]) == b"\r\nBcc: x\r\n"


@pytest.mark.parametrize(
    ("value", "kind", "boundary"),
    [
        (b' multipart/mixed; boundary="a=b=="', "multipart/mixed", b"a=b=="),
        (b" Multipart/Mixed;\r\n boundary=----=_x", "multipart/mixed", b"----=_x"),
        (b" multipart/mixed; boundary*0=ab; boundary*1=c", "multipart/mixed", b"abc"),
        (b" multipart/mixed; boundary*=us-ascii'en'a%20b", "multipart/mixed", b"a b"),
        (b' multipart/mixed; x="a\\"; boundary=no"; boundary=b', "multipart/mixed", b"b"),
        (b" junk; boundary=b", "text/plain", b"b"),
        (b"", "text/plain", None),
    ],
)
def test_content_type(value, kind, boundary):
    found, parameters = message.content_type(value)
    assert (found, parameters.get("boundary")) == (kind, boundary)


def test_an_error_costs_no_mail():
    def broken(url):
        raise RuntimeError

    raw = mail("<a href=http://x.test/>x</a>")
    found = scan(raw, OPTIONS, broken)
    assert (found.instrumented, found.reason) == (False, "error: RuntimeError")
    assert found.render(lambda link, target: "", "", str) == raw

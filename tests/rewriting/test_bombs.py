"""What is built to hurt: answered in time, in little memory, and left as it came or done right."""

from __future__ import annotations

import time
import tracemalloc

import pytest

from relay.rewriting import html, message
from relay.rewriting.instrument import Options, scan
from relay.rewriting.sevenbit import to_seven_bit
from tests.rewriting.judge import OPTIONS, never

HTML = b"Content-Type: text/html; charset=utf-8\r\n\r\n"
MILLION = 1_000_000


def timed(bound, work):
    """What ``work`` comes to, within so many seconds of a processor; a busy one may be four times as slow."""
    start = time.process_time()
    result = work()
    spent = time.process_time() - start
    assert spent < 4 * bound, f"{spent:.2f} s"
    return result


def nested(levels):
    head = b"".join(
        b'Content-Type: multipart/mixed; boundary="b%d"\r\n\r\n--b%d\r\n' % (level, level) for level in range(levels)
    )
    return head + b"Content-Type: text/html\r\n\r\n<a href=http://x.test/>x</a>\r\n"


def parts(count):
    return b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\nx\r\n" * count + b"--b--\r\n"


@pytest.mark.parametrize(
    ("mail", "reason"),
    [
        (lambda: nested(300), "too_deep"),
        (lambda: parts(100_000), "too_many_parts"),
        (lambda: b"X: " + b"=?utf-8?q?a?= " * 20_000 + b"\r\n" + HTML + b"<p>", "header_too_large"),
        (lambda: b"\r\n" * 16_000_000, "no_html"),
        (lambda: HTML.replace(b"\r\n\r\n", b"; " + b"x=" * 100_000 + b"\r\n\r\n") + b"<p>", None),
        (lambda: HTML.replace(b"\r\n\r\n", b"; " + b" " * 200_000 + b"\r\n\r\n") + b"<p>", None),
        (lambda: HTML.replace(b"\r\n\r\n", b'; a="' + b"\\" * 200_000 + b"\r\n\r\n") + b"<p>", None),
        (lambda: b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--\r\n" * 5_000_000, "too_many_parts"),
        (lambda: b"x" * 30_000_000, "no_html"),
        (lambda: b"x\r\n" * 8_000_000, "no_html"),
        (lambda: b"A: b\r\n" * 4_000_000, "header_too_large"),
        (lambda: HTML + b"<a href=http://x.test/>" * 200_000, "too_many_links"),
        (lambda: HTML + b"<a>" * 1_000_000, "too_many_links"),
    ],
    ids=range(13),
)
def test_mail(mail, reason):
    mail = mail()  # made when its turn comes: together they are hundreds of megabytes
    found = timed(3, lambda: scan(mail, OPTIONS, never))
    assert found.reason == reason
    timed(1, lambda: [message.get(mail, name) for name in ("From", "Subject", "X-Track-Tag")])
    timed(1, lambda: message.remove(mail, ["Bcc", "X-Track-Tag"]))


@pytest.mark.parametrize(
    "piece",
    ["<", "<!", "<!-", "<!--", "<!-->", "<!-- -->", "<!--[if ", "<![", "<?", "</", "</>", "&", "&#", "&#x9;", "&a",
     "&lt", "<a ", "<a href=", "<a href='", '<a href="', "<a/", "<a =", "<b>", "<b ", "<b a=", '<b a="', "<b/ ", "= ",
     "<script>", "<script><!--", "<script><!--<script>", "<style>", "</style", "<title>", "<plaintext>", "-", "--!",
     "<v:x ", '"', "<img ", "<br/>", "</a ", "<a href=x>", "<p ' ", "<!--[if mso]>", "<!--[if mso]><a><![endif]-->",
     "<!doctype '"],
)  # fmt: skip
def test_pages(piece):
    text = piece * (3 * MILLION // 2 // (len(piece) + 1))
    body = text.encode()
    found = timed(3, lambda: scan(HTML + body, OPTIONS, never))
    assert not (found.reason or "").startswith("error")
    encoded = HTML.replace(b"\r\n\r\n", b"\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n") + body
    timed(4, lambda: scan(encoded, OPTIONS, never))
    timed(3, lambda: html.unescape(text, attribute=True))


def test_a_long_value_and_a_long_number():
    value = "http://x.test/?" + "&#" + "9" * MILLION + ";"
    found = timed(3, lambda: scan(HTML + f'<a href="{value}">x</a>'.encode(), OPTIONS, never))
    assert found.links[0].url == "http://x.test/?\ufffd"


def test_many_links_on_one_line():
    body = b"<a href='http://x.test/'>x</a>" * 9_000
    timed(4, lambda: scan(HTML + body, OPTIONS, never))
    cut = b"\r\n".join([body[at : at + 900] for at in range(0, len(body), 900)])
    timed(4, lambda: scan(HTML + cut, OPTIONS, never))


def test_bare_line_ends_in_quoted_printable():
    head = HTML.replace(b"\r\n\r\n", b"\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n")
    found = timed(2, lambda: scan(head + b"x" + b"\r\n" * 8_000_000, OPTIONS, never))
    assert found.pixels


@pytest.mark.parametrize("encoding", [b"8bit", b"quoted-printable"])
@pytest.mark.parametrize(
    "piece", [b"a\xe9", b"\xe9", b"\r\n", b" \r\n", b"\n", b"-", b"a", b"=", b"\xe9\r\n--", b"\xe9=\r\n"]
)
def test_seven_bits(piece, encoding):
    head = HTML.replace(b"\r\n\r\n", b"\r\nContent-Transfer-Encoding: " + encoding + b"\r\n\r\n")
    mail = head + b"\xe9" + piece * (4 * MILLION // len(piece))
    timed(4, lambda: to_seven_bit(mail))
    tracemalloc.start()
    to_seven_bit(mail)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20 * len(mail)


TEXT = b"Content-Type: text/plain; charset=utf-8\r\n\r\n"


@pytest.mark.parametrize(
    "piece",
    ["http://", "http://x.test/", "http://x.test/ ", "<http://x.test/ ", "http://x.test/)", ")", "http://x.test/。",
     "{{", "{{ ", "}}", "{{}}", "{{ unsubscribe_url }}", "{{ unsubscribe_url }} ", "{{ recipient.email }}",
     "http://x/{{ recipient.email", "*|", "<%", "%unsubscribe_url", "[[data-msys-", "http://x.test/[[data-msys-",
     "https+notrack://x.test/ ", "http://x.test/{{ a }}", "http://x.test/a.,.,", "ü", "x\r\n", "(http://x.test/",
     "http", "+notrack://"],
)  # fmt: skip
@pytest.mark.parametrize("tracking", [True, False])
def test_texts(piece, tracking):
    body = (piece * (MILLION // len(piece))).encode()
    options = Options("http://track.test", True, True, text_tracking=tracking)
    quoted = TEXT.replace(b"\r\n\r\n", b"\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n")
    for mail in (TEXT + body, quoted + body):
        found = timed(6, lambda mail=mail: scan(mail, options, never))
        assert not (found.reason or "").startswith("error"), found.reason


@pytest.mark.parametrize(
    "piece",
    ["{{", "{{ ", "{{a", "{{}}", "*|", "%unsubscribe_url%", "{{ recipient.email }}", "[", ")", "{{ unsubscribe_url }}"],
)
def test_one_long_url(piece):
    href = "http://x.test/" + piece * (MILLION // len(piece))
    options = Options("http://track.test", True, True, text_tracking=True)
    for mail in (HTML + f"<a href='{href}'>{href}</a>".encode(), TEXT + href.encode()):
        found = timed(6, lambda mail=mail: scan(mail, options, never))
        assert not (found.reason or "").startswith("error"), found.reason

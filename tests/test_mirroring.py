"""What is kept of a mail, filled in for one recipient, is the HTML that this recipient was sent."""

from __future__ import annotations

import base64
import dataclasses
import email
import re
import time
from email.message import EmailMessage
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.config import SenderConfig
from relay.instrumenting import Plan, Reader, plan
from relay.reception.headers import Headers
from relay.reception.senders import SPEAKING_HEADERS, profile_for
from relay.rewriting import keeping, message, placeholders
from relay.rewriting.charsets import charset_of
from tests.rewriting.test_corpus import ENCODINGS, files, own_charset, wrap
from tracker.mirror import Document, Kind, Picture, Splice, Viewer, fill, pack, unpack
from tracker.model import LinkType
from tracker.tokens import KEY_BYTES, Click, Keyring, Mirror, OptOut

OLD, NEW = bytes(KEY_BYTES), bytes([1]) * KEY_BYTES
BEFORE, AFTER = Keyring([OLD]), Keyring([NEW, OLD])
ID = UUID(int=7)
PIXEL = re.compile(r'<img\s+src="http://t\.test/o/[\w-]+\.gif"\s+width="1" [^<>]*>')
GIF = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")


def decided(content: bytes, **changes) -> Plan:
    senders = [SenderConfig(match="*", tracking_url="http://t.test", mirror_page=True)]
    headers = Headers(message.select(content, SPEAKING_HEADERS))
    profile = profile_for(senders, "a@example.com", None, headers, "http://t.test", BEFORE.ids[0])
    return plan(content, dataclasses.replace(profile, **changes), BEFORE)


def shown(found: Plan, recipient: int | None = 3, keyring: Keyring = BEFORE, address: str | None = "b@c.d") -> str:
    document = found.document
    assert document is not None
    kept = unpack(pack(document))
    assert kept == document
    return fill(kept, Viewer(ID, recipient, "a@example.com", address), keyring)


def sent(found: Plan, recipient: int | None = 3) -> str:
    """The HTML of a copy as another parser finds it, less the pixel."""
    texts = []
    reader = None if recipient is None else Reader(recipient, "b@c.d")
    for part in email.message_from_bytes(found.copy_for(reader, ID, BEFORE)).walk():
        if part.get_content_type() == "text/html" and part.get_content_disposition() != "attachment":
            payload = part.get_payload(decode=True)
            charset = charset_of(str(part.get_param("charset", "")), payload)
            texts.append(charset.read_loosely(charset.text(payload)))
    return PIXEL.sub("", "".join(texts))


def flat(text: str) -> str:
    """Line ends inside tags may have come into the copy, and one stands at its end."""
    return " ".join(text.split())


def pictureless(text: str) -> str:
    """The same whatever became of the mail's own pictures."""
    return flat(re.sub(r"cid:[^\s\"'<>()&]+|data:image/[\w.+-]+;base64,[\w+/=]*", "", text))


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_page_is_shown_as_it_was_sent(corpus, encoding):
    count = links = 0
    for path in files(corpus / "html"):
        page = re.sub(rb"\r\n|\r|\n", b"\r\n", path.read_bytes())
        found = decided(wrap(page, own_charset(page), encoding))
        if not found.instrumented:
            continue
        assert flat(shown(found)) == flat(sent(found)), path.name
        count += 1
        links += sum(link.tracked for link in found.links)
    assert count > 400
    assert links > 400


def test_every_mail_is_shown_as_it_was_sent(corpus):
    count = 0
    for path in files(corpus / "eml"):
        raw = re.sub(rb"\r\n|\r|\n", b"\r\n", path.read_bytes())
        found = decided(raw)
        if found.document is not None and found.instrumented and not found.notes:
            assert pictureless(shown(found)) == pictureless(sent(found)), path.name
            count += 1
    assert count > 100


HTML = (
    "<html><body background='cid:back'><p>Grüße &amp; {{x}}</p><a href='http://x.test/?a=1&amp;b=2'>x</a>"
    '<a href="http://x.test/out" data-track="opt-out">o</a><img src="cid:logo%40x"><img src=cid:missing>'
    '<div style="background:url(&quot;cid:back&quot;)"></div><p>cid:back is a word</p></body></html>\r\n'
)


def related(html: str = HTML, pictures: dict[str, bytes] | None = None, charset: str = "utf-8") -> bytes:
    mail = EmailMessage()
    mail["From"], mail["To"] = "a@example.com", "b@example.net"
    mail.set_content("text")
    mail.add_alternative(html, subtype="html", charset=charset)
    for name, octets in ({"back": GIF, "logo@x": GIF} if pictures is None else pictures).items():
        mail.get_payload()[1].add_related(octets, "image", "gif", cid=f"<{name}>", filename=f"{name}.gif")
    return mail.as_bytes(policy=mail.policy.clone(linesep="\r\n"))


@pytest.mark.parametrize("charset", ["utf-8", "iso-8859-1"])
def test_the_mails_own_pictures_are_inside(charset):
    page = shown(decided(related(charset=charset)))
    data = f"data:image/gif;base64,{base64.b64encode(GIF).decode()}"
    assert f"background='{data}'" in page
    assert f'<img src="{data}">' in page
    assert f"url(&quot;{data}&quot;)" in page
    assert "<img src=cid:missing>" in page
    assert "<p>cid:back is a word</p>" in page
    assert "Grüße &amp; {{x}}" in page
    assert page.count("data:image") == 3


def test_pictures_stay_within_a_bound_however_often_they_are_shown(monkeypatch):
    monkeypatch.setattr(keeping, "MAX_PICTURES", 100_000)
    big = decided(related('<img src="cid:a"><img src="cid:b">' * 1000, {"a": bytes(60_000), "b": GIF}))
    page = shown(big)
    assert page.count("data:image/gif;base64,AAAA") == 1
    assert page.count('src="cid:a"') == 999
    assert page.count("data:image/gif;base64,R0lG") > 900
    assert len(pack(big.document)) < 10_000


def test_a_picture_is_a_picture():
    raw = related('<img src="cid:a"><img src="cid:b">', {"a": GIF, "b": GIF})
    raw = raw.replace(b"Content-Type: image/gif", b'Content-Type: text/html; x="', 1)
    assert shown(decided(raw)).count("data:") == 1


def test_links_bear_the_tokens_of_the_copy_after_a_key_rotation_too():
    found = decided(related())
    tokens = re.findall(r"http://t\.test/c/([\w-]+)", sent(found))
    assert len(tokens) == 2
    assert re.findall(r"http://t\.test/c/([\w-]+)", shown(found, keyring=AFTER)) == tokens
    assert AFTER.open(Click, tokens[1]) == Click(ID, 3, 2, "http://x.test/out", LinkType.OPT_OUT)
    assert re.findall(r"http://t\.test/c/([\w-]+)", shown(found, recipient=4)) != tokens


def test_the_one_copy_of_all_is_shown_to_all():
    found = decided(related(), shared=True)
    assert pictureless(shown(found, None)) == pictureless(sent(found, None))
    (token,) = re.findall(r"http://t\.test/c/([\w-]+)", shown(found, None))
    assert BEFORE.open(Click, token).recipient is None


def test_a_pixel_of_ours_that_came_with_the_mail_is_not_loaded():
    once = decided(related()).copy_for(Reader(1, "b@c.d"), ID, BEFORE)
    assert b"/o/" in email.message_from_bytes(once).get_payload()[1].get_payload()[0].get_payload(decode=True)
    page = shown(decided(once))
    assert "/o/" not in page
    assert '<img src="" width="1"' in page


@pytest.mark.parametrize(
    ("html", "changes", "kept"),
    [
        ("<a href='http://x.test/'>x</a>", {}, False),
        ("<a href='http://x.test/' data-track=mirror>x</a>", {}, True),
        ("<a href='http://x.test/'>x</a>", {"mirror_page": True}, True),
        ("<p>no link</p>", {"mirror_page": True}, True),
        ("<p>no link</p>", {"mirror_page": True, "open_tracking": False, "click_tracking": False}, True),
        ("<p>no link</p>", {"mirror_page": True, "reason": "null_reverse_path"}, False),
    ],
)
def test_what_is_kept(html, changes, kept):
    found = decided(related(html, {}), **{"mirror_page": False, **changes})
    assert (found.document is not None) == kept
    if kept:
        assert flat(shown(found)) == flat(sent(found))


@pytest.mark.parametrize(
    "part",
    [
        b"Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\nPGI+eDwvYj4\r\n",
        b"Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n!PGI+eDwvYj4=\r\n",
        b"Content-Type: text/html\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n<b>x</=  \r\nb>\r\n",
        b"Content-Type: text/html; charset=utf-7\r\n\r\n<b>x</b>+AA\r\n",
        b"Content-Type: text/html; charset=no-such\r\n\r\n<b>x</b>\r\n",
        b"Content-Type: text/html; charset=iso-2022-jp\r\n\r\n<b>x</b>\x1b$B\xff\r\n",
        b"Content-Type: text/html\r\nContent-Transfer-Encoding: base64\r\n\r\n=\r\n",
    ],
)
def test_what_cannot_be_worked_on_is_read_as_well_as_it_can_be(part):
    found = decided(b"From: a@example.com\r\n" + part)
    assert "<b>x</b>" in shown(found) or part[-3:] == b"=\r\n"


def test_text_that_utf_8_cannot_hold_is_no_mishap():
    found = decided(
        b"From: a@b.c\r\nContent-Type: text/html; charset=utf-7\r\n\r\n<b>+2AA-</b><a href=http://x.test>x</a>\r\n"
    )
    assert shown(found).startswith("<b>")


def test_time_is_linear():
    began = time.monotonic()
    page = "<img src='cid:a'>" * 50_000 + "cid:" * 500_000 + "=" * 500_000 + "(  " * 200_000
    shown(decided(related(page, {"a": bytes(6_000_000)})))
    assert time.monotonic() - began < 10


OWN = (
    "<a href='{{ unsubscribe_url }}'>out</a><a href=%unsubscribe_url%>out</a><a href=\"*|ARCHIVE|*\">web</a>"
    "<a href='http://x.test/{{ recipient.email }}?m={{message.id}}&amp;t={{ message.tag }}'>me</a>"
    "<a href='http://x.test/in?u={{ mirror_url }}'>in</a>"
    "<a href='https+notrack://x.test/never'>n</a><a href='http://x.test/{{ other }}'>o</a>\r\n"
)


@pytest.mark.parametrize("clicks", [True, False])
def test_links_of_the_readers_own_are_shown_as_they_were_sent(clicks):
    found = decided(related(OWN, {}), mirror_page=False, click_tracking=clicks)
    page = shown(found)
    assert flat(page) == flat(sent(found))
    assert page.count("/u/") == 2
    assert page.count("/m/") == 1
    assert "href='https://x.test/never'" in page
    assert "href='http://x.test/{{ other }}'" in page
    assert ("b%40c.d" in page) == (not clicks)


def test_what_may_be_open_in_a_url_is_known_here_too():
    for name in placeholders.OPEN:
        assert "{{" not in one(Splice(Kind.PLAIN, f"http://x.test/{{{{{name}}}}}"))


# -- filling in -------------------------------------------------------------------------------------------------------


def one(splice: Splice, reader: Viewer | None = None) -> str:
    document = Document((("<a href='", splice, "'>"),), {"p": Picture("image/png", "AAAA")}, "https://t.test", "")
    return fill(document, reader or Viewer(ID, 3, "a@b.c", "ann+x@example.net"), BEFORE)[9:-2]


def test_each_kind_of_splice():
    assert one(Splice(Kind.PLAIN, "http://x.test/?a=1&b=\"'<>")) == "http://x.test/?a=1&amp;b=&quot;&#x27;&lt;&gt;"
    assert one(Splice(Kind.PICTURE, "p")) == "data:image/png;base64,AAAA"
    assert one(Splice(Kind.PICTURE, "q")) == ""
    assert BEFORE.open(Mirror, one(Splice(Kind.MIRROR)).removeprefix("https://t.test/m/")) == Mirror(ID, 3)
    own = OptOut(ID, 3, "a@b.c", "ann+x@example.net")
    assert BEFORE.open(OptOut, one(Splice(Kind.OPT_OUT)).removeprefix("https://t.test/u/")) == own
    click = one(Splice(Kind.CLICK, "http://x.test/", 5, LinkType.MIRROR)).removeprefix("https://t.test/c/")
    assert BEFORE.open(Click, click) == Click(ID, 3, 5, "http://x.test/", LinkType.MIRROR)


def test_what_is_open_in_a_url_is_filled_in():
    url = "http://x.test/?who={{recipient.email}}&id={{message.id}}&m={{mirror_url}}&{{other}}"
    mirror = one(Splice(Kind.MIRROR)).replace(":", "%3A").replace("/", "%2F")
    expected = f"http://x.test/?who=ann%2Bx%40example.net&id={ID}&m={mirror}&{{{{other}}}}"
    assert one(Splice(Kind.PLAIN, url)) == expected.replace("&", "&amp;")
    click = one(Splice(Kind.CLICK, url, 1)).removeprefix("https://t.test/c/")
    assert BEFORE.open(Click, click).url == expected


@pytest.mark.parametrize("reader", [Viewer(ID, 3), Viewer(ID, 3, "a@b.c"), Viewer(ID, None)])
def test_what_is_not_known_any_more_leads_nowhere(reader):
    assert one(Splice(Kind.OPT_OUT), reader) == "#"
    assert one(Splice(Kind.PLAIN, "http://x.test/?{{recipient.email}}"), reader) == "http://x.test/?"


@given(st.binary(max_size=200))
@settings(max_examples=100)
def test_what_was_not_packed_is_refused(octets):
    with pytest.raises(ValueError, match=r"."):
        unpack(octets)

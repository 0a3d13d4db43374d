"""Every real mail and page: nothing raises, nothing but link values and the pixel differs, every link is found."""

from __future__ import annotations

import base64
import quopri
import re

import lxml.etree
import lxml.html
import pytest

from relay.rewriting import html
from relay.rewriting.instrument import Options, scan
from tests.rewriting.judge import BASE, OPTIONS, PIXEL, crlf, html_of, judge, never, value

import email  # isort: skip


def files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_every_mail(corpus):
    count, instrumented, failed = 0, 0, []
    for path in files(corpus / "eml"):
        raw = crlf(path.read_bytes())
        try:
            found, _ = judge(raw)
        except AssertionError as error:
            failed.append(f"{path.name}: {str(error)[:300]}")
            continue
        count += 1
        instrumented += found.instrumented
    assert not failed, "\n".join(failed)
    assert count > 1000
    assert instrumented > 150


def restored(octets, links):
    """Octets with every tracked URL put back."""
    urls = {str(link.position).encode(): link.url.encode() for link in links}
    return re.sub(rf"{BASE}/c/(\d+)-".encode(), lambda match: urls[match[1]], octets)


def test_every_mail_with_its_text_tracked(corpus):
    """All of a text but its URLs is the same, octet by octet where nothing is encoded."""
    options, texts, links, failed = Options(BASE, False, False, text_tracking=True), 0, 0, set()
    for path in files(corpus / "eml"):
        raw = crlf(path.read_bytes())
        found = scan(raw, options, never)
        if not found.instrumented:
            assert not (found.reason or "").startswith("error"), path
            continue
        texts, links = texts + 1, links + len(found.links)
        out = found.render(lambda link, target: f"{BASE}/c/{link.position}-", "", value)
        for a, b in zip(*(email.message_from_bytes(mail).walk() for mail in (raw, out)), strict=True):
            old, new = (part.get_payload(decode=True) for part in (a, b))
            # what the standard library cannot parse it takes for one body
            wrong = old != new and a.get_content_type() != "text/plain" and not a.defects
            if wrong or a.items() != b.items() or (new is not None and restored(new, found.links) != old):
                failed.add(path.name)
        encoded = re.search(rb"(?i)encoding:\s*(?:base64|quoted)", raw)
        if not encoded and restored(out, found.links) != raw:
            failed.add(path.name)
    assert not failed
    assert texts > 50
    assert links > 200


def wrap(page, charset, encoding):
    head = f"From: a@example.com\r\nContent-Type: text/html; charset={charset}\r\n"
    head += f"Content-Transfer-Encoding: {encoding}\r\n\r\n"
    if encoding == "base64":
        body = base64.encodebytes(page).replace(b"\n", b"\r\n")
    elif encoding == "quoted-printable":
        # octets that are no text lines must be escaped whole
        body = (
            "".join(f"={o:02X}" for o in page).encode()
            if b"\0" in page
            else quopri.encodestring(page.replace(b"\r\n", b"\n")).replace(b"\n", b"\r\n")
        )
        if b"\0" in page:
            body = b"=\r\n".join(body[at : at + 75] for at in range(0, len(body), 75))
    else:
        body = page
    return head.encode() + body


def own_charset(page):
    if page.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    found = re.search(rb"charset=[\"']?([\w-]+)", page[:2000])
    name = found[1].decode() if found else "utf-8"
    try:
        page.decode(name)
    except (LookupError, UnicodeError):
        name = "windows-1252"
    return name


ENCODINGS = ["7bit", "8bit", "quoted-printable", "base64"]


def hidden(text):
    """What Outlook alone sees."""
    return re.findall(r"(?is)<!--\s*\[if[^>]*>(.*?)-->", text)


def count_by_lxml(text):
    """http(s) values of a, area and VML elements as lxml and a scan of the conditional comments find them."""
    total = 0
    for piece in [text, *hidden(text)]:
        if not piece.strip():
            continue
        try:
            tree = lxml.html.document_fromstring(piece.encode(), parser=lxml.html.HTMLParser(encoding="utf-8"))
        except lxml.etree.ParserError:
            continue
        for element in tree.iter(lxml.etree.Element):
            name = str(element.tag)
            value = (element.get("href") or "").strip()
            if (name in ("a", "area") or name.startswith("v:")) and re.match(r"https?:", value, re.I):
                total += 1
    return total


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_page_in_every_wrapping(corpus, encoding):
    failed, links = [], 0
    for path in files(corpus / "html"):
        page = path.read_bytes()
        own = own_charset(page)
        text = page.decode(own, "replace")
        variants = [("utf-8", crlf(text.encode("utf-8", "replace")))]
        if encoding in ("quoted-printable", "base64"):
            variants += [("utf-16", text.encode("utf-16")), ("utf-16le", text.encode("utf-16-le"))]
        if "utf-16" not in own:
            variants.append((own, crlf(page)))
        for charset, octets in variants:
            try:
                found, _ = judge(wrap(octets, charset, encoding))
            except AssertionError as error:
                failed.append(f"{path.name} {charset}: {str(error)[:300]}")
                continue
            links += len(found.links)
    assert not failed, f"{len(failed)}\n" + "\n".join(failed[:20])
    assert links > 900


def test_the_links_are_those_that_lxml_finds(corpus):
    differ = []
    for path in files(corpus / "html"):
        text = path.read_bytes().decode(own_charset(path.read_bytes()), "replace")
        found = scan(wrap(crlf(text.encode("utf-8", "replace")), "utf-8", "base64"), OPTIONS, never)
        theirs = count_by_lxml(text)
        if len(found.links) != theirs:
            differ.append((path.name, len(found.links), theirs))
    assert not differ, differ


def shape(text):
    """lxml's tree, href values and the pixel aside."""
    tree = lxml.html.document_fromstring(text)
    rows = []
    for element in tree.iter():
        attributes = {} if not isinstance(element.tag, str) else dict(element.attrib)
        if element.tag in ("a", "area") or str(element.tag).startswith("v:"):
            attributes.pop("href", None)
        content = "" if not isinstance(element.tag, str) else " ".join((element.text or "").split())
        rows.append((str(element.tag), attributes, content, " ".join((element.tail or "").split())))
    return rows


def test_the_tree_is_the_same(corpus):
    for path in files(corpus / "html"):
        raw = wrap(crlf(path.read_bytes().decode("utf-8", "replace").encode()), "utf-8", "base64")
        found, out = judge(raw)
        before, after = (html_of(email.message_from_bytes(mail)) for mail in (raw, out))
        pixels = PIXEL.findall(after)
        assert len(pixels) == found.pixels
        if before.strip() and found.instrumented:
            try:
                expected = shape(before.encode())
            except lxml.etree.ParserError:
                continue
            assert shape(PIXEL.sub("", after).encode()) == expected, path.name


def test_amp_stays(corpus):
    pages = files(corpus / "html/leemunroe__amp-email-templates")
    assert pages
    for path in pages:
        raw = wrap(crlf(path.read_bytes()), "utf-8", "8bit").replace(b"text/html", b"text/x-amp-html", 1)
        found, out = judge(raw)
        assert out == raw
        assert found.reason == "no_html"


def test_skipping_and_walking_agree(corpus):
    for path in files(corpus / "html"):
        text = path.read_bytes().decode("latin-1")
        fast = list(html.walk(text, skip=html.LINKS))
        slow = set(html.walk(text))
        assert set(fast) <= slow, path.name
        kept = [t for t in slow if t.kind in (html.START, html.END) and t.name in ("a", "area", "body", "img", "style")]
        assert set(kept) <= set(fast), path.name

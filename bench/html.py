"""Rewriting cost beside other ways to do it: ``python bench/html.py [CORPUS]``.

CPU time of one copy in ms, medians of interleaved rounds, and how often that is ours; compare within a table only.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).parents[1])  # this folder would hide the standard library's html

import email
import email.policy
import quopri
import statistics
import time
from collections.abc import Callable, Mapping
from uuid import UUID

import lxml.etree
import lxml.html
from bs4 import BeautifulSoup

from bench.mails import newsletter, notice
from relay.instrumenting import ours as tokens_of
from relay.rewriting.instrument import Options, Scan, scan
from tracker.tokens import Keyring, Open

URL = "http://track.test"
OPTIONS = Options(URL, True, True)
TRACKED = f"{URL}/c/" + "x" * 120
HEAD = b"Content-Type: text/html; charset=utf-8\r\n"
KEYRING = Keyring([bytes(range(64))])
ID = UUID(int=7 << 70)


def scanned(mail: bytes) -> Scan:
    return scan(mail, OPTIONS, tokens_of(KEYRING))


def copy_of(found: Scan) -> bytes:
    """The copy of one recipient, with real tokens."""
    sealed = KEYRING.clicks(ID, 1)
    pixel = f"{URL}/o/{KEYRING.seal(Open(ID, 1))}.gif"
    return found.render(lambda link, url: f"{URL}/c/{sealed(link.position, url, link.type)}", pixel, str)


def ours(mail: bytes) -> bytes:
    return copy_of(scanned(mail))


def email_and_lxml(mail: bytes) -> bytes:
    """What the standard library and lxml offer for the same job."""
    message = email.message_from_bytes(mail, policy=email.policy.SMTP)
    for part in message.walk():
        if part.get_content_type() == "text/html":
            page = lxml_rewrite(part.get_content().encode())
            part.set_content(page.decode("utf-8", "replace"), subtype="html", cte="quoted-printable")
    return message.as_bytes()


def lxml_rewrite(page: bytes) -> bytes:
    tree = lxml.html.document_fromstring(page)
    tree.rewrite_links(lambda url: TRACKED if url.startswith("http") else url)
    return bytes(lxml.html.tostring(tree))


def lxml_round_trip(page: bytes) -> bytes:
    return bytes(lxml.html.tostring(lxml.html.document_fromstring(page)))


def soup(page: bytes) -> bytes:
    tree = BeautifulSoup(page, "html.parser")
    for element in tree.find_all(["a", "area"], href=True):
        element["href"] = TRACKED
    return tree.encode()


def compare(title: str, works: Mapping[str, tuple[Callable, list]], octets: int, rounds: int) -> None:
    """Do each work with each of its inputs in turn; the first row is the one that the others are compared with."""
    spent: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, (work, inputs) in works.items():
            start = time.process_time()
            for each in inputs:
                work(each)
            spent[name].append((time.process_time() - start) / len(inputs) * 1000)
    print(f"\n{title}, {octets / 1000:.1f} KB each, medians of {rounds} rounds{'':4} CPU ms    x ours")
    base = statistics.median(next(iter(spent.values())))
    for name, found in spent.items():
        print(f"  {name:58} {statistics.median(found):9.3f} {statistics.median(found) / base:9.1f}")


def quoted(page: bytes) -> bytes:
    encoded = quopri.encodestring(page.replace(b"\r\n", b"\n")).replace(b"\n", b"\r\n")
    return HEAD + b"Content-Transfer-Encoding: quoted-printable\r\n\r\n" + encoded


def pages_of(root: Path) -> list[bytes]:
    """The pages of a corpus that lxml can read."""
    pages = []
    for path in sorted((root / "html").rglob("*.html")):
        page = path.read_bytes().decode("utf-8", "replace").encode()
        try:
            lxml_rewrite(page)
        except (lxml.etree.ParserError, ValueError):
            continue
        pages.append(page.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))
    return pages


def main() -> None:
    root = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[2] / "shared/corpus")
    for name, mail in (("newsletter", newsletter()), ("notice", notice())):
        found = scanned(mail)
        title = f"{name}, quoted-printable, {len(found.links)} links"
        works = {
            "MIME + HTML: scan, and render one copy": (ours, [mail] * 20),
            "  of which scan": (scanned, [mail] * 20),
            "  of which render": (copy_of, [found] * 20),
            "email.policy.SMTP + lxml": (email_and_lxml, [mail] * 2),
        }
        compare(title, works, len(mail), 15)
    pages = pages_of(root)
    if not pages:
        return
    big = min(pages, key=lambda page: abs(len(page) - 50_000))
    for title, chosen, rounds in ((f"{len(pages)} pages", pages, 1), ("one page", [big] * 10, 9)):
        works = {
            "MIME + HTML, 8bit, scan + render": (ours, [HEAD + b"\r\n" + page for page in chosen]),
            "MIME + HTML, quoted-printable, scan + render": (ours, [quoted(page) for page in chosen]),
            "lxml, page alone: parse + serialise, nothing rewritten": (lxml_round_trip, chosen),
            "lxml, page alone: rewrite_links": (lxml_rewrite, chosen),
            "BeautifulSoup, page alone": (soup, chosen),
        }
        compare(title, works, sum(map(len, chosen)) // len(chosen), rounds)


if __name__ == "__main__":
    main()

"""Rewriting cost on real pages beside other ways to do it: ``python bench/html.py [CORPUS]``, ms and MB/s."""

from __future__ import annotations

import sys

sys.path.pop(0)  # this folder would hide the standard library's html

import quopri
import time
from collections.abc import Callable
from pathlib import Path

import lxml.etree
import lxml.html
from bs4 import BeautifulSoup

from relay.rewriting.instrument import Options, scan

OPTIONS = Options("http://track.test", True, True)
TRACKED = "http://track.test/c/" + "x" * 120
HEAD = b"Content-Type: text/html; charset=utf-8\r\n"


def ours(mail: bytes) -> bytes:
    return scan(mail, OPTIONS, lambda url: False).render(lambda link, target: TRACKED, "http://track.test/o/x.gif", str)


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


def spent(work: Callable[[bytes], bytes], inputs: list[bytes], repeat: int) -> float:
    best = float("inf")
    for _ in range(repeat):
        start = time.perf_counter()
        for each in inputs:
            work(each)
        best = min(best, time.perf_counter() - start)
    return best


def row(name: str, seconds: float, pages: int, octets: int) -> None:
    print(f"{name:44} {seconds / pages * 1000:8.3f} {octets / seconds / 1e6:8.1f}")


def main() -> None:
    root = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[2] / "shared/corpus")
    pages = []
    for path in sorted((root / "html").rglob("*.html")):
        page = path.read_bytes().decode("utf-8", "replace").encode()
        try:
            lxml_rewrite(page)
        except (lxml.etree.ParserError, ValueError):
            continue
        pages.append(page.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))
    big = [max(pages, key=lambda page: -abs(len(page) - 50_000))] * 20
    for title, chosen, repeat in (("all pages", pages, 3), (f"one page of {len(big[0]) // 1000} KB", big, 7)):
        octets = sum(map(len, chosen))
        print(f"\n{title}: {len(chosen)} x, {octets / len(chosen) / 1000:.1f} KB each{'':14} ms    MB/s")
        row("MIME + HTML, 8bit, scan + render", spent(ours, [HEAD + b"\r\n" + p for p in chosen], repeat),
            len(chosen), octets)  # fmt: skip
        quoted = [
            HEAD + b"Content-Transfer-Encoding: quoted-printable\r\n\r\n"
            + quopri.encodestring(page.replace(b"\r\n", b"\n")).replace(b"\n", b"\r\n")
            for page in chosen
        ]  # fmt: skip
        row("MIME + HTML, quoted-printable", spent(ours, quoted, repeat), len(chosen), octets)
        row("lxml parse + serialise", spent(lxml_round_trip, chosen, repeat), len(chosen), octets)
        row("lxml rewrite_links + tostring", spent(lxml_rewrite, chosen, repeat), len(chosen), octets)
        row("BeautifulSoup", spent(soup, chosen, 1), len(chosen), octets)


if __name__ == "__main__":
    main()

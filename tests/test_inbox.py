"""The sandbox's folder as the dashboard reads it: whatever lies there, it is listed and shown as far as it goes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from relay import inbox
from relay.dispatch.envelope import Copy, Target
from relay.dispatch.sandbox import Sandbox
from relay.inbox import SandboxInbox, letter
from tracker.mirror import Kind, Splice
from tracker.model import new_id
from tracker.reading.beside import Kept
from tracker.reading.picture import plain

NOW = 1_790_000_000.0
KEPT = Kept("x", NOW, 0, "", (), "", "")
MAIL = (
    b"From: =?utf-8?q?Gr=C3=BC=C3=9Fe?= <a@example.com>\r\nSubject: =?utf-8?b?SGFsbG8=?=\r\n\tyou\r\n"
    b"Content-Type: multipart/mixed; boundary=x\r\n\r\n"
    b"--x\r\nContent-Type: multipart/alternative; boundary=y\r\n\r\n"
    b"--y\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: 8bit\r\n\r\nGr\xfc\xdfe\r\n"
    b"--y\r\nContent-Type: text/html\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    b"PGltZyBzcmM9ImNpZDpsb2dvIj48cD5oaTwvcD4=\r\n"
    b"--y--\r\n"
    b"--x\r\nContent-Type: image/png\r\nContent-ID: <logo>\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA\r\n"
    b'--x\r\nContent-Type: application/pdf; name="ignored"\r\nContent-Disposition: attachment;'
    b' filename="=?utf-8?q?Rechnung_f=C3=BCr.pdf?="\r\n\r\n%PDF\r\n--x--\r\n'
)


def keep(folder: Path, number: int, mail: bytes = MAIL) -> str:
    name = str(new_id(NOW + number))
    path = folder / "sandbox"
    path.mkdir(exist_ok=True)
    (path / f"{name}.eml").write_bytes(mail)
    (path / f"{name}.json").write_text(json.dumps({"reverse_path": f"{number}@x.test", "recipients": ["ann@x.test"]}))
    return name


def test_a_folder_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    assert SandboxInbox(tmp_path).list(10, None) == ([], None)


async def test_what_the_sandbox_keeps_is_found_again(tmp_path: Path) -> None:
    copy = Copy("news@example.com", (Target(1, "ann@example.net"), Target(2, "bob@example.net")), MAIL)
    await Sandbox(tmp_path, lambda: NOW).deliver(copy)
    ((found,), following) = SandboxInbox(tmp_path).list(10, None)
    assert following is None
    assert (found.reverse_path, list(found.recipients)) == ("news@example.com", ["ann@example.net", "bob@example.net"])
    assert (found.sender, found.subject) == ("Grüße <a@example.com>", "Hallo you")
    assert (found.at, found.size) == (pytest.approx(NOW, abs=0.01), len(MAIL))


def test_the_newest_come_first_a_page_at_a_time(tmp_path: Path) -> None:
    names = [keep(tmp_path, number) for number in range(25)]
    seen, after, inbox_ = [], None, SandboxInbox(tmp_path)
    while True:
        page, after = inbox_.list(10, after)
        seen += [each.name for each in page]
        if after is None:
            break
    assert seen == names[::-1]


def test_only_names_of_mails_are_looked_at(tmp_path: Path) -> None:
    name = keep(tmp_path, 1)
    (tmp_path / "secret.eml").write_bytes(b"no")
    for other in ("x.eml", f".{name}.eml", f"{name.upper()}.eml", "..eml"):
        (tmp_path / "sandbox" / other).write_bytes(MAIL)
    found = SandboxInbox(tmp_path)
    assert [each.name for each in found.list(10, None)[0]] == [name]
    for bad in ("../secret", "x", "", name.upper(), f"{name}.eml", "/etc/passwd", f"{name}\0"):
        assert found.letter(bad) is None
        assert found.file(bad) is None


def test_an_envelope_that_cannot_be_read_is_done_without(tmp_path: Path) -> None:
    for number, text in enumerate(("", "[]", '{"recipients": 7}', "[" * 100_000, '{"recipients": [1, null]}')):
        name = keep(tmp_path, number)
        (tmp_path / "sandbox" / f"{name}.json").write_text(text)
    (tmp_path / "sandbox" / f"{keep(tmp_path, 9)}.json").unlink()
    assert len(SandboxInbox(tmp_path).list(10, None)[0]) == 6


def test_all_of_a_mail_is_shown() -> None:
    found = letter(KEPT, MAIL)
    assert found.trouble is None
    assert ("From", "Grüße <a@example.com>") in found.headers
    assert [text.strip() for text in found.texts] == ["Grüße"]
    assert found.html is not None
    assert found.html.parts == (('<img src="', Splice(Kind.PICTURE, "logo"), '"><p>hi</p>'),)
    assert "data:image/png;base64,AAAA" in plain(found.html)
    assert [(leaf.type, leaf.name) for leaf in found.others] == [
        ("image/png", ""),
        ("application/pdf", "Rechnung für.pdf"),
    ]


def test_a_mail_that_is_no_mail_is_shown_as_far_as_it_goes(corpus: Path) -> None:
    mails = [path.read_bytes() for path in (corpus / "eml").rglob("*") if path.is_file()]
    assert len(mails) > 100
    nested = b"".join(b"Content-Type: multipart/mixed; boundary=%d\r\n\r\n--%d\r\n" % (n, n) for n in range(300))
    odd = [
        b"",
        b"\r\n\r\n",
        b"\0\xff" * 1000,
        b"x",
        nested,
        b"Subject: " + b"=?utf-8?q?" + b"a" * 500_000,
        b"a:b\n" * 9999,
    ]
    for raw in [*mails, *odd]:
        found = letter(KEPT, raw)
        if found.html is not None:
            plain(found.html).encode()
        assert all(name.isprintable() and "\n" not in value for name, value in found.headers)


def test_a_mail_past_the_bounds_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    nested = b"".join(b"Content-Type: multipart/mixed; boundary=%d\r\n\r\n--%d\r\n" % (n, n) for n in range(300))
    assert "nested too deeply" in (letter(KEPT, nested).trouble or "")
    monkeypatch.setattr(inbox, "LARGEST", 100)
    assert "too large" in (letter(KEPT, MAIL).trouble or "")
    monkeypatch.setattr(inbox, "LARGEST", 1_000_000)
    monkeypatch.setattr(inbox, "_MOST_HTML", 10)
    found = letter(KEPT, MAIL)
    assert (found.html, "HTML is too large" in (found.trouble or ""), len(found.texts)) == (None, True, 1)

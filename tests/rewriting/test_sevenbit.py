"""Mail for a host without 8BITMIME: the standard library reads what it read before, and nothing needs eight bits."""

from __future__ import annotations

import base64
import email
import quopri
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay.rewriting import message
from relay.rewriting.sevenbit import MAX_MESSAGES, to_seven_bit
from tests.rewriting.judge import crlf

RELAXED = settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
CHANGED = ("content-transfer-encoding", "mime-version")
TOP = b"From: a@example.com\r\nMIME-Version: 1.0\r\n"
TEXT = TOP + b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\nX-Last: 1\r\n\r\n"


def mixed(*parts, kind="mixed", encoding="8bit"):
    head = TOP + f"Content-Type: multipart/{kind}; boundary=b\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n".encode()
    return head + b"".join(b"--b\r\n" + part + b"\r\n" for part in parts) + b"--b--\r\n"


def leaf(body, kind="text/plain; charset=utf-8", encoding="8bit"):
    octets = body if isinstance(body, bytes) else body.encode()
    return f"Content-Type: {kind}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n".encode() + octets


def others(part):
    return [(name.lower(), value) for name, value in part.items() if name.lower() not in CHANGED]


def judge(raw):
    """The converted mail, after a look by the standard library."""
    out = to_seven_bit(raw)
    assert out is not None
    before, after = (list(email.message_from_bytes(mail).walk()) for mail in (raw, out))
    assert len(before) == len(after)
    for a, b in zip(before, after, strict=True):
        assert (a.get_content_type(), a.get_filename()) == (b.get_content_type(), b.get_filename())
        assert [type(defect) for defect in a.defects] == [type(defect) for defect in b.defects]
        assert others(a) == others(b)
        if not a.is_multipart():
            found, expected = b.get_payload(decode=True), a.get_payload(decode=True)
            # the library takes the last line end for a delimiter's where a multipart has no end
            assert found == expected or (b is after[-1] and len(after) > 1 and found == expected + b"\r\n")
            assert b.get_payload().isascii()
    assert to_seven_bit(out) is out
    return out


def body(mail):
    return mail.split(b"\r\n\r\n", 1)[1]


def test_a_text_becomes_quoted_printable_and_its_header_says_so_in_place():
    out = judge(TEXT + "Grüße \r\n\r\n-- \r\n=\t.\r\n".encode())
    assert out == TEXT.replace(b"8bit", b"quoted-printable") + b"Gr=C3=BC=C3=9Fe=20\r\n\r\n--=20\r\n=3D=09.\r\n"


def test_lines_are_broken_at_76_and_never_within_an_escape():
    out = body(judge(TEXT + ("ü" * 5 + "x" * 300 + "\r\n" + "é" + "y" * 70 + "\r\n").encode()))
    assert [len(line) for line in out.split(b"\r\n")] == [76, 76, 76, 76, 30, 76, 0]
    for size in range(60, 90):
        lines = body(judge(TEXT + ("é" + "z" * size + "éé é\r\n").encode())).split(b"\r\n")
        assert all(len(line) <= 76 and not re.search(rb"=[0-9A-F]?=$", line) for line in lines)


def test_a_text_that_is_mostly_escapes_becomes_base64():
    text = "漢字かな交じり文\r\n" * 40
    out = body(judge(TEXT + text.encode()))
    assert base64.b64decode(out).decode() == text
    assert {len(line) for line in out.split(b"\r\n")[:-2]} == {76}
    assert out.endswith(b"\r\n")


def test_everything_else_becomes_base64():
    image = bytes(range(256)) * 3
    out = judge(mixed(leaf("plain"), leaf(image, 'image/png; name="a.png"', "binary"), leaf(image, "application/x")))
    assert out.count(b"Content-Transfer-Encoding: base64\r\n") == 2
    assert base64.encodebytes(image).strip().replace(b"\n", b"\r\n") + b"\r\n--b\r\n" in out


def test_all_other_octets_stay():
    raw = (
        TOP + b'content-type:multipart/mixed;\r\n\tboundary="b"\r\nCONTENT-transfer-encoding :8bit\r\n'
        b"X-Odd:  \tfolded\r\n  twice \r\n\r\npreamble\r\n--b  \r\nContent-type: text/html;\r\n charset=iso-8859-1\r\n"
        b"content-Transfer-Encoding:\t8BIT\r\nX: y\r\n\r\ncaf\xe9\r\n--b\r\n\r\n no header \r\n--b--\r\nepilogue\r\n"
    )
    raw = raw.replace(b"encoding :", b"encoding:")
    expected = raw.replace(b"CONTENT-transfer-encoding:8bit", b"CONTENT-transfer-encoding: 7bit")
    expected = expected.replace(b"content-Transfer-Encoding:\t8BIT", b"content-Transfer-Encoding: quoted-printable")
    assert judge(raw) == expected.replace(b"caf\xe9", b"caf=E9")


def test_a_part_that_said_nothing_says_it_at_the_end_of_its_header():
    out = judge(mixed(b"Content-Type: text/plain\r\nX: y\r\n\r\ncaf\xe9", b"\r\ncaf\xe9", b"X: y\r\n\r\nplain"))
    encoding = b"Content-Transfer-Encoding: quoted-printable\r\n"
    assert b"--b\r\nContent-Type: text/plain\r\nX: y\r\n" + encoding + b"\r\ncaf=E9\r\n--b\r\n" in out
    assert b"--b\r\n" + encoding + b"\r\ncaf=E9\r\n--b\r\nX: y\r\n\r\nplain\r\n" in out


def test_every_one_of_several_encodings_is_changed():
    twice = b"Content-Transfer-Encoding: 8bit\r\nX: y\r\nContent-Transfer-Encoding: binary\r\n"
    out = judge(TOP + twice + b"\r\n\xe9\r\n")
    assert out.count(b"Content-Transfer-Encoding: quoted-printable\r\n") == 2
    assert b"binary" not in out


def test_mime_version_is_added_where_an_encoding_needs_it():
    assert judge(b"From: a\r\n\r\n\xe9\r\n").startswith(
        b"From: a\r\nMIME-Version: 1.0\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    )
    out = judge(mixed(leaf("é")).replace(b"MIME-Version: 1.0\r\n", b""))
    assert out.count(b"MIME-Version: 1.0\r\n") == 1
    assert out.index(b"MIME-Version") < out.index(b"\r\n\r\n")


def test_labels_say_7bit_where_nothing_else_is_left():
    out = judge(mixed(leaf("café"), leaf("plain"), leaf("plain", encoding="binary"), leaf("YQ==", encoding="base64")))
    assert re.findall(rb"Encoding: (\S+)", out) == [b"7bit", b"quoted-printable", b"7bit", b"7bit", b"base64"]


def test_long_lines_nul_and_bare_line_ends():
    for odd in (b"x" * 999, b"a\0b", "é\rz\nz\r\n".encode()):
        out = judge(TEXT + odd + b"\r\n")
        assert b"Encoding: quoted-printable" in out
        assert max(map(len, body(out).split(b"\r\n"))) <= 76
    assert body(judge(TEXT + b"\xe9\rz\nz\r\n")) == b"=E9=0Dz=0Az\r\n"


@pytest.mark.parametrize(
    "raw",
    [
        TEXT + b"plain\r\n",
        TEXT + b"x" * 998 + b"\r\n",
        TEXT.replace(b"X-Last", "X-Y: ü\r\nX-Last".encode()) + b"plain\r\n",
        mixed(leaf("plain"), leaf("cGxhaW4=", "image/png; name=é", "base64")),
        b"DKIM-Signature: x\r\n" + TEXT + b"x" * 2000 + b"\r\n",
        mixed(leaf("y" * 2000), kind="signed"),
        b"",
        b"\r\n",
        b"From: a\r\n",
    ],
)
def test_what_is_7bit_already_is_the_same_object(raw):
    assert to_seven_bit(raw) is raw


@pytest.mark.parametrize(
    "raw",
    [
        b"DKIM-Signature: x\r\n" + TEXT + "é\r\n".encode(),
        mixed(leaf("é"), kind="signed"),
        mixed(leaf("é"), kind="encrypted"),
        mixed(leaf("plain"), mixed(leaf("é"), kind="signed").replace(b"--b", b"--c").replace(b"=b", b"=c")),
        TEXT + "-----BEGIN PGP SIGNED MESSAGE-----\r\n\r\né\r\n".encode(),
        TEXT.replace(b"8bit", b"quoted-printable") + "-----BEGIN PGP SIGNED MESSAGE-----\r\n\r\né\r\n".encode(),
        TEXT.replace(b"8bit", b"base64") + "é\r\n".encode(),
        TEXT.replace(b"8bit", b"x-uuencode") + "é\r\n".encode(),
        TEXT.replace(b"8bit", b"8-bit") + "é\r\n".encode(),
        mixed(leaf("Subject: x\r\n\r\né", "message/partial; id=1")),
        mixed(leaf(b"DKIM-Signature: x\r\n" + TEXT + "é".encode(), "message/rfc822")),
        mixed(leaf(mixed(leaf("é"), kind="signed").replace(b"--b", b"--c").replace(b"=b", b"=c"), "message/rfc822")),
        mixed(leaf(TEXT + "é".encode(), "message/rfc822", "base64")),
        mixed(leaf(TEXT + "é".encode(), "message/rfc822", "quoted-printable")),
        TOP + "Größe: ü\r\nX: y\r\n\r\nplain\r\n".encode(),
        TOP + "Grüße\r\n\r\nplain\r\n".encode(),
        " \r\nFrom: x\r\n\r\né\r\n".encode(),
        mixed("Grüße".encode()),
        TOP + "Content-Type: multipart/mixed; boundary=none\r\n\r\né\r\n".encode(),
        TOP + "Content-Type: multipart/mixed\r\n\r\né\r\n".encode(),
        mixed("Content-Type: multipart/mixed; boundary=none\r\n\r\né".encode(), leaf("plain")),
        mixed(*[leaf("é")] * (message.MAX_PARTS + 1)),
        TOP + b"X: " + b"y" * message.MAX_HEADER + b"\r\n" + TEXT + "é\r\n".encode(),
    ],
)
def test_what_has_no_other_form(raw):
    assert to_seven_bit(raw) is None


def test_signed_parts_stay_beside_converted_ones():
    signed = mixed(leaf("plain"), kind="signed").replace(b"--b", b"--c").replace(b"=b", b"=c")
    out = judge(mixed(leaf("é"), signed))
    assert signed in out


def test_automatic_replies_are_mail_like_any_other():
    assert b"=C3=A9" in judge(b"Auto-Submitted: auto-replied\r\n" + TEXT + "é\r\n".encode())


def test_octets_over_127_in_quoted_printable_are_escaped():
    raw = TEXT.replace(b"8bit", b"quoted-printable")
    out = judge(raw + "caf=C3=A9 é =\r\n".encode() + "ü".encode() * 30 + b"=20\r\nlast\r\n")
    assert b"Encoding: quoted-printable\r\n" in out
    assert body(out).startswith(b"caf=C3=A9 =C3=A9 =\r\n")
    assert max(map(len, body(out).split(b"\r\n"))) <= 76
    # here the reading would not stay the same
    assert to_seven_bit(raw + b"=\xe9\r\n") is None


def test_messages_inside_are_converted_inside():
    inner = TEXT + "é\r\n".encode()
    raw = mixed(leaf(inner, "message/rfc822"), leaf("Betreff: é", "text/rfc822-headers"))
    out = judge(raw)
    assert inner.replace(b"8bit", b"quoted-printable").replace("é".encode(), b"=C3=A9") in out
    assert b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 7bit\r\n" in out
    digest = judge(mixed(b"\r\n" + inner, kind="digest"))
    assert b"=C3=A9" in digest


def test_messages_inside_one_another_are_bounded():
    def nested(levels):
        raw = TEXT + "é\r\n".encode()
        for _ in range(levels - 1):
            raw = TOP + b"Content-Type: message/rfc822\r\n\r\n" + raw
        return raw

    judge(nested(MAX_MESSAGES))
    assert to_seven_bit(nested(MAX_MESSAGES + 1)) is None


def test_an_internationalised_message_may_be_encoded():
    out = to_seven_bit(mixed(leaf("Subject: é\r\n\r\né", "message/global")))
    assert base64.b64encode("Subject: é\r\n\r\né".encode()) in out


def test_preamble_and_epilogue_are_no_text():
    raw = mixed(leaf("é")).replace(b"\r\n\r\n--b", "\r\n\r\nvorü\0ber\r\n--b".encode(), 1) + "Ende ü\r\n".encode()
    out = judge(raw)
    assert b"\r\n\r\nvor???ber\r\n--b\r\n" in out
    assert out.endswith(b"--b--\r\nEnde ??\r\n")
    assert b"--b\r\n" in judge(mixed(leaf("plain")) + b"\xe9\r\n")


def test_a_soft_break_makes_no_delimiter():
    for size in range(60, 80):
        for rest in ("--b", "--b--", "---b", "-" * 200):
            judge(mixed(leaf("é" + "x" * size + rest), leaf("y")))


def test_a_boundary_that_would_appear_is_no_boundary():
    """Where the preamble's question marks would begin a part, there is no other form."""
    raw = mixed(leaf("é")).replace(b"boundary=b", b'boundary="b?"').replace(b"--b", b"--b?")
    assert to_seven_bit(raw.replace(b"\r\n\r\n--b?", b"\r\n\r\n--b\xe9\r\n--b?", 1)) is None


def test_containers_are_found_with_their_headers():
    raw = mixed(mixed(leaf("x")).replace(b"--b", b"--c").replace(b"=b", b"=c"), leaf("y"), encoding="Binary ")
    found = message.parse(raw).containers
    assert [(each.path, each.encoding) for each in found] == [("", "binary"), ("1", "8bit")]
    assert [raw[each.header : each.start].endswith(b"\r\n\r\n") for each in found] == [True, True]
    assert message.parse(raw.replace(b"MIME", b"Auto-Submitted: auto-replied\r\nMIME"), automatic=True).parts


BITS = st.sampled_from(
    ["x", " ", "\t", "\r\n", " \r\n", "é", "漢字", "=", ".", "\0", "\rz", "\nz", "y--b0", "--", "z" * 74, "q" * 999]
)
BODIES = st.lists(BITS, max_size=12).map("".join)
CHARSETS = st.sampled_from(["utf-8", "iso-8859-1", "utf-16", "gb18030", "koi8-r"])
KINDS = st.sampled_from(["text/plain", "text/html", "text/csv; name=a.csv", "image/png", "application/octet-stream"])
ENCODERS = {
    "base64": lambda octets: base64.encodebytes(octets).replace(b"\n", b"\r\n"),
    "quoted-printable": lambda octets: (
        quopri.encodestring(octets.replace(b"\r\n", b"\n")).replace(b"\n", b"\r\n").replace(b"-", b"=2D")
    ),
}
ENCODINGS = st.sampled_from(["", "7bit", "8bit", "binary", *ENCODERS])


@st.composite
def leaves(draw):
    charset, encoding = draw(CHARSETS), draw(ENCODINGS)
    octets = draw(BODIES).encode(charset, "replace")
    if encoding in ENCODERS:
        octets = ENCODERS[encoding](octets if charset != "utf-16" or encoding == "base64" else b"")
    head = f"Content-Type: {draw(KINDS)}; charset={charset}\r\n"
    if draw(st.booleans()):
        head += "Content-Disposition: attachment; filename*=utf-8''%C3%A9.txt\r\n"
    head += f"Content-Transfer-Encoding: {encoding}\r\n" if encoding else ""
    return head.encode() + b"\r\n" + octets


@st.composite
def trees(draw, depth=0):
    """A random entity whose headers are ASCII."""
    kind = draw(st.sampled_from(["leaf", "leaf", "mixed", "alternative", "message"])) if depth < 4 else "leaf"
    if kind == "leaf":
        return draw(leaves())
    label = draw(st.sampled_from(["", "Content-Transfer-Encoding: 8bit\r\n", "Content-Transfer-Encoding: binary\r\n"]))
    if kind == "message":
        version = draw(st.sampled_from([b"", b"MIME-Version: 1.0\r\n"]))
        return f"Content-Type: message/rfc822\r\n{label}\r\n".encode() + version + draw(trees(depth + 1))
    boundary = f"--b{depth}".encode()
    parts = draw(st.lists(trees(depth + 1), min_size=1, max_size=3))
    head = f"Content-Type: multipart/{kind}; boundary=b{depth}\r\n{label}\r\n".encode()
    close = draw(st.sampled_from([boundary + b"--\r\n", boundary + b"--", b"", boundary + "--\r\nü\r\n".encode()]))
    between = draw(st.sampled_from([b"", "vorüber\r\n".encode()]))
    return head + between + b"".join(boundary + b"\r\n" + part + b"\r\n" for part in parts) + close


@RELAXED
@given(trees())
def test_random_trees(tree):
    out = judge(b"From: a@example.com\r\nSubject: x\r\n" + tree)
    assert out.isascii()
    assert b"\0" not in out
    assert all(len(line) <= 998 for line in out.split(b"\r\n"))
    if not out.endswith(tree) and b"message/rfc822" not in tree:
        assert not re.search(rb"Encoding: (8bit|binary)", out)


@RELAXED
@given(st.binary(max_size=300))
def test_any_octets(data):
    for raw in (data, TOP + data, TEXT + data, mixed(leaf(data), data)):
        out = to_seven_bit(raw)
        if out is not None:
            assert to_seven_bit(out) is out
            assert out is raw or len(message.parse(out).parts) == len(message.parse(raw).parts)


def test_every_mail_of_the_corpus(corpus):
    changed, impossible, failed = 0, [], []
    for path in sorted(path for path in (corpus / "eml").rglob("*") if path.is_file()):
        raw = crlf(path.read_bytes())
        out = to_seven_bit(raw)
        if out is None:
            impossible.append(path.name)
            continue
        changed += out is not raw
        try:
            judge(raw)
        except AssertionError as error:
            failed.append(f"{path.name}: {str(error)[:300]}")
    assert not failed, "\n".join(failed)
    assert changed > 80
    assert len(impossible) < 25, impossible

"""Quoted-printable by span: an edit stands where its octets stand, whatever the encoder wrote."""

from __future__ import annotations

import re
from binascii import a2b_qp

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.rewriting.quoted import Quoted
from relay.rewriting.transfers import Edit

UNITS = [
    *(b"a", b"b", b" ", b"<a href=3D", b"https://x.test/?a=3Db", b'"', b">", b"</body>", b"--"),
    *(b"=3D", b"=3d", b"=C3=BC", b"=41", b"=22", b"=0D=0A", b"\xfc", b"=\r\n", b"=\r\n=\r\n", b"=\n", b"\r\n", b"\n"),
    *(b"=", b"=4", b"=zz", b"=x", b"==", b"==="),
]
BODIES = st.lists(st.sampled_from(UNITS), max_size=60).map(b"".join)
TOKEN = re.compile(rb"(?P<soft>=\r?\n|=\Z)|==|=[0-9A-Fa-f]{2}|.", re.DOTALL)


def places(body: bytes) -> list[tuple[int, int]]:
    """Where each decoded octet stands, one token after the other, as RFC 2045 and ``a2b_qp`` read them."""
    return [match.span() for match in TOKEN.finditer(body) if match["soft"] is None]


@settings(max_examples=1500, deadline=None)
@given(BODIES, st.data())
def test_an_edit_stands_where_its_octets_stand(body, data):
    try:
        quoted = Quoted(body)
    except ValueError:
        assert re.search(rb"=[ \t]+(?:\r?\n|\Z)|=\r(?!\n)", body)
        return
    octets = places(body)
    assert len(octets) == len(quoted.data)
    start = data.draw(st.integers(0, len(quoted.data)))
    end = data.draw(st.integers(start, len(quoted.data)))
    template = quoted.template([Edit(start, end, 1)])
    taken = body[octets[start][0] : octets[end - 1][1]] if end > start else b""
    if template is None:
        assert b"==" in taken
        return
    before, after = (each.text for each in template.literals)
    where = octets[start][0] if start < len(octets) else octets[-1][1] if octets else 0
    assert before == body[:where]
    assert after == body[where + len(taken) :]


@settings(max_examples=500, deadline=None)
@given(BODIES, st.data())
def test_edits_in_a_row(body, data):
    """Where all edits put back what was there, nothing has changed."""
    try:
        quoted = Quoted(body)
    except ValueError:
        return
    cuts = sorted(data.draw(st.sets(st.integers(0, len(quoted.data)), max_size=8)))
    edits = [Edit(start, end, number) for number, (start, end) in enumerate(zip(cuts[::2], cuts[1::2], strict=False))]
    template = quoted.template(edits)
    if template is not None:
        values = [quoted.data[edit.start : edit.end] for edit in edits]
        out = b"".join(template.render(lambda edit: values[edit.number]))
        assert a2b_qp(out) == quoted.data or b"==" in body or re.search(rb"=(?![0-9A-Fa-f]{2}|\r?\n)", body)
        assert all(literal.text in body for literal in template.literals)


@pytest.mark.parametrize("unit", [b"=\r\n", b"=3D", b"=", b"==", b"\r\n", b"a=\r\n", b"=\r\n=\r\n=\r\nx"])
def test_bombs(unit):
    """Time is linear in what stands between two edits, whatever that is."""
    body = b"x" + unit * (2_000_000 // len(unit)) + b'<a href=3D"http://x.test/">'
    quoted = Quoted(body)
    at = quoted.data.index(b"http://")
    template = quoted.template([Edit(at, at + 14, 1), Edit(len(quoted.data), len(quoted.data), 2)])
    assert [each.text for each in template.literals] == [body[: body.index(b"http")], b'">', b""]

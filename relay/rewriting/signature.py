"""DKIM signatures: what is signed, in which form, and the header field that says so. Pure.

Sources: RFC 6376 sections 3.4 (canonical forms), 3.5 (the field), 3.7 (the hashes) and 5.4 (what to sign); RFC 8463
(Ed25519); RFC 8058 section 4 (List-Unsubscribe-Post must be signed).
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256

from relay.rewriting import message
from relay.rewriting.message import Header

Key = RSAPrivateKey | Ed25519PrivateKey

FIELDS = ("DKIM-Signature", "DomainKey-Signature")
"""The header fields by which an app signs its mail itself."""

_SEALED = ("from", "reply-to", "subject", "cc")
"""Named once more than they are there, so that nobody can add one unseen (RFC 6376 section 8.15)."""
_SEALED_WHERE_PRESENT = (
    *("date", "message-id", "to", "sender", "in-reply-to", "references"),
    *("mime-version", "content-type", "content-transfer-encoding"),
    *("list-unsubscribe", "list-unsubscribe-post"),
)
_SIGNED = (
    *("list-id", "list-help", "list-owner", "list-subscribe", "list-post", "list-archive"),
    *("resent-from", "resent-sender", "resent-to", "resent-cc", "resent-date", "resent-message-id"),
)
_BLANKS = re.compile(rb"[ \t\r\n]++")
_RUNS = re.compile(rb"[ \t]{2,}|\t")
_WIDTH = 76


@dataclass(frozen=True, slots=True)
class Identity:
    """Who signs: ``domain`` (d=) and ``selector`` (s=) name the public key in the DNS."""

    domain: str
    selector: str
    key: Key


def sign(mail: bytes, identity: Identity, at: float) -> bytes:
    """The mail with a signature on top, relaxed/relaxed, made at ``at`` (seconds since the epoch); the same arguments
    give the same octets. ``mail`` has the line ends of transfer, CRLF. Raises ValueError where no reader could verify
    it: no From, or lines among the headers that are none."""
    fields = _fields(mail)
    names = _names(fields)
    hash = base64.b64encode(hashlib.sha256(_relaxed_body(_body(mail))).digest())
    algorithm = b"rsa-sha256" if isinstance(identity.key, RSAPrivateKey) else b"ed25519-sha256"
    head = _folded(
        [
            *(b"v=1;", b"a=%s;" % algorithm, b"c=relaxed/relaxed;", b"d=%s;" % identity.domain.encode("ascii")),
            *(b"s=%s;" % identity.selector.encode("ascii"), b"t=%d;" % at, b"h=" + names[0] + b":"),
            *(name + b":" for name in names[1:-1]),
            *(names[-1] + b";", b"bh=%s;" % hash, b"b="),
        ]
    )
    signed = [_relaxed(name, value) + b"\r\n" for name, value in _chosen(fields, names)]
    value = base64.b64encode(_signed(identity.key, b"".join([*signed, _relaxed(b"dkim-signature", head)])))
    # what follows b= is left out by whoever verifies, white space too (RFC 6376 section 3.7)
    lines = [value[at : at + _WIDTH - 2] for at in range(0, len(value), _WIDTH - 2)]
    return b"".join([b"DKIM-Signature:", head, b"\r\n\t", b"\r\n\t".join(lines), b"\r\n", mail])


def _fields(mail: bytes) -> list[Header]:
    """The header fields. Raises ValueError where lines stand between them that others would take for the body."""
    fields = list(message.headers(mail))
    starts = [field.start for field in fields] + [message.header_end(mail)]
    if [0, *(field.end for field in fields)] != starts:
        raise ValueError("there are lines among its headers that are none")
    if all(field.name.lower() != "from" for field in fields):
        raise ValueError("it has no From")
    return fields


def _body(mail: bytes) -> bytes:
    return mail[message.header_end(mail) :].removeprefix(b"\r\n")


def _names(fields: Iterable[Header]) -> list[bytes]:
    """The names to be signed, each as often as it counts."""
    there = Counter(field.name.lower() for field in fields)
    found = [name for name in _SEALED for _ in range(there[name] + 1)]
    found += [name for name in _SEALED_WHERE_PRESENT if there[name] for _ in range(there[name] + 1)]
    found += [name for name in _SIGNED for _ in range(there[name])]
    return [name.encode("ascii") for name in found]


def _chosen(fields: Sequence[Header], names: Iterable[bytes]) -> list[tuple[bytes, bytes]]:
    """The fields that these names mean, of equal ones the last first (RFC 6376 section 5.4.2)."""
    left: dict[bytes, list[bytes]] = {}
    for field in fields:
        left.setdefault(field.name.lower().encode("ascii"), []).append(field.value)
    return [(name, left[name].pop()) for name in names if left.get(name)]


def _relaxed(name: bytes, value: bytes) -> bytes:
    return name + b":" + _BLANKS.sub(b" ", value).strip(b" ")


def _relaxed_body(body: bytes) -> bytes:
    """The canonical body, in linear time: runs of blanks are one, none stands at a line's end, no empty line at the
    end (RFC 6376 section 3.4.4)."""
    text = _RUNS.sub(b" ", body).replace(b" \r\n", b"\r\n").removesuffix(b" ")
    end = len(text)
    while text.endswith(b"\r\n", 0, end):
        end -= 2
    return text[:end] + b"\r\n" if end else b""


def _signed(key: Key, data: bytes) -> bytes:
    if isinstance(key, RSAPrivateKey):
        return key.sign(data, PKCS1v15(), SHA256())
    return key.sign(hashlib.sha256(data).digest())


def _folded(words: Iterable[bytes]) -> bytes:
    """Words on lines that stay within ``_WIDTH``; after a colon none is parted from the next but by a line's end."""
    out: list[bytes] = []
    column, gap = len(b"DKIM-Signature:"), b" "
    for word in words:
        if column + len(gap) + len(word) > _WIDTH:
            column, gap = 0, b"\r\n\t"
        out += (gap, word)
        column += len(gap) + len(word)
        gap = b"" if word.endswith(b":") else b" "
    return b"".join(out)

"""The leaves of a mail, opened; and what keeps a leaf or the whole mail as it came. Pure."""

from __future__ import annotations

from relay.rewriting import message
from relay.rewriting.message import Part
from relay.rewriting.quoted import Quoted
from relay.rewriting.transfers import Base64, Plain, Transfer


class Skip(Exception):
    """A part or the whole mail stays as it is; the text is the reason."""


def open_leaf(part: Part, body: bytes) -> Transfer:
    """Decode a part's transfer encoding. Raises Skip where that is not exact."""
    try:
        if part.encoding in message.PLAIN:
            return Plain(body)
        if part.encoding == "quoted-printable":
            return Quoted(body)
        if part.encoding == "base64":
            return Base64(body)
    except ValueError:
        raise Skip("encoding_not_exact") from None
    raise Skip("encoding_unknown")


def has_pgp(raw: bytes, parts: tuple[Part, ...]) -> bool:
    """Whether a text body holds an inline PGP message; a mail with one is never touched."""
    somewhere = b"-----BEGIN PGP " in raw
    for part in parts:
        if part.opaque or not part.type.startswith("text/"):
            continue
        body = raw[part.start : part.end]
        if part.encoding == "base64":
            try:
                body = Base64(body).data
            except ValueError:
                continue
        elif not somewhere:
            continue
        if message.PGP.search(body):
            return True
    return False

"""The fields of a form that was sent, in either of the two ways that forms are. Pure."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from email import message_from_bytes
from email.message import Message
from typing import Any
from urllib.parse import parse_qsl

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


class TooLarge(Exception):
    """More was sent than is taken."""


class Gone(Exception):
    """Whoever sent it has left."""


async def read_body(receive: Receive, most: int) -> bytes:
    """The body of a request (ASGI), at most so many octets. Raises TooLarge, and Gone where it does not come to its
    end."""
    body, more = b"", True
    while more:
        event = await receive()
        if event["type"] != "http.request":
            raise Gone
        body += event.get("body", b"")
        if len(body) > most:
            raise TooLarge
        more = event.get("more_body", False)
    return body


def fields_of(content_type: str, body: bytes) -> Mapping[str, str]:
    """The fields by name, the first of each: ``multipart/form-data`` (RFC 7578), else as a URL's query. What cannot be
    read is left out."""
    kind, _, parameters = content_type.partition(";")
    if kind.strip().lower() == "multipart/form-data":
        pairs = _parts(parameters, body)
    else:
        pairs = parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True)
    found: dict[str, str] = {}
    for name, value in pairs:
        found.setdefault(name, value)
    return found


def _parts(parameters: str, body: bytes) -> list[tuple[str, str]]:
    head = f"Content-Type: multipart/form-data;{parameters}\r\n\r\n".encode("latin-1", "replace")
    message: Message = message_from_bytes(head + body)
    parts = message.get_payload()
    found = []
    for part in parts if isinstance(parts, list) else []:
        name = part.get_param("name", header="content-disposition") if isinstance(part, Message) else None
        payload = part.get_payload(decode=True) if isinstance(part, Message) else None
        if isinstance(name, str) and isinstance(payload, bytes):
            found.append((name, payload.decode("utf-8", "replace")))
    return found

"""Entries of the suppression list and saved link types, as people and programs write them. Pure.

Every reader raises BadRequest with a sentence that says what is wrong, and in which row.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from datetime import UTC
from typing import Any

from tracker.model import LinkType, Suppression, SuppressionKind
from tracker.reading import models, params, shapes
from tracker.reading.params import BadRequest

COLUMNS = models.columns(models.Suppression)
"""The columns of the suppression list (contract, section 6)."""

BY_HAND = "added by hand"
EVERY_SENDER = "*"
"""How the entry for every sender is asked for, where a sender may be given."""

_LONGEST_ADDRESS, _LONGEST_TEXT = 1000, 2000


def json_of(body: bytes) -> Any:
    """The value of a body in JSON."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise BadRequest("Send JSON.") from None


def entry(fields: Mapping[str, Any]) -> Suppression:
    """One entry; all but the address may be left out."""
    unknown = sorted(set(fields) - set(COLUMNS))
    if unknown:
        raise BadRequest(f"There is no field {str(unknown[0])[:60]!r} here; there are: {', '.join(COLUMNS)}.")
    texts = {name: fields.get(name) for name in COLUMNS}
    if any(value is not None and not isinstance(value, str) for value in texts.values()):
        raise BadRequest("Every field must be text.")
    return Suppression(
        address(texts["address"] or "", "address"),
        sender(texts["sender"]),
        SuppressionKind(params.choice(_given(texts), "kind", list(SuppressionKind)) or SuppressionKind.MAIL),
        text(texts["reason"] or BY_HAND, "reason"),
        params.instant(_given(texts), "since", UTC),
    )


def from_json(body: bytes) -> list[Suppression]:
    """One entry or a list of them."""
    value = json_of(body)
    rows = value if isinstance(value, list) else [value]
    if not all(isinstance(row, dict) for row in rows):
        raise BadRequest("Send an object with an 'address', or a list of such objects.")
    return [_in_row(number, row) if isinstance(value, list) else entry(row) for number, row in enumerate(rows, 1)]


def from_csv(body: bytes) -> list[Suppression]:
    """The entries of a CSV file in UTF-8 whose first row names its columns: ``address`` or ``email``, and as many of
    the others as there are; columns that we do not know are left out, and so are rows without an address, since an
    address that was forgotten is exported so."""
    try:
        rows = list(csv.reader(io.StringIO(body.decode("utf-8-sig"), newline="")))
    except UnicodeDecodeError:
        raise BadRequest("The file must be in UTF-8.") from None
    except csv.Error:
        raise BadRequest("The file is not CSV.") from None
    names = [name.strip().lower() for name in rows[0]] if rows else []
    names = ["address" if name == "email" else name for name in names]
    if names.count("address") != 1:
        raise BadRequest(
            f"The first row must name the columns, one of them 'address'; there are: {', '.join(COLUMNS)}."
        )
    return list(_rows(names, rows[1:]))


def _rows(names: list[str], rows: list[list[str]]) -> Iterator[Suppression]:
    for number, row in enumerate(rows, 2):
        fields = {name: shapes.uncell(value) for name, value in zip(names, row, strict=False) if name in COLUMNS}
        if fields.get("address", "").strip():
            yield _in_row(number, {name: value for name, value in fields.items() if value})


def _in_row(number: int, fields: Mapping[str, Any]) -> Suppression:
    try:
        return entry(fields)
    except BadRequest as error:
        raise BadRequest(f"Row {number}: {error}") from None


def link_type(value: Any) -> tuple[str, str | None, LinkType | None]:
    """URL or glob, sender and type of ``{"url", "sender"?, "type"}``; type null: no longer saved."""
    if not isinstance(value, dict) or not {"url", "type"} <= set(value) <= {"url", "sender", "type"}:
        raise BadRequest("Send an object with 'url' and 'type', and 'sender' where it is for one sender alone.")
    url, of, kind = value["url"], value.get("sender"), value["type"]
    if not isinstance(url, str) or not url.startswith(("http://", "https://", "*")):
        raise BadRequest("Give a URL or a glob such as https://example.com/reset/* as 'url'.")
    if of is not None and not isinstance(of, str):
        raise BadRequest("Give an address as 'sender'.")
    if kind is not None and kind not in list(LinkType):
        raise BadRequest(f"Give one of {', '.join(LinkType)}, or null, as 'type'.")
    return text(url, "url"), sender(of), None if kind is None else LinkType(kind)


def address(value: str, name: str) -> str:
    """A mail address."""
    value = value.strip()
    local, at, domain = value.rpartition("@")
    if not (at and local and domain) or not value.isprintable() or len(value) > _LONGEST_ADDRESS:
        raise BadRequest(f"Give a mail address such as ann@example.net as {name!r}.")
    return value


def sender(value: str | None) -> str | None:
    """The address of a sender, None for every sender."""
    return None if value is None or value.strip() in ("", EVERY_SENDER) else address(value, "sender").lower()


def text(value: str, name: str) -> str:
    """Text on one line."""
    if not value.isprintable() or len(value) > _LONGEST_TEXT:
        raise BadRequest(f"Give text on one line, at most {_LONGEST_TEXT} characters, as {name!r}.")
    return value


def _given(texts: Mapping[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in texts.items() if value}

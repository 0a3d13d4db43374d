"""Tokens made by the first version open in every later one: they stand in mails for years.

The file is never regenerated; a new layout gets a new version byte and new lines here.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tracker.errors import BadToken
from tracker.model import LinkType
from tracker.tokens import KEY_BYTES, Claim, Click, Keyring, Mirror, Open, OptOut, parse_key

GOLDEN = json.loads(Path(__file__).with_name("golden_tokens.json").read_text("utf-8"))
PURPOSES: dict[str, type[Claim]] = {kind.__name__: kind for kind in (Open, Click, OptOut, Mirror)}


def claim_of(fields: dict[str, Any]) -> Claim:
    values = {name: value for name, value in fields.items() if name != "purpose"}
    values["message"] = UUID(values["message"])
    if "type" in values:
        values["type"] = LinkType(values["type"])
    return PURPOSES[fields["purpose"]](**values)


@pytest.fixture
def keyring() -> Keyring:
    return Keyring([parse_key(GOLDEN["key"])])


@pytest.mark.parametrize("line", GOLDEN["tokens"], ids=lambda line: line["token"][:12])
def test_a_golden_token_opens_to_its_claim(keyring: Keyring, line: dict[str, Any]) -> None:
    claim = claim_of(line["claim"])
    assert keyring.open(type(claim), line["token"]) == claim
    for other in set(PURPOSES.values()) - {type(claim)}:
        with pytest.raises(BadToken):
            keyring.open(other, line["token"])


def test_after_a_rotation_they_still_open(keyring: Keyring) -> None:
    rotated = Keyring([b"\x77" * KEY_BYTES, parse_key(GOLDEN["key"])])
    for line in GOLDEN["tokens"]:
        claim = claim_of(line["claim"])
        assert rotated.open(type(claim), line["token"]) == claim


@pytest.mark.parametrize("line", GOLDEN["tokens"], ids=lambda line: line["token"][:12])
def test_sealing_gives_the_same_token_where_nothing_is_compressed(keyring: Keyring, line: dict[str, Any]) -> None:
    # Another zlib may compress a URL otherwise; what it makes must still open to the same claim.
    claim = claim_of(line["claim"])
    if not isinstance(claim, Click) or len(claim.url) < 10:
        assert keyring.seal(claim) == line["token"]
    assert keyring.open(type(claim), keyring.seal(claim)) == claim

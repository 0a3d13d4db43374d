"""An address is found and taken out in every form, and nobody else's is."""

from __future__ import annotations

import base64
import json
import quopri
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tracker.facts import accepted, hit, outcome
from tracker.model import Link, LinkType, Recipient, Status, new_id
from tracker.redaction import Redactor, addresses_in, octets_hold, without_addresses

ADDRESS = "ann+news@example.net"
ODD = ['"odd \\"local"@example.net', "jürgen@bücher.example", "o'neil/x@example.net", "a@b.c", "名前@example.jp"]


def forms(address: str) -> list[str]:
    whole = address.encode()
    found = [
        address,
        address.upper() if address.isascii() else address,
        quote(address, safe=""),
        quote(address, safe="").lower(),
        quote(quote(address, safe=""), safe=""),
        quote(address),
        "".join(f"%{octet:02x}" for octet in whole),
        json.dumps(address)[1:-1],
        json.dumps(address, ensure_ascii=False)[1:-1],
        "".join(f"&#{ord(character)};" for character in address),
        "".join(f"&#x{ord(character):X};" for character in address),
    ]
    if len(whole) > 12:
        found += [base64.b64encode(b"x" * shift + whole + b"yz").decode() for shift in range(3)]
        found += [base64.urlsafe_b64encode(b'{"e":"' + whole + b'"}').decode()]
    return found


@pytest.mark.parametrize("address", [ADDRESS, *ODD])
def test_every_form_is_found_and_taken_out(address: str) -> None:
    redactor = Redactor(address)
    for form in forms(address):
        for text in (
            form,
            f"https://x.test/u?e={form}&n=1#f",
            f"Hello {form}, how are you",
            f'{{"a":"{form}"}}',
            f"<{form}>",
        ):
            assert redactor.found_in(text), text
            assert not redactor.found_in(redactor.text(text)), text
            assert "forgotten" in redactor.text(text)


def test_what_stands_around_stays() -> None:
    redactor = Redactor(ADDRESS)
    assert redactor.text(f"https://x.test/{ADDRESS}/a?b=c&e=ann%2Bnews%40example.net&f=1") == (
        "https://x.test/forgotten/a?b=c&e=forgotten&f=1"
    )
    assert redactor.text("%3Cann%2Bnews%40example.net%3E") == "%3Cforgotten%3E"


@pytest.mark.parametrize(
    "other",
    ["joann+news@example.net", "ann@example.net", "ann+news@example.network", "x.ann+news@example.net", "ann+news"],
)
def test_others_are_left_alone(other: str) -> None:
    redactor = Redactor(ADDRESS)
    for text in (other, f"https://x.test/?e={other}", f"<{other}>"):
        assert redactor.text(text) == text
    assert not redactor.is_it(other)


def test_facts_lose_the_address_and_keep_the_rest() -> None:
    redactor = Redactor(ADDRESS)
    url = f"https://x.test/?e={quote(ADDRESS, safe='')}"
    message = accepted(
        subject=f"For {ADDRESS}",
        metadata={"who": ADDRESS.upper(), ADDRESS: "1", "order": "42"},
        recipients=(
            Recipient(1, "Ann+News@Example.net"),
            Recipient(2, f"{ADDRESS}.au"),
            Recipient(3, "bob@example.net"),
        ),
        links=(Link(1, url, url, ADDRESS, LinkType.TRACKED, "default", True),),
    )
    found = redactor.fact(message)
    assert [each.address for each in found.recipients] == ["", f"{ADDRESS}.au", "bob@example.net"]  # type: ignore[union-attr]
    assert found.metadata == {"who": "forgotten", "forgotten": "1", "order": "42"}  # type: ignore[union-attr]
    assert found.subject == "For forgotten"  # type: ignore[union-attr]
    assert found.links[0].url == "https://x.test/?e=forgotten"  # type: ignore[union-attr]
    assert (found.id, found.sender, found.tag) == (message.id, message.sender, message.tag)  # type: ignore[union-attr]
    clicked = hit(message.id, 1, 1, url=url)
    assert redactor.fact(clicked).url == "https://x.test/?e=forgotten"  # type: ignore[union-attr]
    assert redactor.fact(hit(message.id)).headers == {}  # type: ignore[union-attr]
    said = outcome(message.id, 1, Status.BOUNCED).__class__(
        message.id, 1, Status.BOUNCED, 1.0, f"550 5.1.1 <{ADDRESS}>: no"
    )
    assert redactor.fact(said).reply == "550 5.1.1 <forgotten>: no"  # type: ignore[union-attr]
    untouched = hit(message.id)
    assert redactor.fact(untouched) is untouched


def test_addresses_are_seen_in_facts() -> None:
    message = new_id()
    clicked = hit(message, 1, 1, url=f"https://x.test/p/Bob@example.net?e={quote(ADDRESS, safe='')}&x=1")
    assert {ADDRESS, "bob@example.net"} <= addresses_in(clicked)
    assert {"person1@example.net", "person2@example.net"} <= addresses_in(accepted())
    odd = accepted(recipients=(Recipient(1, '"odd name"@example.net'),))
    assert '"odd name"@example.net' in addresses_in(odd)


def test_what_looks_like_an_address_is_taken_out() -> None:
    for text in ("?e=ann@example.net&b=1", "?e=ann%40example.net&b=1", "?e=ann%2540example%2Enet&b=1"):
        assert without_addresses(text) == "?e=forgotten&b=1"
    for text in ("https://x.test/@handle/1", "https://user@", "a @ b", "50%40", "https://x.test/a?b=c"):
        assert without_addresses(text) == text


@pytest.mark.parametrize("address", [ADDRESS, *ODD[1:]])
def test_octets_are_searched_in_every_form(address: str) -> None:
    whole = address.encode()
    for octets in (
        b"pending" + whole.upper() + b"sent",
        quote(address, safe="").encode(),
        json.dumps(address).encode(),
        *([base64.b64encode(b"x" * shift + whole) for shift in range(3)] if len(whole) > 12 else []),
        quopri.encodestring(whole),
        b"".join(b"=%02X" % octet if octet > 126 or octet == 64 else bytes([octet]) for octet in whole),
    ):
        assert octets_hold(b"\0\1" + octets + b"\2", address), octets
    assert not octets_hold(b"bob@example.net", address)


@given(st.text(max_size=60), st.emails())
def test_no_text_breaks_it(text: str, address: str) -> None:
    redactor = Redactor(address)
    assert not redactor.found_in(redactor.text(f"{text} {address} {text}")) or "forgotten" in address.lower()
    without_addresses(text)

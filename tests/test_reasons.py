"""Every reason that the relay can give is explained, with what to do about it; and nothing else is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tracker.reading.reasons import LINKS, MAILS, of_link, of_mail

RELAY = Path(__file__).parents[1] / "relay"


def codes(*patterns: str) -> set[str]:
    """What stands in quotes after these in the relay's code."""
    text = "\n".join(path.read_text() for path in RELAY.rglob("*.py"))
    return {code for pattern in patterns for code in re.findall(rf'{pattern}\(?"([a-z_]+)"', text)}


def test_every_reason_of_a_mail_is_explained() -> None:
    given = codes(r"Skip", r"_Bound", r"reasons\.append", r"found\.reason or ", r"reason=", r"opaque or ", r"opaque = ")
    given |= codes(r"return ") & {"dkim_signed", "auto_submitted", "signed", "encrypted", "message", "tracking_off"}
    given |= {"null_reverse_path", "attachment"}
    assert {"no_html", "pgp", "too_deep", "no_profile", "empty", "dkim_signed", "tracking_off"} <= given
    assert given - set(MAILS) - set(LINKS) == set()


def test_every_reason_of_a_link_is_explained() -> None:
    text = (RELAY / "rewriting" / "decisions.py").read_text()
    given = set(re.findall(r'Decision\([^)"]*"([^"]+)"', text)) | set(re.findall(r'LinkType\.TRACKED, "(\w+)"', text))
    assert {"shared_copy", "visible_url", "scheme +notrack", "default"} <= given
    assert given - set(LINKS) == set()


@pytest.mark.parametrize(
    ("code", "why", "todo"),
    [
        ("no_profile", "No entry of “senders”", "reload"),
        ("shared_copy", "None of its links could be tracked. The first: one copy went", "one recipient at a time"),
        ("error: KeyError", "(KeyError)", "report it"),
        ("something_new", "something new", ""),
        (None, "Nothing in this mail was changed", ""),
    ],
)
def test_a_reason_is_a_sentence(code: str | None, why: str, todo: str) -> None:
    found = of_mail(code)
    assert why in found.why
    assert todo in found.todo


def test_what_decided_a_link_is_named() -> None:
    assert "data-track" in of_link("attribute data-track").why
    assert "https://x.test/*" in of_link("rule https://x.test/*").why
    assert of_link("something_new").why == "Something new."
    assert "a placeholder of ours" in of_link("placeholder", "opt_out").why
    assert "nobody filled in" in of_link("placeholder", "tracked").why

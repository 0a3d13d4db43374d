"""What docs/bounces.md says is what the code does."""

from __future__ import annotations

import re

from relay.bounces.address import LONGEST_LOCAL_PART, LONGEST_TOKEN
from relay.bounces.reading import COMPLAINTS
from relay.dispatch.mailboxes import NO_MAILBOX
from tests.test_docs import ROOT
from tracker.bounces import ADDRESS_SUBJECTS, SOFT_CODES

TEXT = (ROOT / "docs" / "bounces.md").read_text()


def by_number(code):
    return [int(part) for part in code.split(".")]


def test_the_soft_codes_are_named():
    assert re.search(r"<!-- soft -->(.*?)<!-- end -->", TEXT, re.S)[1].split(", ") == sorted(SOFT_CODES, key=by_number)


def test_the_codes_that_take_an_address_off_are_named():
    said = re.search(r"A recipient that does not exist \((.*?), said", TEXT)[1]
    assert set(re.findall(r"5\.\d+\.\d+", said)) == NO_MAILBOX
    said = re.search(r"speaks of the address or the way there \((.*?)\)", TEXT)[1]
    assert set(re.findall(r"5\.(\d)\.x", said)) == ADDRESS_SUBJECTS


def test_the_lengths_are_named():
    assert f"`{{token}}` takes {LONGEST_TOKEN} characters at most" in TEXT
    assert f"so {LONGEST_LOCAL_PART - LONGEST_TOKEN} are left" in TEXT


def test_the_types_of_complaints_are_named():
    said = re.search(r"of type ([\w ,-]+);", TEXT)[1]
    assert set(re.findall(r"[\w-]+", said)) - {"or"} <= COMPLAINTS

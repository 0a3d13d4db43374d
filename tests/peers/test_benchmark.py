"""The benchmark measures what it says: every mail arrives through every rig that can run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench.mails import LINKS, newsletter, notice
from tests.peers import postfix
from tests.peers.conftest import command, skip_where

SCRIPT = Path(__file__).parents[2] / "bench/relay.py"


@pytest.mark.parametrize(("mail", "sizes", "links"), [(newsletter, (46, 50), LINKS), (notice, (2.8, 3.2), 2)])
def test_the_mails_are_of_the_size_that_is_claimed(mail, sizes, links):
    octets = mail()
    assert octets == mail()
    assert sizes[0] < len(octets) / 1000 < sizes[1]
    assert octets.replace(b"=\r\n", b"").count(b"href=3D") == links


def test_every_mail_arrives_through_every_rig():
    skip_where(postfix.missing())
    command("smtp-source")
    options = ["--rounds=1", "--count=20", "--sessions=2", "--mails=notice", "--cases=nothing,postfix,queue"]
    run = subprocess.run([sys.executable, str(SCRIPT), *options], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    rows = dict(re.findall(r"^(\w+) .*   (.+)$", run.stdout, re.M))
    expected = dict.fromkeys(("nothing", "postfix", "queue"), "all, every round")
    assert rows == {"through": "arrived", **expected}, run.stdout

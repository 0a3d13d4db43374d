"""The sandbox keeps mail exactly, and says so when it cannot."""

from __future__ import annotations

import json
import stat
from dataclasses import replace

from relay.dispatch.envelope import Copy, Target
from relay.dispatch.sandbox import Sandbox

COPY = Copy("a@example.com", (Target(1, "b@example.net"), Target(2, "c@example.net")), b"Subject: x\r\n\r\n\xff\0\r\n")


async def test_mail_and_envelope_are_kept(tmp_path):
    verdicts = await Sandbox(tmp_path).deliver(COPY)
    assert [(verdict.ordinal, verdict.code) for verdict in verdicts] == [(1, 250), (2, 250)]
    (mail,) = (tmp_path / "sandbox").glob("*.eml")
    assert mail.read_bytes() == COPY.content
    assert stat.S_IMODE(mail.stat().st_mode) == 0o600
    envelope = json.loads(mail.with_suffix(".json").read_text())
    assert (envelope["reverse_path"], envelope["recipients"]) == ("a@example.com", ["b@example.net", "c@example.net"])


async def test_a_signature_is_kept_with_it_where_there_is_one(tmp_path):
    sandbox = Sandbox(tmp_path)
    await sandbox.deliver(replace(COPY, sign=b"Signature: x\r\n".__add__))
    await sandbox.deliver(replace(COPY, sign=lambda content: None))
    transaction = await sandbox.begin("a@example.com", {})
    await transaction.recipient(COPY.targets[0])
    await transaction.data(COPY.content, sign=b"Signature: y\r\n".__add__)
    kept = [path.read_bytes() for path in sorted((tmp_path / "sandbox").glob("*.eml"))]
    assert sorted(kept) == sorted(
        [b"Signature: x\r\n" + COPY.content, COPY.content, b"Signature: y\r\n" + COPY.content]
    )


async def test_names_sort_by_time(tmp_path):
    times = iter(range(1_700_000_000, 1_700_000_100))
    sandbox = Sandbox(tmp_path, lambda: float(next(times)))
    for number in range(5):
        await sandbox.deliver(Copy("a@b.c", (Target(1, "d@e.f"),), b"%d\r\n" % number))
    kept = [path.read_bytes() for path in sorted((tmp_path / "sandbox").glob("*.eml"))]
    assert kept == [b"%d\r\n" % number for number in range(5)]


async def test_a_folder_that_cannot_be_written_is_temporary(tmp_path):
    (tmp_path / "sandbox").write_text("in the way")
    verdicts = await Sandbox(tmp_path).deliver(COPY)
    assert [(verdict.code, verdict.enhanced) for verdict in verdicts] == [(451, "4.3.0")] * 2

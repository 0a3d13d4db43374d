"""A file of the spool that is carried to another machine is sent from there."""

from __future__ import annotations

import shutil

from tests.e2e.harness import tracepost
from tests.fakes.smarthost import FakeSmarthost
from tests.faults.client import submit
from tests.faults.conftest import soon
from tests.faults.notice import mails
from tests.faults.test_recipients import UNTRACKED, Site, mail


async def test_a_spool_file_is_adopted_by_another_service(tmp_path):
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for folder in (ours, theirs / "data"):
        folder.mkdir(parents=True)
    dead = FakeSmarthost(listening=False)
    async with dead, FakeSmarthost() as well:
        with tracepost(ours, f"{{host: 127.0.0.1, port: {dead.port}, tls: none, timeout: 2s}}") as service:
            site = Site(service, "moved.test", dead)
            for name, headers, text in (("small", "", "x"), ("large", UNTRACKED, "words\r\n" * 60_000)):
                heard = await submit(service.smtp_port, mail(site, name, headers, text), "<news@moved.test>")
                assert heard.queue_id
        (file,) = (ours / "data" / "spool").glob("*.db")
        shutil.copy(ours / "data" / "signing.key", theirs / "data")
        with tracepost(theirs, f"{{host: 127.0.0.1, port: {well.port}, tls: none}}") as service:
            there = theirs / "data" / "spool"
            shutil.move(file.with_suffix(".contents"), there)
            shutil.move(file, there)
            await soon(lambda: len(mails(well)) == 2, 20)
            small, large = sorted(mails(well), key=lambda each: len(each.content))
            token = small.content.split(b"http://track.test/c/")[1].split(b'"')[0].decode()
            assert service.web.get(f"/c/{token}").headers["Location"] == "https://example.org/"
    assert large.content.count(b"words") == 60_000

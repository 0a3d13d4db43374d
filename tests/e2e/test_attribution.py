"""``attribution: none`` against the running service: one copy for all, hits that name nobody, counts all the same."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from tests.e2e.harness import eventually, tracepost
from tests.e2e.test_main_job import BROWSER, delivered, newsletter, send, tracked_paths

NOBODY = """\
- match: "*"
  attribution: none
"""
PEOPLE = ["ann@example.net", "bob@example.net", "cat@example.net"]


def test_hits_name_nobody_and_are_counted(tmp_path):
    with tracepost(tmp_path, senders=NOBODY, tracker="privacy: {ip: full, user_agent: full}") as service:
        (arrived,) = delivered(service, lambda: send(service, newsletter("nobody"), PEOPLE))
        (link,), (pixel,) = tracked_paths(arrived)
        for number in range(3):
            agent = {"User-Agent": BROWSER.replace("128", str(128 + number))}
            assert service.web.get(link, headers=agent).status_code == 302
            assert service.web.get(pixel, headers=agent).status_code == 200
        row = eventually(lambda: (found := service.message("<nobody@example.com>"))["clicks"] == 3 and found)
        assert (row["recipients"], row["sent"], row["opens"]) == (3, 3, 3)
        assert row["unique_opens"] is row["unique_clicks"] is None
        hits = [
            event
            for event in service.web.get(f"/api/v1/messages/{row['id']}/events").json()["items"]
            if event["type"] in ("open", "click")
        ]
        assert len(hits) == 6
        assert {(each["recipient"], each["address"], each["agent"]) for each in hits} == {(None, None, None)}
        people = service.web.get(f"/api/v1/messages/{row['id']}").json()["recipients_detail"]
        assert [(each["opens"], each["clicks"]) for each in people] == [(0, 0)] * 3
    with closing(sqlite3.connect(tmp_path / "data" / "tracepost.db")) as db:
        assert db.execute("SELECT count(*) FROM touches").fetchone() == (0,)

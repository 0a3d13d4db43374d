"""The reports of the running service: by its API, and by the command beside it and after it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from email.message import EmailMessage

from postmarker.core import PostmarkClient

from tests.e2e.harness import API_KEY, Tracepost, eventually, tracepost
from tests.e2e.test_main_job import BROWSER, kept, send, tracked_paths


def by_command(service: Tracepost, *words: str) -> dict[str, object]:
    command = [sys.executable, "-m", "relay.cli", "report", *words, "-c", str(service.folder / "config.yaml")]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("TRACEPOST_")}
    found = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environ)
    assert (found.returncode, found.stderr) == (0, "")
    return json.loads(found.stdout)


def newsletter() -> EmailMessage:
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"], mail["X-Track-Tag"] = (
        "news@example.com",
        "ann@example.net",
        "News",
        "may",
    )
    mail.set_content('<body><a href="https://example.org/a">Read on</a></body>', subtype="html")
    return mail


def test_all_ways_of_asking_tell_of_the_same_mail(tmp_path):
    with tracepost(tmp_path) as service:
        send(service, newsletter())
        eventually(lambda: kept(service))
        links, pixels = tracked_paths(kept(service)[0])
        for path in (*links, *pixels):
            service.web.get(path, headers={"User-Agent": BROWSER})

        def counted() -> dict[str, object] | None:
            report = service.web.get("/api/v1/reports/live").json()
            return report if (report["totals"]["clicks"], report["totals"]["delivered"]) == (1, 1) else None

        live = eventually(counted)
        assert live["totals"]["unique_opens"] == 1
        assert live["rates"]["click_to_open"] == 1.0
        assert live["top_links"]["by_url"][0]["url"] == "https://example.org/a"
        assert [row["tag"] for row in live["tags"]] == ["may"]
        assert by_command(service, "live", "--format", "json")["totals"] == live["totals"]
        client = PostmarkClient(server_token=API_KEY, root_api_url=str(service.web.base_url))
        overview = client.stats.overview(tag="may")
        assert [overview[name] for name in ("Sent", "UniqueOpens", "TotalClicks")] == [1, 1, 1]
        (opened,) = client.messages.outbound.opens.all(recipient="ann@example.net")
        assert opened.Client["Name"] == "Firefox"
        client.session.close()
    assert by_command(service, "global", "--format", "json")["totals"] == live["totals"]

"""``check --connect`` against running trackers: ours, another one, and what is none."""

from __future__ import annotations

import http.server
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.e2e.harness import tracepost


def check(config: Path) -> str:
    command = [sys.executable, "-m", "relay.cli", "check", "--connect", "-c", str(config)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60).stderr


@pytest.fixture(scope="module")
def trackers(tmp_path_factory):
    folders = [tmp_path_factory.mktemp(name) for name in ("ours", "theirs")]
    with tracepost(folders[0], public_url="http://127.0.0.1:{http}") as ours, tracepost(folders[1]) as theirs:
        yield ours, theirs


def with_tracking_url(service, url: str) -> Path:
    file = service.folder / "other.yaml"
    text = (service.folder / "config.yaml").read_text()
    file.write_text(text.replace('- match: "*"', f'- match: "*"\n    tracking_url: {url}'))
    return file


def test_our_own_tracker_is_known(trackers):
    assert "answers there" not in check(trackers[0].folder / "config.yaml")


def test_another_tracker_is_told_from_ours(trackers):
    ours, theirs = trackers
    url = str(theirs.web.base_url).rstrip("/")
    assert f"{url}: another tracker answers there, which has none of these signing keys" in check(
        with_tracking_url(ours, url)
    )


def test_what_is_no_tracker_is_said_to_be_none(trackers):
    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"status": "ok"}')

        def log_message(self, *_: object) -> None:
            """Be quiet."""

    with http.server.HTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        assert f"{url}: something else than a tracker answers there" in check(with_tracking_url(trackers[0], url))
        server.shutdown()

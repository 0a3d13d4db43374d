"""``/.well-known/``: the files of a folder with their types, and nothing else."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from tests.tracker.test_public import is_public
from tests.tracker.tracked import configured, tracker
from tracker.app import create_admin_app


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "well-known"
    (folder / "acme-challenge").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    (folder / "apple-app-site-association").write_text('{"applinks": {}}')
    (folder / "assetlinks.json").write_text("[]")
    (folder / "security.txt").write_text("Contact: mailto:security@example.com\n")
    (folder / "acme-challenge" / "token").write_text("token.thumbprint")
    (folder / ".hidden" / "file").write_text("secret")
    (folder / ".htpasswd").write_text("secret")
    (tmp_path / "outside").write_text("secret")
    (folder / "link").symlink_to(tmp_path / "outside")
    (folder / "inner").symlink_to("security.txt")
    return folder


async def get(folder: Path | None, path: str, method: str = "GET") -> httpx.Response:
    changes = {} if folder is None else {"well_known": str(folder)}
    async with tracker(folder.parent if folder else Path(), config=configured(**changes)) as t:
        url = httpx.URL("http://x.test").copy_with(raw_path=path.encode())
        return await t.client.request(method, url)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("apple-app-site-association", "application/json"),
        ("assetlinks.json", "application/json"),
        ("security.txt", "text/plain; charset=utf-8"),
        ("acme-challenge/token", "text/plain; charset=utf-8"),
        ("inner", "text/plain; charset=utf-8"),
    ],
)
async def test_files_are_served_with_their_type(folder: Path, name: str, kind: str) -> None:
    answer = await get(folder, f"/.well-known/{name}")
    assert (answer.status_code, answer.headers["content-type"]) == (200, kind)
    assert answer.content == (folder / name).read_bytes()
    is_public(answer)
    head = await get(folder, f"/.well-known/{name}", "HEAD")
    assert (head.status_code, head.content, head.headers["content-type"]) == (200, b"", kind)


@pytest.mark.parametrize(
    "path",
    [
        *("", "/", "nothing", "acme-challenge", "acme-challenge/", "link", ".htpasswd", ".hidden/file"),
        *("../outside", "%2e%2e/outside", "acme-challenge/../../outside", "..%2foutside", "%2e%2e%2foutside"),
        *("/etc/passwd", "%2fetc%2fpasswd", "security.txt%00", "..\\outside", "security.txt/", "a" * 5000),
    ],
)
async def test_nothing_else_is(folder: Path, path: str) -> None:
    answer = await get(folder, f"/.well-known/{path}")
    assert (answer.status_code, answer.text) == (404, "not found\n")
    is_public(answer)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_nothing_can_be_put_there(folder: Path, method: str) -> None:
    assert (await get(folder, "/.well-known/security.txt", method)).status_code == 405


async def test_without_a_folder_there_is_nothing(tmp_path: Path) -> None:
    async with tracker(tmp_path) as t:
        assert (await t.client.get("/.well-known/security.txt")).status_code == 404


async def test_the_address_for_admins_has_none(folder: Path) -> None:
    config = configured(well_known=str(folder), admin_listen="127.0.0.1:1")
    async with tracker(folder.parent, config=config) as t:
        assert (await t.client.get("/.well-known/security.txt")).status_code == 200
        app = create_admin_app(config, t.store, t.recorder, t.clock)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://admin.test") as admin:
            assert (await admin.get("/.well-known/security.txt")).status_code == 404

"""Erasing a person by the API: who may, what is answered."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from tests.tracker.facts import NOW, accepted, hit
from tests.tracker.tracked import READ_KEY, Tracker, tracker
from tracker.errors import SpoolError, StoreError
from tracker.model import Recipient
from tracker.reading.people import Forgotten

WRITE = {"Authorization": "Bearer another-key"}
ANN = "ann+news@example.net"


async def erase(t: Tracker, address: str, headers: dict[str, str] | None = None) -> httpx.Response:
    return await t.client.delete(f"/api/v1/recipients/{address}", headers=WRITE if headers is None else headers)


@pytest.mark.parametrize("path", ["Ann+News@example.net", "ann%2Bnews%40example.net"])
async def test_a_person_is_erased_and_stays_counted(tmp_path: Path, path: str) -> None:
    async with tracker(tmp_path) as t:
        message = accepted(recipients=(Recipient(1, ANN),))
        t.store.apply([message, hit(message.id, at=NOW)])
        answer = await erase(t, path)
        assert (answer.status_code, answer.json()) == (200, {"forgotten": True, "messages": 1, "queued": 0})
        row = await t.api(f"/messages/{message.id}")
        assert (row["opens"], row["recipients"], row["recipients_detail"][0]["address"]) == (1, 1, None)
        assert (await t.api("/messages", recipient=ANN))["items"] == []
        assert (await erase(t, path)).json() == {"forgotten": True, "messages": 0, "queued": 0}


async def test_a_key_that_may_write_is_needed(tmp_path: Path) -> None:
    async with tracker(tmp_path) as t:
        for headers, status in (({}, 401), ({"Authorization": f"Bearer {READ_KEY}"}, 403)):
            answer = await erase(t, ANN, headers)
            assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
        assert (await t.client.get(f"/api/v1/recipients/{ANN}", headers=WRITE)).status_code == 405


@pytest.mark.parametrize(
    "address", ["ann", "@", "ann@", "@example.net", "a%00@example.net", "a" * 2000 + "@example.net", ""]
)
async def test_what_is_no_address_is_refused(tmp_path: Path, address: str) -> None:
    async with tracker(tmp_path) as t:
        answer = await erase(t, address)
        assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")
        assert "address" in answer.json()["detail"]


async def test_mail_that_is_queued_goes_first(tmp_path: Path) -> None:
    async with tracker(tmp_path, forget=lambda address: Forgotten(3, 2)) as t:
        answer = await erase(t, ANN)
        assert (answer.status_code, answer.json()) == (202, {"forgotten": False, "messages": 3, "queued": 2})


@pytest.mark.parametrize("error", [StoreError("away"), SpoolError("away"), OSError("away")])
async def test_what_cannot_be_reached_now_is_said(tmp_path: Path, error: Exception) -> None:
    def forget(address: str) -> Forgotten:
        raise error

    async with tracker(tmp_path, forget=forget) as t:
        answer = await erase(t, ANN)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")

"""What ``check --connect`` tries: the smarthost, the store, the tracking URLs."""

from __future__ import annotations

import asyncio
import http.client
import ssl
from urllib.parse import urlsplit

from relay.config import Config, SmarthostConfig
from relay.dispatch.smarthost import Smarthost
from relay.storage import store_of
from tracker.errors import StoreError

PATIENCE = 10.0
"""Seconds that each is given."""


async def probe(config: Config) -> list[str]:
    """One sentence for each thing that does not answer as it should; the tracking URLs want a running tracker."""
    urls = {config.tracker.public_url, *(sender.tracking_url or config.tracker.public_url for sender in config.senders)}
    answers = await asyncio.gather(
        *(_smarthost(config, *each) for each in _smarthosts(config).items()),
        asyncio.to_thread(_store, config),
        *(asyncio.to_thread(_tracker, url) for url in sorted(urls)),
    )
    return [answer for answer in answers if answer]


def _smarthosts(config: Config) -> dict[str, SmarthostConfig]:
    """Every smarthost that is some mail's, by its key."""
    own = {f"senders[{number}].smarthost": sender.smarthost for number, sender in enumerate(config.senders)}
    return {"relay.smarthost": config.relay.smarthost} | {key: each for key, each in own.items() if each is not None}


async def _smarthost(config: Config, key: str, settings: SmarthostConfig) -> str | None:
    if settings.host in ("sandbox", ""):
        return None
    trouble = await Smarthost(settings, config.relay.hostname or "localhost").probe()
    return f"{key}: {trouble}" if trouble else None


def _store(config: Config) -> str | None:
    store = store_of(config)
    try:
        store.open()
        return None if store.check_writable() else f"tracker.store: {config.data_dir} cannot be written"
    except StoreError as error:
        return f"tracker.store: {error}: {error.__cause__}"
    finally:
        store.close()


def _tracker(url: str) -> str | None:
    """Whether the tracker answers at a tracking URL."""
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=PATIENCE)
    try:
        connection.request("GET", f"{parts.path}/livez")
        answer = connection.getresponse()
        if answer.status == 200 and b'"status"' in answer.read(200):
            return None
        return f"{url}: something else than this tracker answers there (status {answer.status})"
    except (OSError, ssl.SSLError, http.client.HTTPException) as error:
        return f"{url}: no tracker answers there: {error}"
    finally:
        connection.close()

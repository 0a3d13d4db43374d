"""What ``check --connect`` tries: the smarthost, the store, the tracking URLs."""

from __future__ import annotations

import asyncio
import http.client
import ssl
from collections.abc import Sequence
from urllib.parse import urlsplit

from relay.config import Config, SmarthostConfig
from relay.dispatch.smarthost import Smarthost
from relay.keys import read_signing_key
from relay.storage import store_of
from tracker.errors import StoreError
from tracker.ops import KEY_HEADER
from tracker.tokens import key_id, parse_key

PATIENCE = 10.0
"""Seconds that each is given."""


async def probe(config: Config) -> list[str]:
    """One sentence for each thing that does not answer as it should; the tracking URLs want a running tracker."""
    urls = {config.tracker.public_url, *(sender.tracking_url or config.tracker.public_url for sender in config.senders)}
    key_ids = _key_ids(config)
    answers = await asyncio.gather(
        *(_smarthost(config, *each) for each in _smarthosts(config).items()),
        asyncio.to_thread(_store, config),
        *(asyncio.to_thread(_tracker, url, key_ids) for url in sorted(urls)),
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


def _key_ids(config: Config) -> list[str]:
    """The ids of the keys that this tracker has; empty where none was made yet."""
    keys = [parse_key(key.get_secret_value()) for key in config.signing_keys]
    kept = None if keys else read_signing_key(config.data_dir)
    return [key_id(key) for key in keys or ([kept] if kept is not None else [])]


def _tracker(url: str, key_ids: Sequence[str]) -> str | None:
    """Whether this tracker, and no other, answers at a tracking URL."""
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=PATIENCE)
    try:
        connection.request("GET", f"{parts.path}/livez")
        answer = connection.getresponse()
        key = answer.headers.get(KEY_HEADER)
        if answer.status != 200 or key is None:
            return f"{url}: something else than a tracker answers there (status {answer.status})"
        if key_ids and key not in key_ids:
            return f"{url}: another tracker answers there, which has none of these signing keys"
        return None
    except (OSError, ssl.SSLError, http.client.HTTPException) as error:
        return f"{url}: no tracker answers there: {error}"
    finally:
        connection.close()

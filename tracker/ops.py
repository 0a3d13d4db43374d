"""What operators and their machines ask: alive, ready, how much."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tracker.store.base import Store
from tracker.tokens import Keyring

Readiness = Callable[[], dict[str, bool]]
"""What else must be so before the service is ready, by name, such as ``{"smtp": True}``."""

_PATIENCE = 2.0


KEY_HEADER = "Tracepost-Key"
"""The id of the key that seals links now: by it ``check --connect`` knows whose tracker answers on a domain."""


def livez_route(keyring: Keyring | None = None) -> Route:
    """``/livez``."""

    async def livez(request: Request) -> Response:
        """Alive: the event loop turns."""
        answer = _json(200, {"status": "ok"})
        if keyring is not None:
            answer.headers[KEY_HEADER] = keyring.ids[0]
        return answer

    return Route("/livez", livez)


def private_routes(store: Store, readiness: Readiness, registry: CollectorRegistry) -> list[Route]:
    """``/readyz`` and ``/metrics``."""

    async def readyz(request: Request) -> Response:
        """Ready, or 503 naming what is not."""
        checks = {"store": await _writable(store), **readiness()}
        missing = [name for name, fine in checks.items() if not fine]
        body = {"status": "not ready" if missing else "ok", "checks": checks, "not_ready": missing}
        return _json(503 if missing else 200, body)

    async def metrics(request: Request) -> Response:
        """Prometheus text."""
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return [Route("/readyz", readyz), Route("/metrics", metrics)]


def figures(registry: CollectorRegistry) -> dict[str, float]:
    """Every figure of ``/metrics`` as of now by its name, over all of its labels together."""
    found: dict[str, float] = {}
    for metric in registry.collect():
        for sample in metric.samples:
            found[sample.name] = found.get(sample.name, 0.0) + sample.value
    return found


async def _writable(store: Store) -> bool:
    try:
        return await asyncio.wait_for(run_in_threadpool(store.check_writable), _PATIENCE)
    except TimeoutError:
        return False


def _json(status: int, body: Mapping[str, object]) -> Response:
    return Response(json.dumps(body), status, media_type="application/json")

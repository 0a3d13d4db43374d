"""What Prometheus is told of webhooks: read from the store, where the process that delivers keeps it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from tracker.errors import StoreError
from tracker.model import Clock
from tracker.store.base import Row
from tracker.webhooks.deliveries import Deliveries
from tracker.webhooks.endpoint import Endpoint


class WebhooksCollector(Collector):
    """The endpoints by their places in the configuration, since a URL may hold a secret."""

    def __init__(self, deliveries: Deliveries, endpoints: Callable[[], Sequence[Endpoint]], clock: Clock) -> None:
        self._deliveries = deliveries
        self._endpoints = endpoints
        self._clock = clock

    def collect(self) -> Iterator[Metric]:
        """Each endpoint's figures; none while the store is away."""
        found: Mapping[str, Row] = {}
        endpoints = self._endpoints()
        if endpoints:
            try:
                found = self._deliveries.endpoints()
            except StoreError:
                endpoints = ()
        rows = [(str(each.place), found[each.key]) for each in endpoints if each.key in found]
        counters = (
            ("delivered", "Events that an endpoint took"),
            ("failed", "Tries that an endpoint did not answer with 2xx"),
            ("given_up", "Events that were given up after the last try"),
        )
        for name, text in counters:
            counter = CounterMetricFamily(f"webhooks_{name}", text, labels=["endpoint"])
            for place, row in rows:
                counter.add_metric([place], row[name])
            yield counter
        now = self._clock()
        gauges: tuple[tuple[str, str, Callable[[Row], float]], ...] = (
            ("waiting", "Events that failed, or follow one that did, and wait", lambda row: row["waiting"]),
            ("stopped", "1 where an endpoint said that it is gone", lambda row: row["stopped_at"] is not None),
            ("behind_seconds", "Age of the oldest event not looked at yet", lambda row: behind(row, now)),
        )
        for name, text, figure in gauges:
            gauge = GaugeMetricFamily(f"webhooks_{name}", text, labels=["endpoint"])
            for place, row in rows:
                gauge.add_metric([place], figure(row))
            yield gauge


def behind(row: Row, now: float) -> float:
    """Seconds since the oldest event was recorded that an endpoint has not got to."""
    return 0.0 if row["ahead"] is None else max(0.0, now - row["ahead"] / 1e6)

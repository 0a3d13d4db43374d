"""What is no error in a configuration yet hardly what is wanted: `tracepost check` says so."""

from __future__ import annotations

from collections.abc import Iterator

from relay.config import Config
from relay.reception.vendors import vendor_of
from tracker.config import Problem


def doubts(config: Config) -> Iterator[Problem]:
    """Smarthosts that track by themselves: every link would be wrapped twice."""
    hosts: list[tuple[tuple[str | int, ...], str]] = [(("relay", "smarthost", "host"), config.relay.smarthost.host)]
    for index, sender in enumerate(config.senders):
        if sender.smarthost is not None:
            hosts.append((("senders", index, "smarthost", "host"), sender.smarthost.host))
    for path, host in hosts:
        vendor = vendor_of(host)
        if vendor is not None and vendor.off is not None:
            yield Problem(
                path,
                f"warning: {vendor.name} can track opens and clicks too; turn that off there, or for one message by the"
                f" header {vendor.off} (with X-Track-Opens: yes and X-Track-Clicks: yes, which ours go by)",
            )

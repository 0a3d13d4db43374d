"""What is no error in a configuration yet hardly what is wanted: `tracepost check` says so."""

from __future__ import annotations

from collections.abc import Iterator

from relay.config import Config
from relay.reception.vendors import vendor_of
from tracker.config import Problem


def doubts(config: Config) -> Iterator[Problem]:
    """All that is worth a word."""
    yield from _smarthosts(config)
    yield from _webhooks(config)


def _smarthosts(config: Config) -> Iterator[Problem]:
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


def _webhooks(config: Config) -> Iterator[Problem]:
    """Webhooks that anybody on the way could read, or anybody at all could send."""
    for index, webhook in enumerate(config.tracker.webhooks):
        path = ("tracker", "webhooks", index)
        if webhook.url.startswith("http:") and not webhook.allow_private:
            yield Problem((*path, "url"), "warning: addresses of people go there in clear text; use https")
        if webhook.secret is None and webhook.format in ("standard", "sendgrid"):
            yield Problem(
                (*path, "secret"), "warning: without one nothing is signed, and anybody could send such events"
            )
        if webhook.secret is None and webhook.format == "postmark" and "@" not in webhook.url:
            text = (
                "warning: without a header here, or a user name and password in the URL, anybody could send such events"
            )
            yield Problem((*path, "secret"), text)

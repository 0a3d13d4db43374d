"""What is no error in a configuration yet hardly what is wanted: `tracepost check` says so."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address

from relay.config import Config
from relay.reception.vendors import vendor_of
from tracker.config import Problem


def doubts(config: Config) -> Iterator[Problem]:
    """Everything of the kind."""
    yield from _tracking_hosts(config)
    yield from _webhooks(config)
    yield from _unreachable_bounces(config)


def _unreachable_bounces(config: Config) -> Iterator[Problem]:
    """Bounce addresses to which no bounce can come, or that no copy would bear."""
    outside = any(not _is_loopback(address.host) for address in config.relay.listen)
    for index, sender in enumerate(config.senders):
        path = ("senders", index, "bounces")
        if sender.bounces is not None and not outside:
            yield Problem(
                path,
                "warning: relay.listen is on this machine only, so bounces come in only where a mail server here hands"
                " them on; docs/bounces.md shows how",
            )
        if sender.bounces is not None and config.relay.auth.passthrough:
            yield Problem(path, "warning: with relay.auth.passthrough mail keeps the reverse-path of its client")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _tracking_hosts(config: Config) -> Iterator[Problem]:
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

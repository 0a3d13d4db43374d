"""Scan a mail once, render a copy a recipient: bytes in, bytes out, by span. Pure.

``scan`` looks at a mail (``scanning``); what it gives renders the copies (``rendering``).
"""

from __future__ import annotations

from collections.abc import Callable

from relay.rewriting.decisions import MAX_URL, Options
from relay.rewriting.leaves import Skip
from relay.rewriting.rendering import Scan, Slot
from relay.rewriting.scanning import MAX_LINKS, Scanner


def scan(raw: bytes, options: Options, is_ours: Callable[[str], bool]) -> Scan:
    """Look at a mail once. ``is_ours`` says that a URL is a valid tracking URL of ours. Never raises: where anything
    goes wrong the scan is not instrumented and its reason says so."""
    try:
        return Scanner(raw, options, is_ours).run()
    except Skip as skip:
        return Scan((), False, False, str(skip), (), raw, closed=True)
    except Exception as error:  # tracking never costs a mail
        return Scan((), False, False, f"error: {type(error).__name__}", (), raw, closed=True)


__all__ = ["MAX_LINKS", "MAX_URL", "Options", "Scan", "Slot", "scan"]

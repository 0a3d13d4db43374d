"""What ``{{ … }}`` may name inside a link or a parameter's value (contract, section 3). Pure."""

from __future__ import annotations

import re

PERSONAL = ("recipient.email", "message.id", "message.tag", "metadata.NAME")
"""The names that are known; NAME is any."""

BRACES = re.compile(r"\{\{[^{}]*+\}\}")
"""Something between braces."""


def is_personal(name: str) -> bool:
    """Whether a name between braces is one that is known."""
    return name in PERSONAL[:-1] or (name.startswith("metadata.") and len(name) > len("metadata."))


def unknown(text: str) -> str | None:
    """The first ``{{ … }}`` of a text that nothing is known for, None where there is none."""
    return next((found for found in BRACES.findall(text) if not is_personal(found[2:-2].strip())), None)

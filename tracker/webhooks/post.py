"""What is sent to an endpoint, before anybody sends it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Post(NamedTuple):
    """The body of a request and the headers that are the format's own."""

    body: bytes
    headers: Mapping[str, str]

"""On what terms a mail server takes mail, whichever it is."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Terms:
    """``certificate`` is a PEM file with its key in it. AUTH is offered on TLS only, loopback may do without.
    ``refuse`` gives the reply that a recipient gets at RCPT."""

    certificate: Path
    user: str
    password: str
    refuse: Mapping[str, str] = field(default_factory=dict)


@contextlib.contextmanager
def open_folder(name: str) -> Iterator[Path]:
    """A fresh folder that everybody may enter, gone at the end: servers run under a name of their own, for which
    pytest's folders are closed."""
    with tempfile.TemporaryDirectory(prefix=f"tracepost-{name}-") as made:
        folder = Path(made)
        folder.chmod(0o755)
        yield folder

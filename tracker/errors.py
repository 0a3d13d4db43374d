"""What can go wrong, as types: each carries a public sentence and keeps its cause private."""

from __future__ import annotations


class TracepostError(Exception):
    """Base of every error of ours; ``str()`` is one plain sentence fit to be shown to whoever asked."""


class ConfigError(TracepostError):
    """The configuration is wrong. ``problems`` holds every problem, each ``file:line: key: what is wrong``."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class KeyFileError(TracepostError):
    """A kept key cannot be used as it stands."""


class BadToken(TracepostError):
    """A token was not sealed by any of our keys, or is of another purpose."""


class StoreError(TracepostError):
    """The store cannot be read or written now; trying again later may help."""


class SpoolError(TracepostError):
    """The spool or the journal cannot be read or written now; trying again later may help."""


class ListError(TracepostError):
    """What is asked of the suppression list cannot be done as it is written."""


class SpoolFull(SpoolError):
    """The disk has no room for more of what must not be lost."""

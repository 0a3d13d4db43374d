"""The catalogue of the public page's phrases, and which language a reader wants (RFC 9110 section 12.5.4).

A language is a file ``languages/TAG.toml``; another one is added by adding its file. Pure but for reading the files.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "languages"
DEFAULT = "en"

_LONGEST = 1000
_RANGE = re.compile(
    r"\s*([A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8})*|\*)\s*(?:;\s*q\s*=\s*(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)\s*)?"
)


@dataclass(frozen=True, slots=True)
class Language:
    """A ``tag`` (BCP 47) and the phrases in it, by name."""

    tag: str
    phrases: Mapping[str, str]


class Catalogue:
    """All languages there are."""

    def __init__(self, folder: Path = FOLDER) -> None:
        files = sorted(folder.glob("*.toml"))
        self.languages = {path.stem: Language(path.stem, tomllib.loads(path.read_text("utf-8"))) for path in files}

    def choose(self, accepted: str | None) -> Language:
        """The language for a value of Accept-Language: the one wanted most of those there are."""
        wanted: list[tuple[float, int, str]] = []
        for place, text in enumerate((accepted or "")[:_LONGEST].split(",")):
            match = _RANGE.fullmatch(text)
            quality = float(match[2] or 1) if match else 0.0
            if match and quality:
                wanted.append((-quality, place, match[1]))
        for _, _, tag in sorted(wanted):
            found = self._find(tag.lower())
            if found is not None:
                return found
        return self.languages[DEFAULT]

    def _find(self, tag: str) -> Language | None:
        """The language of a tag, or of the tag less its last parts (RFC 4647 section 3.4)."""
        if tag == "*":
            return self.languages[DEFAULT]
        while tag:
            if tag in self.languages:
                return self.languages[tag]
            tag = tag.rpartition("-")[0]
        return None

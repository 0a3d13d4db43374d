"""The fault table as docs/delivery.md prints it: ``python -m tests.faults.document`` writes it there."""

from __future__ import annotations

import re
from pathlib import Path

from tests.faults.table import FAULTS, OUTCOMES, STAGES, cells

DOCUMENT = Path(__file__).parents[2] / "docs" / "delivery.md"
HEADINGS = {
    "queue": ("outcome", "what happens", "notification to the sender", "counts, for one recipient"),
    "proxy": ("outcome", "what the client hears", "counts, for one recipient"),
}


def table(heading: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A table in Markdown."""
    lines = [heading, tuple("---" for _ in heading), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def faults(delivery: str) -> str:
    """What comes of each fault at each stage, and what these words mean."""
    found = {(stage, fault): outcome for stage, fault, outcome in cells(delivery)}
    grid = [(f"**{words}**", *(found.get((stage, fault), "—") for fault in FAULTS)) for stage, words in STAGES.items()]
    meanings = [(f"*{outcome}*", *texts) for outcome, texts in OUTCOMES[delivery].items()]
    heading = ("the smarthost, at", *(fault.words for fault in FAULTS.values()))
    return f"{table(heading, grid)}\n{table(HEADINGS[delivery], meanings)}"


def written(document: str) -> str:
    """The document with its tables as they are now."""
    for delivery in OUTCOMES:
        mark = f"<!-- {delivery}: written by tests/faults/document.py -->\n"
        pattern = rf"({re.escape(mark)}).*?(<!-- end -->)"
        document, count = re.subn(pattern, rf"\g<1>\n{faults(delivery)}\n\g<2>", document, flags=re.S)
        assert count == 1, f"the document has no place for {delivery}"
    return document


if __name__ == "__main__":
    DOCUMENT.write_text(written(DOCUMENT.read_text()))

"""Print what the tracker makes of the labelled hits: ``python -m tests.tracker.replay``."""

import asyncio

from tests.tracker.replay.replaying import lines, replayed, report

if __name__ == "__main__":
    print(report(asyncio.run(replayed(lines()))))

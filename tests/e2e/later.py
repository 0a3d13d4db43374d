"""Run the service as if it were so many days later: ``python -m tests.e2e.later DAYS python -m relay.cli …``."""

from __future__ import annotations

import runpy
import sys
import time

if __name__ == "__main__":
    true, seconds = time.time, float(sys.argv[1]) * 86_400
    time.time = lambda: true() + seconds
    sys.argv = sys.argv[sys.argv.index("relay.cli") :]
    runpy.run_module("relay.cli", run_name="__main__", alter_sys=True)

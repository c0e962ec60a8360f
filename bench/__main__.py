"""`make bench`: the function beside handlers that people would write instead, in one run.

Each figure is the median of several runs, each in a process of its own, with the least and the
most. CPU time is that of the process that runs the handler, with all its threads.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from bench import counts, measure, report, scale, speed, starts, walks
from bench.session import FULL, QUICK, Session
from local.command import run

_MEASUREMENTS: Final[dict[str, Callable[[Session], None]]] = {
    "calls": counts.calls,
    "cpu": speed.cpu,
    "wall": speed.wall,
    "write_units": counts.write_units,
    "growth": scale.growth,
    "memory": scale.memory,
    "cold_start": starts.cold_start,
    "ingress": starts.ingress,
    "warm": speed.warm,
    "walks": walks.cpu,
}


def main() -> int:
    """Measure, print the table, and return 1 if a target was missed."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes, which show less")
    names = list(_MEASUREMENTS)
    parser.add_argument("--only", help="measure one of: " + ", ".join(names), choices=names)
    options = parser.parse_args()
    started = time.monotonic()
    sizes = QUICK if options.quick else FULL
    print(f"Measured on {time.strftime('%Y-%m-%d')}: {report.machine()}.")
    print(f"Medians of {sizes.runs} runs (starts: {sizes.starts}), with the least and the most.\n")
    with (
        tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as folder,
        measure.running(Path(folder)) as bench,
    ):
        session = Session(bench, sizes)
        for name in [options.only] if options.only else names:
            _MEASUREMENTS[name](session)
    missed = session.table.missed
    print(f"\n{len(missed)} targets not met. {time.monotonic() - started:.0f} s.")
    return 1 if missed else 0


if __name__ == "__main__":
    run(main)

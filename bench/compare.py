"""Compare: two builds of the function, in alternating runs.

`python -m bench.compare BEFORE NOW`, with two folders that `make build-ForwarderFunction` filled.
Each build goes first every other time, so that a slow minute slows both.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final

from bench import measure
from bench.events import Shape
from bench.measure import OURS, Bench, Server
from bench.report import Spread
from bench.starts import START_FORWARDER, START_INGRESS

_ROUNDS: Final = 16
_PEOPLE: Final = Shape(1000)
_COLD_STARTS: Final = {"forwarder": START_FORWARDER, "ingress": START_INGRESS}

_Figures = Mapping[str, float]


def main(before: str, now: str) -> None:
    """Print each figure in ms for both builds, and the ratio of the medians."""
    builds = (Path(before).resolve(), Path(now).resolve())
    with tempfile.TemporaryDirectory() as directory, measure.running(Path(directory)) as bench:
        server = bench.server()
        _compare(builds, partial(_work, bench, server))
        for name, code in _COLD_STARTS.items():
            _compare(builds, partial(_cold_start, bench, server, name, code))


def _compare(builds: tuple[Path, Path], measured: Callable[[Path], _Figures]) -> None:
    rounds: list[dict[Path, _Figures]] = []
    for number in range(_ROUNDS + 1):
        order = reversed(builds) if number % 2 else builds
        rounds.append({build: measured(build) for build in order})
    del rounds[0]  # the machine's caches were empty
    for figure in rounds[0][builds[0]]:
        before, now = (Spread([each[build][figure] for each in rounds]) for build in builds)
        shown = f"{before.shown('ms')} before, {now.shown('ms')} now"
        print(f"{figure}: {shown}, ratio {now / before:.2f}", flush=True)


def _work(bench: Bench, server: Server, build: Path) -> _Figures:
    # The first round stores the people. In every other round, all of them change.
    event = bench.event(_PEOPLE)
    usage = bench.invoke(OURS, event, server, table=build.name, aws=server, artifact=build)
    return {"CPU per 1,000 people": usage.cpu_s * 1000}


def _cold_start(bench: Bench, server: Server, name: str, code: str, build: Path) -> _Figures:
    cpu, wall = bench.started(code, server, artifact=build)
    return {f"cold start of the {name}, CPU": cpu * 1000, "…, wall": wall * 1000}


if __name__ == "__main__":
    main(*sys.argv[1:])

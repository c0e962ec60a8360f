"""Command line: `python -m tests.chaos [--small] [SEED ...]`. See run.py.

Prints the figures of each seed and their totals; ends with status 1 when anything was lost, stale
or there and should not be.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from local import deployment
from local.command import run
from tests.chaos.run import FULL, SMALL, Chaos, Figures, prepared


def main() -> int:
    """Run the seeds given, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("seeds", nargs="*", type=int, default=list(range(1, 11)))
    parser.add_argument("--small", action="store_true", help="the size that `make test` runs")
    options = parser.parse_args()
    console = Console(highlight=False, width=160, soft_wrap=True)
    size = SMALL if options.small else FULL
    with deployment.running(console.print) as running, prepared(running, size) as chaos:
        all_figures = [_run(console, chaos, seed) for seed in options.seeds]
    total = _total(all_figures)
    console.print(_table(all_figures, total))
    console.print(f"faults in all: {_listed(total.faults)}")
    console.print(f"set aside in all: {_listed(total.set_aside)}")
    return 1 if total.findings else 0


def _run(console: Console, chaos: Chaos, seed: int) -> Figures:
    console.print(f"\n[bold]seed {seed}[/]")
    figures = chaos.run(seed)
    console.print(
        f"  {figures.messages} messages, {figures.changes} changes, {figures.people} people, "
        f"{figures.requests} requests, {figures.retries} retries, "
        f"{figures.conflicts} conflicts, {figures.seconds:.0f} s"
    )
    console.print(f"  faults: {_listed(figures.faults)}")
    console.print(f"  set aside: {_listed(figures.set_aside)}; {figures.redriven} sent back")
    console.print(f"  {figures.events} events of entering and leaving")
    verdict = (f"{name} {getattr(figures, name)}" for name in _VERDICT)
    console.print(f"  {', '.join(verdict)}")
    for finding in figures.findings[:20]:
        console.print(finding, style="red", markup=False)
    return figures


def _total(all_figures: Sequence[Figures]) -> Figures:
    total = Figures(0)
    for figures in all_figures:
        for one in dataclasses.fields(Figures):
            if one.name != "seed":
                value = getattr(total, one.name) + getattr(figures, one.name)
                setattr(total, one.name, value)
    return total


def _listed(counted: Counter[str]) -> str:
    return ", ".join(f"{name} {times}" for name, times in sorted(counted.items())) or "none"


_COLUMNS = ("messages", "changes", "people", "requests", "retries", "conflicts", "events")
_VERDICT = ("lost", "stale", "surplus", "drift")


def _table(all_figures: Sequence[Figures], total: Figures) -> Table:
    names = ("seed", *_COLUMNS[:3], "faults", *_COLUMNS[3:], "set aside", "redriven")
    table = Table(*names, *_VERDICT, "seconds")
    for column in table.columns:
        column.justify = "right"
    for figures in [*all_figures, total]:
        if figures is total:
            table.add_section()
        table.add_row(
            "all" if figures is total else str(figures.seed),
            *(str(getattr(figures, name)) for name in _COLUMNS[:3]),
            str(figures.faults.total()),
            *(str(getattr(figures, name)) for name in _COLUMNS[3:]),
            str(figures.set_aside.total()),
            str(figures.redriven),
            *(str(getattr(figures, name)) for name in _VERDICT),
            f"{figures.seconds:.0f}",
        )
    return table


if __name__ == "__main__":
    run(main)

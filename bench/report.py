"""Report: figures of several runs, the table that shows them, and the machine they come from."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Spread:
    """The figures of several runs."""

    figures: Sequence[float]

    @property
    def median(self) -> float:
        """The figure in the middle."""
        return statistics.median(self.figures)

    def __truediv__(self, other: Spread) -> float:
        """Return the ratio of the medians."""
        return self.median / other.median

    def shown(self, unit: str, digits: int = 0) -> str:
        """Return the median, the least and the most."""
        low, high = min(self.figures), max(self.figures)
        return f"{self.median:.{digits}f} {unit} ({low:.{digits}f} to {high:.{digits}f})"


class Table:
    """The table of all figures; each row is printed as soon as it is measured."""

    def __init__(self) -> None:
        """Print the head."""
        self.missed: list[str] = []
        print("| figure | target | measured | |\n| --- | --- | --- | --- |", flush=True)

    def add(self, figure: str, target: str, measured: str, *, met: bool | None) -> None:
        """Print a row; `met` is None if there is no target."""
        if met is False:
            self.missed.append(figure)
        verdict = {True: "met", False: "**not met**", None: ""}[met]
        print(f"| {figure} | {target} | {measured} | {verdict} |", flush=True)

    def note(self, figure: str, measured: str) -> None:
        """Print a row that has no target."""
        self.add(figure, "", measured, met=None)


def machine() -> str:
    """Describe the machine and the versions that the figures depend on."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    model = models[0] if models else platform.processor()
    packages = ", ".join(f"{name} {version(name)}" for name in ("boto3", "msgspec", "urllib3"))
    return (
        f"{os.cpu_count()} cores, {model} ({platform.machine()}), {platform.system()} "
        f"{platform.release()}; Python {platform.python_version()}; {packages}; "
        f"load before: {os.getloadavg()[0]:.2f}"
    )

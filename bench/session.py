"""Session: what all measurements share: the servers, the sizes, the events, and the table.

Each module of measurements has functions that take a session and add rows to its table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from bench.events import Shape
from bench.measure import OURS, Bench, Server, Usage
from bench.report import Spread, Table


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured."""

    runs: int
    people: int
    many: int
    starts: int
    slow_people: int


FULL: Final = Sizes(runs=5, people=1000, many=10_000, starts=15, slow_people=100)
QUICK: Final = Sizes(runs=2, people=200, many=2000, starts=3, slow_people=20)


class Session:
    """One run of the benchmark."""

    def __init__(self, bench: Bench, sizes: Sizes) -> None:
        """Start the servers that most measurements use."""
        self.bench = bench
        self.sizes = sizes
        self.table = Table()
        self.fast = bench.server()
        # One person in a message, with 1 to 10 audiences, and all that AWS adds to a record.
        self.usual = Shape(sizes.people)
        # Ten people in a message, most of them in few audiences, to fill an event of 6 MB.
        self.many = Shape(sizes.many, people_in_a_message=10, few=True)

    def known_people(self, handler: str, shape: Shape) -> str:
        """Return a new table in which a handler has stored everybody of a shape."""
        table = self.bench.table("pk" if handler == OURS else "mpid")
        self.invoke(handler, shape, self.fast, table)
        return table

    def invoke(
        self,
        handler: str,
        shape: Shape,
        customerio: Server,
        table: str,
        aws: Server | None = None,
    ) -> Usage:
        """Invoke a handler with a new event of this shape, after a warm-up."""
        event = self.bench.event(shape)
        return self.bench.invoke(handler, event, customerio, table=table, aws=aws)

    def spread(self, figure: Callable[[Usage], float], invoke: Callable[[], Usage]) -> Spread:
        """Return a figure of as many invocations as the sizes ask for."""
        return Spread([figure(invoke()) for _ in range(self.sizes.runs)])

    def cold_starts(self, codes: Iterable[tuple[str, bool]]) -> list[list[tuple[float, float]]]:
        """Return CPU and wall time of several cold starts of each code, in seconds.

        A code comes with whether it is part of the built function. The codes take turns, so that
        a slow minute slows all of them. The first start of each fills caches and is left out.
        """
        pairs = list(codes)
        starts: list[list[tuple[float, float]]] = [[] for _ in pairs]
        for _ in range(self.sizes.starts + 1):
            for place, (code, is_built) in enumerate(pairs):
                artifact = self.bench.artifact if is_built else None
                starts[place].append(self.bench.started(code, self.fast, artifact=artifact))
        return [times[1:] for times in starts]

"""Speed: CPU and wall time of warm invocations, of the function and its peers."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from bench.events import Shape
from bench.measure import OURS, PEERS, WARM_UP
from bench.report import Spread
from bench.session import Session

_SMALL_BEFORE: Final = 20  # small invocations before the measured one
_DYNAMODB_MS: Final = 8
_CUSTOMERIO_MS: Final = 100


def cpu(session: Session) -> None:
    """Measure the CPU time for known people, all of whom change."""
    usual, bench = session.usual, session.bench
    tables = {handler: session.known_people(handler, usual) for handler in (OURS, *PEERS.values())}
    times: dict[str, list[float]] = {handler: [] for handler in tables}
    for _ in range(session.sizes.runs):  # the handlers take turns, as some minutes are slow
        for handler, table in tables.items():
            usage = bench.invoke(handler, bench.event(usual), session.fast, table=table)
            times[handler].append(usage.cpu_s * 1e6 / usual.people)
    spreads = {handler: Spread(figures) for handler, figures in times.items()}
    ours = spreads[OURS]
    session.table.add(
        "CPU per 1,000 people", "at most 120 ms", ours.shown("ms"), met=ours.median <= 120
    )
    for place, (name, handler) in enumerate(PEERS.items()):
        ratio = spreads[handler] / ours
        is_first = place == 0
        session.table.add(
            f"… of {name}",
            "at least 18 times ours" if is_first else "",
            f"{spreads[handler].shown('ms')}: {ratio:.1f} times ours",
            met=ratio >= 18 if is_first else None,
        )


def wall(session: Session) -> None:
    """Measure the wall time with slow servers."""
    slow = session.bench.server(
        f"--dynamodb-ms={_DYNAMODB_MS}", f"--customerio-ms={_CUSTOMERIO_MS}"
    )
    session.invoke(OURS, session.many, slow, "slow", aws=slow)
    ours = session.spread(
        lambda usage: usage.wall_s,
        lambda: session.invoke(OURS, session.many, slow, "slow", aws=slow),
    )
    session.table.add(
        f"wall time for {session.sizes.many:,} people, "
        f"DynamoDB {_DYNAMODB_MS} ms and Customer.io {_CUSTOMERIO_MS} ms away",
        "at most 2 s",
        ours.shown("s", 2),
        met=ours.median <= 2,
    )
    few = replace(session.many, people=session.sizes.slow_people)
    for name, handler in PEERS.items():
        usage = session.invoke(handler, few, slow, "slow-peers", aws=slow)
        session.table.note(f"… of {name}, for {few.people} people", f"{usage.wall_s:.2f} s")


def warm(session: Session) -> None:
    """Measure the first invocation, and a warm one with one small record."""
    bench = session.bench
    table = bench.table("pk")
    small = Shape(1, audiences=range(1, 2))
    others = [replace(small, first=number) for number in range(1000, 1000 + _SMALL_BEFORE)]
    usages = [
        bench.invoke(
            OURS, bench.event(small), session.fast, table=table, warm_up=[WARM_UP, *others]
        )
        for _ in range(session.sizes.starts)
    ]
    spread = Spread([usage.cpu_s * 1000 for usage in usages])
    first = session.spread(
        lambda usage: usage.cpu_s * 1000,
        lambda: bench.invoke(
            OURS, bench.event(session.usual), session.fast, table=table, warm_up=()
        ),
    )
    session.table.note(
        f"the first invocation, {session.usual.people:,} people: wiring, connections, CPU",
        first.shown("ms"),
    )
    session.table.add(
        "a warm invocation with one small record, CPU",
        "at most 5 ms",
        spread.shown("ms", 1),
        met=spread.median <= 5,
    )

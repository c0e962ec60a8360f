"""Scale: how CPU time and memory grow with people, and with the stored audiences of each."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Final

from bench import known
from bench.events import Shape
from bench.measure import OURS, SITE_ID
from bench.report import Spread
from bench.session import Session

_MIB: Final = 1 << 20


def growth(session: Session) -> None:
    """Measure how CPU time grows with people, and with the stored audiences of each."""
    _growth_with_people(session)
    _growth_with_memberships(session)


def _growth_with_people(session: Session) -> None:
    fewer = replace(session.many, people=session.sizes.many // 10)
    spreads = []
    for shape in (fewer, session.many):
        table = session.known_people(OURS, shape)
        invoke = partial(session.invoke, OURS, shape, session.fast, table)
        spreads.append(session.spread(lambda usage: usage.cpu_s * 1000, invoke))
    ratio = spreads[1] / spreads[0]
    session.table.add(
        f"CPU for {session.many.people:,} people over that for {fewer.people:,}",
        "at most 11 times",
        f"{ratio:.1f} times: {spreads[1].shown('ms')} over {spreads[0].shown('ms')}",
        met=ratio <= 11,
    )


def _growth_with_memberships(session: Session) -> None:
    shape = Shape(session.sizes.people, audiences=range(1, 2))
    by_stored = {}
    for stored in (1, 300):
        figures = []
        for _ in range(session.sizes.runs):
            table = session.bench.table("pk")
            known.keep(session.bench.dynamodb, table, SITE_ID, shape, stored)
            usage = session.invoke(OURS, shape, session.fast, table)
            figures.append(usage.cpu_s * 1e6 / shape.people)
        by_stored[stored] = Spread(figures)
    each = (by_stored[300].median - by_stored[1].median) / 299
    session.table.add(
        "CPU per stored membership, from 1 to 300 audiences a person",
        "at most 3 µs",
        f"{each:.2f} µs: {by_stored[1].shown('µs')} to {by_stored[300].shown('µs')} a person",
        met=each <= 3,
    )


def memory(session: Session) -> None:
    """Measure the peak resident memory for the largest event."""
    full = Shape(session.sizes.many, audiences=range(1, 2), lean=True)
    for stored, target in ((0, 120), (300, 200)):
        table = session.bench.table("pk")
        known.keep(session.bench.dynamodb, table, SITE_ID, full, stored or 1)
        usages = [
            session.invoke(OURS, full, session.fast, table) for _ in range(session.sizes.runs)
        ]
        peak = Spread([usage.rss_bytes / _MIB for usage in usages])
        size = usages[0].event_bytes / 1e6
        session.table.add(
            f"peak memory, an event of {full.people:,} records and {size:.1f} MB"
            + (f", {stored} stored audiences of each person" if stored else ""),
            f"at most {target} MiB",
            peak.shown("MiB"),
            met=peak.median <= target,
        )

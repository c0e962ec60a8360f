"""Walks: CPU time of a walk over the table, beside that of changes of as many people."""

from __future__ import annotations

import time
from typing import Any, Final

from bench import known
from bench.measure import OURS, SITE_ID
from bench.report import Spread
from bench.session import Session

_STORED: Final = 10
_FIRST_AUDIENCE: Final = 1_000_000  # everybody is in it and in the next ones; see known.py
_STEP: Final = 97
_NOBODYS: Final = 1


def cpu(session: Session) -> None:
    """Measure a walk that changes everybody, and one that changes nobody."""
    bench, usual = session.bench, session.usual
    changes = session.known_people(OURS, usual)
    walked = bench.table("pk")
    known.keep(bench.dynamodb, walked, SITE_ID, usual, _STORED)
    times: dict[str, list[float]] = {"change": [], "everybody": [], "nobody": []}
    for run in range(session.sizes.runs):  # they take turns, as some minutes are slow
        # Each removal is of another audience: everybody leaves each once.
        first, second = (_FIRST_AUDIENCE + _STEP * (2 * run + place) for place in (0, 1))
        usages = {
            "change": bench.invoke(OURS, bench.event(usual), session.fast, table=changes),
            "everybody": bench.walk(session.fast, walked, _removal(first), _removal(second)),
            "nobody": bench.walk(session.fast, walked, *[_removal(_NOBODYS)] * 2),
        }
        for name, usage in usages.items():
            times[name].append(usage.cpu_s * 1e6 / usual.people)
    spreads = {name: Spread(figures) for name, figures in times.items()}
    for name, most in (("everybody", 1.1), ("nobody", 0.6)):
        ratio = spreads[name] / spreads["change"]
        session.table.add(
            f"CPU per 1,000 people of a walk that changes {name}",
            f"at most {most} times that of a change",
            f"{spreads[name].shown('ms')}: {ratio:.2f} times {spreads['change'].shown('ms')}",
            met=ratio <= most,
        )


def _removal(audience_id: int) -> Any:
    """Return a step of a walk over the whole table, by which everybody leaves an audience."""
    walk = {
        "kind": "removal",
        "site_id": SITE_ID,
        "audience_id": audience_id,
        "audience_name": f"Audience {audience_id}",
        "removed_at_ms": int(time.time() * 1000),
    }
    return {"walk": walk, "segment": 0, "segments": 1}

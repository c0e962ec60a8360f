"""Counts: requests to Customer.io, calls to AWS, and write units."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Final

from bench import known
from bench.events import Shape
from bench.measure import OURS, PEERS, SITE_ID, Counts, Server, item_bytes
from bench.session import Session
from handler.customerio.wire import MAX_ENTITIES

_READ: Final = "BatchGetItem"
_VERIFY: Final = "BatchGetItem to verify"
_WRITE: Final = "BatchExecuteStatement"


def calls(session: Session) -> None:
    """Count requests and calls, and check that all handlers send the same about everybody."""
    server = session.bench.server("--remember")
    for name, shape in (("", session.usual), ("few audiences each, ", session.many)):
        event = session.bench.event(shape)
        counts = _counts(session, server, OURS, event)
        requests, sent = counts.requests["Customer.io"], sum(counts.sizes)
        bound = math.ceil(max(sent / 500_000, shape.people / MAX_ENTITIES)) + 1
        few = 1.1 * shape.people / MAX_ENTITIES if shape.few else math.inf
        session.table.add(
            f"requests to Customer.io, {name}{shape.people:,} people",
            f"at most {bound} ({sent:,} bytes)" + (f", and {few:.1f}" if shape.few else ""),
            f"{requests}",
            met=requests <= min(bound, max(few, 1.1)),
        )
        figure = f"DynamoDB calls, {shape.people:,} people"
        # An identifier that is new to a person is looked up in the records of erasures.
        _add_calls(session, f"{figure}, all new", counts, shape, is_new=True)
        event = session.bench.event(shape)
        counts = _counts(session, server, OURS, event)
        _add_calls(session, f"{figure}, all changed", counts, shape)
        again = _counts(session, server, OURS, event)
        _add_calls(
            session, "the same event again, nothing changed", again, shape, is_changed=False
        )
        if shape is session.usual:
            _compare_peers(session, server, event, again)


def write_units(session: Session) -> None:
    """Calculate the write units of a change of a person in 80 audiences."""
    shape = Shape(100, audiences=range(1, 2))
    table = session.bench.table("pk")
    known.keep(session.bench.dynamodb, table, SITE_ID, shape, 79)
    session.invoke(OURS, shape, session.fast, table)
    items = session.bench.dynamodb.scan(TableName=table)["Items"]
    sizes = [item_bytes(item) for item in items if item["version"]["N"] == "2"]
    units = math.ceil(max(sizes) / 1024)
    session.table.add(
        "write units per change of a person in 80 audiences",
        "1",
        f"{units} (item of {max(sizes)} bytes; one more for the index when new)",
        met=units == 1 and len(sizes) == shape.people,
    )


def _add_calls(
    session: Session,
    figure: str,
    counts: Counts,
    shape: Shape,
    *,
    is_new: bool = False,
    is_changed: bool = True,
) -> None:
    targets = {
        # Each process reads the catalogue of audiences once, and writes it if it is new.
        _READ: (1 + is_new) * math.ceil(shape.people / 100) + 1,
        _WRITE: is_changed * math.ceil(shape.people / 25) + is_new,
        _VERIFY: math.ceil(shape.people / 100),
    }
    measured = {name: counts.requests.get(name, 0) for name in targets}
    session.table.add(
        figure,
        "at most {} to read, {} to write, {} to verify".format(*targets.values()),
        "{}, {}, {}".format(*measured.values()),
        met=all(measured[name] <= targets[name] for name in targets),
    )


def _compare_peers(session: Session, server: Server, event: Path, ours: Counts) -> None:
    for name, handler in PEERS.items():
        counts = _counts(session, server, handler, event)
        if (counts.people, counts.memberships) != (ours.people, ours.memberships):
            sys.exit(f"{name} sent other memberships to Customer.io, of {counts.people} people")
        requests = counts.requests["Customer.io"]
        aws = sum(counts.requests.values()) - requests
        session.table.note(f"{name}: requests to Customer.io, calls to AWS", f"{requests}, {aws}")


def _counts(session: Session, server: Server, handler: str, event: Path) -> Counts:
    session.bench.invoke(handler, event, server, table="counted", aws=server, warm_up=())
    return server.counts()

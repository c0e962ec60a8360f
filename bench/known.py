"""Known: people put into the table as if they had been forwarded before, many audiences each."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count, islice
from typing import TYPE_CHECKING, Any

import msgspec

from bench import events
from bench.events import Shape
from handler.domain.membership import PersonState, Update, person_key, standing
from handler.domain.message import read_profile
from handler.store import Store

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


def keep(dynamodb: DynamoDBClient, table: str, site_id: str, shape: Shape, stored: int) -> None:
    """Write everybody of an event of this shape with so many audiences, none of them its own."""
    with ThreadPoolExecutor(4) as executor:
        store = Store(dynamodb, table, executor, backoff=lambda _: 0.0, sleep=lambda _: None)
        states = _states(site_id, shape, stored)
        while part := dict(islice(states, 1000)):
            failures = store.save(part, now=0.0, time_left=lambda: 60.0)
            if failures:
                raise next(iter(failures.values()))


def _states(site_id: str, shape: Shape, stored: int) -> Iterator[tuple[str, PersonState]]:
    at_ms = 1_700_000_000_000
    memberships = dict.fromkeys(islice(count(1_000_000, 97), stored), standing(at_ms, gone=False))
    for person in range(shape.first, shape.first + shape.people):
        told: Any = events.profile(person, shape)
        update = Update(at_ms, read_profile(msgspec.Raw(msgspec.json.encode(told))))
        yield (
            person_key(site_id, update.profile),
            PersonState(
                version=1,
                timestamp=at_ms // 1000,
                identifier=update.identifier,
                memberships=memberships,
            ),
        )

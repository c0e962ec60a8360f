"""Known: stores people in the table as if they had been forwarded before."""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count, islice
from typing import TYPE_CHECKING, Any

import msgspec

from bench import events
from bench.events import Shape
from handler import clock
from handler.domain.membership import PersonState, stamp
from handler.domain.profile import read_profile
from handler.domain.update import Update, person_key
from handler.table.table import open_table

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

NO_DEADLINE = clock.Deadline(math.inf, clock.now)


def keep(dynamodb: DynamoDBClient, table: str, site_id: str, shape: Shape, stored: int) -> None:
    """Store everybody of a shape with `stored` audiences, none of which is in its events."""
    with ThreadPoolExecutor(4) as executor:
        people = open_table(
            dynamodb,
            table,
            executor,
            backoff=lambda _: 0.0,
            now=clock.now,
            sleep=lambda _: None,
        ).people
        states = _states(site_id, shape, stored)
        while part := dict(islice(states, 1000)):
            failures = people.save(part, now=0.0, deadline=NO_DEADLINE)
            if failures:
                raise next(iter(failures.values()))


def _states(site_id: str, shape: Shape, stored: int) -> Iterator[tuple[str, PersonState]]:
    at_ms = 1_700_000_000_000
    memberships = dict.fromkeys(islice(count(1_000_000, 97), stored), stamp(at_ms, removed=False))
    for person in range(shape.first, shape.first + shape.people):
        sent: Any = events.profile(person, shape)
        profile = read_profile(msgspec.Raw(msgspec.json.encode(sent)))
        update = Update.of(profile, at_ms=at_ms, one_attribute_per_audience=False)
        yield (
            person_key(site_id, profile),
            PersonState(
                version=1,
                timestamp=at_ms // 1000,
                identifier=update.identifier,
                memberships=memberships,
            ),
        )

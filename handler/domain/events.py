"""Events: the changes of a person that count, as events for Customer.io.

States and updates come from membership.py; events go to attributes.py, as a part of the person.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final, Literal

import msgspec

from handler.domain.membership import Memberships, stamp
from handler.domain.profile import MembershipChange
from handler.domain.ulid import RANDOM_BYTES, ulid
from handler.domain.update import Update

MAX_VALUE_BYTES: Final = 1000
"""A longer audience name is cut, as an attribute's value would be."""

EventName = Literal["Audience Entered", "Audience Exited"]


class Event(msgspec.Struct, frozen=True):
    """Somebody entered or left an audience; `timestamp` in Unix seconds.

    `id` is a ULID that is the same for the same change of the same person.
    """

    id: str
    name: EventName
    timestamp: int
    audience_id: int
    audience_name: str


def events(
    person_key: str, memberships: Memberships, updates: Iterable[Update]
) -> tuple[Event, ...]:
    """Return the changes that are the newest of their audience, each once, oldest first.

    A change that lost to a newer one is no event. One that is delivered again is the same event
    again, as long as no newer one came.
    """
    found: dict[str, Event] = {}
    for update in updates:
        for change in update.changes:
            newest = stamp(update.at_ms, removed=not change.is_member)
            if memberships.get(change.audience_id) == newest:
                event = _event(person_key, change, update.at_ms)
                found[event.id] = event
    return tuple(found[key] for key in sorted(found))


def _event(person_key: str, change: MembershipChange, at_ms: int) -> Event:
    name: EventName = "Audience Entered" if change.is_member else "Audience Exited"
    # The key holds the workspace's site id.
    told_apart_by = f"{person_key}#{change.audience_id}#{name}"
    digest = hashlib.sha256(told_apart_by.encode()).digest()
    audience_name = change.audience_name or str(change.audience_id)
    return Event(
        id=ulid(at_ms, digest[:RANDOM_BYTES]),
        name=name,
        timestamp=at_ms // 1000,
        audience_id=change.audience_id,
        audience_name=audience_name.encode()[:MAX_VALUE_BYTES].decode(errors="ignore"),
    )

"""Events: a person entered or left an audience, as an event for Customer.io.

States come from membership.py, updates from update.py. Events go to attributes.py, as a part of
the person.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final, Literal

import msgspec

from handler.domain.membership import Memberships, stamp
from handler.domain.profile import MembershipChange
from handler.domain.update import Update

MAX_NAME_BYTES: Final = 1000
"""A longer name of an audience is cut, as an event must fit in an entity."""

_CROCKFORD: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # base 32 without I, L, O and U

EventName = Literal["Audience Entered", "Audience Exited"]


class Event(msgspec.Struct, frozen=True):
    """A person entered or left an audience; `timestamp` is the change's, in Unix seconds.

    `id` is a ULID, always the same for the same change of a person, so that Customer.io ignores
    events that are sent again.
    """

    id: str
    name: EventName
    timestamp: int
    audience_id: int
    audience_name: str


def events(
    person_key: str, memberships: Memberships, updates: Iterable[Update]
) -> tuple[Event, ...]:
    """Return an event for each change that is the newest of its audience, oldest first.

    `memberships` include the updates. A change that lost to a newer one has no event. A change
    that is delivered again has its event again, unless a newer change came meanwhile.
    """
    by_id: dict[str, Event] = {}
    for update in updates:
        for change in update.changes:
            newest = stamp(update.at_ms, removed=not change.is_member)
            if memberships.get(change.audience_id) == newest:
                event = _event(person_key, change, update.at_ms)
                by_id[event.id] = event
    return tuple(by_id[event_id] for event_id in sorted(by_id))


def _event(person_key: str, change: MembershipChange, at_ms: int) -> Event:
    name: EventName = "Audience Entered" if change.is_member else "Audience Exited"
    # The key also names the workspace.
    changed = f"{person_key}#{change.audience_id}#{name}"
    digest = hashlib.sha256(changed.encode()).digest()
    audience_name = change.audience_name or str(change.audience_id)
    return Event(
        id=ulid(at_ms, digest[:10]),
        name=name,
        timestamp=at_ms // 1000,
        audience_id=change.audience_id,
        audience_name=audience_name.encode()[:MAX_NAME_BYTES].decode(errors="ignore"),
    )


def ulid(at_ms: int, random: bytes) -> str:
    """Return the ULID of a time in Unix milliseconds and 10 bytes (github.com/ulid/spec).

    ULIDs sort by time. The same time and bytes always give the same one.
    """
    number = at_ms << 80 | int.from_bytes(random, "big")
    return "".join([_CROCKFORD[number >> bits & 31] for bits in range(125, -1, -5)])

"""Membership: what is known of one person, by the newest update of each thing.

Updates come in from update.py; the merged state goes on to the table and to attributes.py.
Nothing here knows about clocks, tables or sockets: `now` is an argument.

A *stamp* is a last-writer-wins timestamp: milliseconds, doubled, plus one if the update removed
something (an exit, a cleared name). The larger of two stamps counts, so on equal times leaving
wins: nobody is messaged after opting out. The stamp of an exit is its tombstone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from handler.domain.profile import MembershipChange
from handler.domain.update import Identifier, Update

TOMBSTONE_LIFE_S: Final = 30 * 24 * 3600
"""How long an exit is remembered, in seconds. A join that is older, of an audience that the state
does not know, may be one that an exit undid: it does not count."""

MAX_FORMER: Final = 8
"""Former identifiers that a state keeps at most. Each is kept only until it is cleared in
Customer.io, so a person would have to change their identifier nine times during one outage."""

MAX_VALUES: Final = 300
"""Attributes whose times a state keeps at most, the newest of them: Customer.io holds no more for
a person (Track API, "Person limits"), and DynamoDB no item of any size."""

MAX_VALUE_BYTES: Final = 1000
"""Customer.io's limit on an attribute's value (Track API, "Person limits")."""

OWN_VALUES: Final = ("email", "first_name", "last_name")
"""The attributes beside those of audiences that are always sent, in the order in which a state is
packed; all others are mapped."""

Stamp = int
Memberships = Mapping[int, Stamp]


def stamp(at_ms: int, *, removed: bool) -> Stamp:
    """Return the stamp of an update at a time."""
    return at_ms << 1 | removed


def is_member(newest: Stamp) -> bool:
    """Tell whether the newest change was an entry, not an exit."""
    return not newest & 1


class PersonState(msgspec.Struct, frozen=True):
    """What is kept of one person. `version` 0: nothing is kept yet.

    `set_at` holds the stamps of `email`, `first_name`, `last_name` and mapped attributes, if they
    ever came;
    `timestamp` is the newest one given to Customer.io with a change, in Unix seconds;
    `continuations` how many attributes `SegmentMembership 2`, `… 3` were ever sent;
    `former` the identifiers that were replaced, oldest first, until they are cleared in
    Customer.io, each with the newest timestamp that was given under it.
    """

    version: int = 0
    timestamp: int = 0
    identifier: Identifier | None = None
    memberships: Memberships = {}
    set_at: Mapping[str, Stamp] = {}
    continuations: int = 0
    former: Mapping[Identifier, int] = {}


def merge(known: PersonState, updates: Sequence[Update], *, now: float) -> PersonState:
    """Fold updates into what is known; of each thing the newest update counts.

    Returns `known` itself if the updates say nothing new. Otherwise version and timestamp have
    gone up, and exits over 30 days old are forgotten. A join that is `too_old` does not count.
    `now` is in Unix seconds.
    """
    memberships = dict(known.memberships)
    set_at = dict(known.set_at)
    identifier = known.identifier
    oldest_tombstone = _oldest_tombstone(now)
    raised: set[int] = set()
    news = False
    for update in updates:
        for change in update.changes:
            newest = stamp(update.at_ms, removed=not change.is_member)
            if newest < oldest_tombstone and _is_unknown_join(known, change):
                continue
            if newest > memberships.get(change.audience_id, -1):
                memberships[change.audience_id] = newest
                raised.add(change.audience_id)
        for name, value in update.values.items():
            newest = stamp(update.at_ms, removed=value is None)
            if newest > set_at.get(name, -1):
                set_at[name] = newest
        if update.identifier is not None and (
            identifier is None or update.identifier > identifier
        ):
            identifier = update.identifier
            news = True
    if len(set_at) > MAX_VALUES:
        set_at = _newest_values(set_at)
    news = news or set_at != known.set_at
    kept = {
        audience_id: newest
        for audience_id, newest in memberships.items()
        if not newest & 1 or newest >= oldest_tombstone
    }
    # An exit of long ago, from an audience that is not known, would be forgotten at once: no news.
    if not news and raised.isdisjoint(kept) and raised.isdisjoint(known.memberships):
        return known
    former = _former(known, identifier)
    # A former identifier is cleared one second after the last post under it, and that must be
    # older than what is posted of the person now.
    step = 1 if former == known.former else 2
    return PersonState(
        version=known.version + 1,
        timestamp=max(int(now), known.timestamp + step),
        identifier=identifier,
        memberships=kept,
        set_at=set_at,
        continuations=max(known.continuations, _continuations(kept)),
        former=former,
    )


def too_old(
    known: PersonState, merged: PersonState, updates: Sequence[Update], *, now: float
) -> list[int]:
    """Return the places of the updates with a join that did not count, as it is too old.

    It is older than exits are remembered, and the audience is in neither state.
    """
    oldest_tombstone = _oldest_tombstone(now)
    return [
        place
        for place, update in enumerate(updates)
        if stamp(update.at_ms, removed=False) < oldest_tombstone
        and any(
            _is_unknown_join(known, change) and change.audience_id not in merged.memberships
            for change in update.changes
        )
    ]


def new_version(known: PersonState, *, now: float) -> PersonState:
    """Return what is known as a new version, to be delivered again as of `now`, Unix seconds."""
    return msgspec.structs.replace(
        known, version=known.version + 1, timestamp=max(int(now), known.timestamp + 1)
    )


def without_former(known: PersonState) -> PersonState:
    """Return the next version, without former identifiers: they are cleared in Customer.io.

    The timestamp stays, as what is posted of the two versions is the same.
    """
    return msgspec.structs.replace(known, version=known.version + 1, former={})


def _newest_values(set_at: Mapping[str, Stamp]) -> dict[str, Stamp]:
    # What was forgotten stays so, however often it comes again: what is kept is newer.
    by_age = sorted(set_at.items(), key=lambda each: (each[0] in OWN_VALUES, each[1], each[0]))
    return dict(by_age[-MAX_VALUES:])


def _oldest_tombstone(now: float) -> Stamp:
    return stamp(int((now - TOMBSTONE_LIFE_S) * 1000), removed=False)


def _is_unknown_join(known: PersonState, change: MembershipChange) -> bool:
    return change.is_member and change.audience_id not in known.memberships


def _former(known: PersonState, identifier: Identifier | None) -> Mapping[Identifier, int]:
    """Return the identifiers that were ever kept as the current one, and are it no more."""
    before = known.identifier
    if before is None or identifier is None or identifier.names_the_same(before):
        return known.former
    former = {
        each: timestamp
        for each, timestamp in known.former.items()
        if not each.names_the_same(identifier)
    }
    return dict([*former.items(), (before, known.timestamp)][-MAX_FORMER:])


def membership_values(memberships: Memberships) -> list[str]:
    """Return the ids of all audiences the person is in, quoted, ascending, comma-separated.

    As many texts as it takes, each within Customer.io's limit on a value; one empty text for none.
    """
    quoted = [
        f"'{key}'" for key in sorted(k for k, newest in memberships.items() if is_member(newest))
    ]
    texts = [",".join(quoted)]
    while len(texts[-1]) > MAX_VALUE_BYTES:
        cut = texts[-1].rindex(",", 0, MAX_VALUE_BYTES + 1)
        texts[-1:] = [texts[-1][:cut], texts[-1][cut + 1 :]]
    return texts


_LONGEST_ID: Final = len("'-9223372036854775808',")


def _continuations(memberships: Memberships) -> int:
    if len(memberships) * _LONGEST_ID <= MAX_VALUE_BYTES:
        return 0  # as for most: they need not be written down to be counted
    return len(membership_values(memberships)) - 1

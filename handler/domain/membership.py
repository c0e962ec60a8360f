"""Membership: the state of one person; the newest update of each audience and value counts.

Updates come in from update.py; the merged state goes on to the table and to attributes.py.
Nothing here knows about clocks, tables or sockets: `now` is an argument.

A *stamp* is a last-writer-wins timestamp: milliseconds times two, plus one if the update removed
something (an exit, a cleared name). The larger of two stamps counts, so on equal times leaving
wins: nobody is messaged after opting out. The stamp of an exit is its tombstone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from handler.domain.profile import MembershipChange
from handler.domain.update import Identifier, Update

TOMBSTONE_LIFE_S: Final = 30 * 24 * 3600
"""How long an exit is remembered, in seconds. An older join is ignored if its audience is not in
the state, as an exit may have undone it."""

MAX_FORMER: Final = 8
"""Most former identifiers in a state, so only a person with nine changes of identifier within
`versions.FORMER_LIFE_S`, or during one outage, has more."""

MAX_VALUES: Final = 300
"""Most attributes whose times a state keeps, the newest ones. Customer.io holds no more for a
person (Track API, "Person limits"), and DynamoDB limits the size of an item."""

MAX_VALUE_BYTES: Final = 1000
"""Customer.io's limit on an attribute's value (Track API, "Person limits")."""

OWN_VALUES: Final = ("email", "first_name", "last_name")
"""Attributes that are sent without a mapping, in the order in which a state is packed."""

Stamp = int
Memberships = Mapping[int, Stamp]


def stamp(at_ms: int, *, removed: bool) -> Stamp:
    """Return the stamp of an update at a time."""
    return at_ms << 1 | removed


def is_member(newest: Stamp) -> bool:
    """Tell whether the newest change was an entry, not an exit."""
    return not newest & 1


class PersonState(msgspec.Struct, frozen=True):
    """What the table keeps of one person. `version` 0: nothing yet.

    `timestamp`: the newest one sent to Customer.io with a change, in Unix seconds.
    `set_at`: the stamps of `email`, `first_name`, `last_name` and mapped attributes.
    `continuations`: how many attributes `SegmentMembership 2`, `… 3` were ever sent.
    `former`: replaced identifiers under which Customer.io may still have the person, oldest first,
    each with the newest timestamp sent with it.
    `erased_at_ms`: the time of the newest erasure, 0 without one. Nothing from before it is in the
    state. If nothing came after it, the state is a tombstone, without an identifier.
    `outranked`: the newest email without an id, if the id that outranks it is older. An erasure
    may leave only the email.
    """

    version: int = 0
    timestamp: int = 0
    identifier: Identifier | None = None
    memberships: Memberships = {}
    set_at: Mapping[str, Stamp] = {}
    continuations: int = 0
    former: Mapping[Identifier, int] = {}
    erased_at_ms: int = 0
    outranked: Identifier | None = None


def merge(
    before: PersonState, updates: Sequence[Update], *, now: float, erased_at_ms: int = 0
) -> PersonState:
    """Merge updates, and perhaps an erasure, into a state.

    The newest update of each audience and value counts. Nothing counts that is not newer than the
    newest erasure, whichever comes first.
    Returns `before` itself if nothing changes. Otherwise version and timestamp increase, and exits
    over 30 days old are removed. A join that is `too_old` is ignored. `now` is in Unix seconds.
    """
    known = _erased(before, erased_at_ms)
    updates = _counting(known, updates)
    memberships = dict(known.memberships)
    set_at = dict(known.set_at)
    identifier, outranked = _identifiers(known, updates)
    oldest_tombstone_ms = _oldest_tombstone_ms(now)
    newer: set[int] = set()
    for update in updates:
        set_stamp = stamp(update.at_ms, removed=False)
        removed_stamp = stamp(update.at_ms, removed=True)
        is_old = update.at_ms < oldest_tombstone_ms
        for change in update.changes:
            if is_old and _is_unknown_join(known, change):
                continue
            newest = set_stamp if change.is_member else removed_stamp
            if newest > memberships.get(change.audience_id, -1):
                memberships[change.audience_id] = newest
                newer.add(change.audience_id)
        for name, value in update.values.items():
            newest = removed_stamp if value is None else set_stamp
            if newest > set_at.get(name, -1):
                set_at[name] = newest
    if len(set_at) > MAX_VALUES:
        set_at = _newest_values(set_at)
    changed = (
        known is not before
        or identifier is not known.identifier
        or outranked is not known.outranked
        or set_at != known.set_at
    )
    kept = {
        audience_id: newest
        for audience_id, newest in memberships.items()
        if is_member(newest)
        or newest >> 1 >= oldest_tombstone_ms
        # This version is what shows that somebody has just left.
        or (audience_id in newer and audience_id in known.memberships)
    }
    # An exit over 30 days old from an audience that is not in the state changes nothing.
    if not changed and newer.isdisjoint(kept):
        return before
    former = _former(known, identifier)
    # A former identifier is cleared with the timestamp one second after its last post. The next
    # post of the person must be newer than that.
    step = 1 if former == known.former else 2
    return PersonState(
        version=known.version + 1,
        timestamp=max(int(now), known.timestamp + step),
        identifier=identifier,
        memberships=kept,
        set_at=set_at,
        continuations=max(known.continuations, _continuations(kept)),
        former=former,
        erased_at_ms=known.erased_at_ms,
        outranked=outranked,
    )


def _erased(known: PersonState, at_ms: int) -> PersonState:
    """Return a state without all that is not newer than an erasure; the version stays the same."""
    if at_ms <= known.erased_at_ms:
        return known
    named = (known.identifier, known.outranked)
    identifier = next((each for each in named if each and each.set_at_ms > at_ms), None)
    if identifier is None:
        # The number of continuations still says what Customer.io may have.
        return PersonState(
            version=known.version,
            timestamp=known.timestamp,
            continuations=known.continuations,
            erased_at_ms=at_ms,
        )
    return msgspec.structs.replace(
        known,
        identifier=identifier,
        memberships={k: newest for k, newest in known.memberships.items() if newest >> 1 > at_ms},
        set_at={name: newest for name, newest in known.set_at.items() if newest >> 1 > at_ms},
        former={each: last for each, last in known.former.items() if each.set_at_ms > at_ms},
        erased_at_ms=at_ms,
        outranked=known.outranked if identifier is known.identifier else None,
    )


def _counting(known: PersonState, updates: Sequence[Update]) -> Sequence[Update]:
    """Return the updates that count: those newer than an erasure, of who has an identifier."""
    if known.erased_at_ms:  # most people were never erased
        updates = [update for update in updates if update.at_ms > known.erased_at_ms]
    if known.identifier is None and not any(update.identifier for update in updates):
        return ()
    return updates


def _identifiers(
    known: PersonState, updates: Iterable[Update]
) -> tuple[Identifier | None, Identifier | None]:
    """Return the identifier, and the newer email that it outranks, if there is one."""
    identifier, outranked = known.identifier, known.outranked
    for update in updates:
        named = update.identifier
        if named is None:
            continue
        newest = named if identifier is None else max(identifier, named)
        if identifier is not None and (outranked or named.is_id != identifier.is_id):
            outranked = _newer_email(newest, outranked, identifier, named)
        identifier = newest
    return identifier, outranked


def _newer_email(identifier: Identifier, *others: Identifier | None) -> Identifier | None:
    """Return the newest email among identifiers that an older id outranks."""
    emails = [
        other
        for other in others
        if other and identifier.is_id > other.is_id and other.set_at_ms > identifier.set_at_ms
    ]
    return max(emails, default=None)


def too_old(
    known: PersonState, merged: PersonState, updates: Sequence[Update], *, now: float
) -> list[int]:
    """Return the places of the updates with a join that was ignored because it is too old.

    It is older than the oldest exit that is remembered, newer than an erasure, and its audience is
    in neither state.
    """
    oldest_tombstone_ms = _oldest_tombstone_ms(now)
    return [
        place
        for place, update in enumerate(updates)
        if update.at_ms < oldest_tombstone_ms
        and update.at_ms > merged.erased_at_ms
        and any(
            _is_unknown_join(known, change) and change.audience_id not in merged.memberships
            for change in update.changes
        )
    ]


def newest_change_ms(state: PersonState) -> int:
    """Return the time of the newest change in a state, in Unix milliseconds."""
    identified_at_ms = state.identifier.set_at_ms if state.identifier else 0
    stamps = (*state.memberships.values(), *state.set_at.values())
    return max(identified_at_ms, state.erased_at_ms, *(newest >> 1 for newest in stamps))


def _newest_values(set_at: Mapping[str, Stamp]) -> dict[str, Stamp]:
    # A dropped time that comes again is dropped again, as the kept ones are newer.
    by_age = sorted(set_at.items(), key=lambda each: (each[0] in OWN_VALUES, each[1], each[0]))
    return dict(by_age[-MAX_VALUES:])


def _oldest_tombstone_ms(now: float) -> int:
    return int((now - TOMBSTONE_LIFE_S) * 1000)


def _is_unknown_join(known: PersonState, change: MembershipChange) -> bool:
    return change.is_member and change.audience_id not in known.memberships


def _former(known: PersonState, identifier: Identifier | None) -> Mapping[Identifier, int]:
    """Return the former identifiers if `identifier` is the current one."""
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

    Each text is within Customer.io's limit on a value. Without audiences, there is one empty text.
    """
    current = sorted([key for key, newest in memberships.items() if is_member(newest)])
    texts = [",".join([f"'{key}'" for key in current])]
    while len(texts[-1]) > MAX_VALUE_BYTES:
        cut = texts[-1].rindex(",", 0, MAX_VALUE_BYTES + 1)
        texts[-1:] = [texts[-1][:cut], texts[-1][cut + 1 :]]
    return texts


_LONGEST_ID: Final = len("'-9223372036854775808',")


def _continuations(memberships: Memberships) -> int:
    if len(memberships) * _LONGEST_ID <= MAX_VALUE_BYTES:
        return 0  # true of most people, so do not build the texts
    return len(membership_values(memberships)) - 1

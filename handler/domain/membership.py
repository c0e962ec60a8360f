"""Membership: what is known of one person, by the newest word on each thing.

Profiles come in from message.py as updates; the merged state goes on to the store and to
attributes.py. Nothing here knows about clocks, tables or sockets: `now` is an argument.

A *standing* is the time of the newest word in milliseconds, doubled, plus one where that word
took something away (an exit, a cleared name). So the larger of two standings is the one that
counts, and on equal times leaving wins: nobody is messaged after opting out. The standing of an
exit is its tombstone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from itertools import accumulate, pairwise
from typing import Final, Literal

import msgspec

from handler.domain.message import Profile

TOMBSTONE_LIFE_S: Final = 30 * 24 * 3600
"""How long an exit is remembered, in seconds: longer than a message can wait on the queue
(4 days) and in the DLQ (14 days), so that no late join can undo it."""

MAX_VALUE_BYTES: Final = 1000
"""Customer.io's limit on an attribute's value (Track API, "Person limits")."""

_STANDING_BYTES: Final = 6  # 47 bits of milliseconds reach the year 6429

Standing = int
Memberships = Mapping[int, Standing]


def standing(at_ms: int, *, gone: bool) -> Standing:
    """Return the standing of a word spoken at a time."""
    return at_ms << 1 | gone


def is_member(word: Standing) -> bool:
    """Tell whether the newest word is an entry, not an exit."""
    return not word & 1


class Identifier(msgspec.Struct, frozen=True, order=True, gc=False):
    """What Customer.io knows a person by: `id`, or `email` where there is no id."""

    # An id outranks an email, and the newest of a kind outranks the others (`set_at_ms`); the
    # fields stand in that order, so that comparing two identifiers compares their rank.
    is_id: bool
    set_at_ms: int
    value: str

    @property
    def kind(self) -> Literal["id", "email"]:
        """The name of the identifier in the Track API."""
        return "id" if self.is_id else "email"


class Update(msgspec.Struct, frozen=True):
    """What one profile of one message says of one person."""

    at_ms: int
    profile: Profile
    one_attribute_per_audience: bool = False

    @property
    def identifier(self) -> Identifier:
        """What this profile says that Customer.io knows the person by."""
        if self.profile.customer_id is not None:
            return Identifier(is_id=True, set_at_ms=self.at_ms, value=self.profile.customer_id)
        # Customer.io compares emails without regard to case, so ours have one form.
        value = (self.profile.email or "").lower()
        return Identifier(is_id=False, set_at_ms=self.at_ms, value=value)


class PersonState(msgspec.Struct, frozen=True):
    """What is kept of one person. `version` 0: nothing is kept yet.

    `set_at` holds the standings of `email`, `first_name` and `last_name`, where they ever came;
    `timestamp` is the newest one given to Customer.io with a change, in Unix seconds;
    `continuations` how many attributes `SegmentMembership 2`, `… 3` were ever sent.
    """

    version: int = 0
    timestamp: int = 0
    identifier: Identifier | None = None
    memberships: Memberships = {}
    set_at: Mapping[str, Standing] = {}
    continuations: int = 0


def person_key(site_id: str, profile: Profile) -> str:
    """Return the key of a person's item: the workspace, and a hash of the MPID, id or email.

    Without an MPID the customer id names the person, else the email in lower case.
    """
    if profile.mpid is not None:
        name = f"mpid:{profile.mpid}"
    elif profile.customer_id is not None:
        name = f"id:{profile.customer_id}"
    else:
        name = f"email:{(profile.email or '').lower()}"
    return f"{site_id}#{hashlib.sha256(name.encode()).hexdigest()}"


def merge(known: PersonState, updates: Iterable[Update], *, now: float) -> PersonState:
    """Fold updates into what is known; on each thing the newest word wins.

    Returns `known` itself when the updates say nothing new. Otherwise version and timestamp have
    gone up, and exits over 30 days old are forgotten; `now` is in Unix seconds.
    """
    memberships = dict(known.memberships)
    set_at = dict(known.set_at)
    identifier = known.identifier
    oldest_tombstone = standing(int((now - TOMBSTONE_LIFE_S) * 1000), gone=False)
    raised: set[int] = set()
    news = False
    for update in updates:
        for change in update.profile.changes:
            word = standing(update.at_ms, gone=not change.is_member)
            if word > memberships.get(change.audience_id, -1):
                memberships[change.audience_id] = word
                raised.add(change.audience_id)
        for name, value in values(update).items():
            word = standing(update.at_ms, gone=value is None)
            if word > set_at.get(name, -1):
                set_at[name] = word
                news = True
        if identifier is None or update.identifier > identifier:
            identifier = update.identifier
            news = True
    kept = {
        key: word for key, word in memberships.items() if not word & 1 or word >= oldest_tombstone
    }
    # An exit of long ago, from an audience not known, would be forgotten at once: no news.
    if not news and raised.isdisjoint(kept) and raised.isdisjoint(known.memberships):
        return known
    return PersonState(
        version=known.version + 1,
        timestamp=max(int(now), known.timestamp + 1),
        identifier=identifier,
        memberships=kept,
        set_at=set_at,
        continuations=max(known.continuations, _continuations(kept)),
    )


def renewed(known: PersonState, *, now: float) -> PersonState:
    """Return what is known as a new version, to be delivered again as of `now`, Unix seconds."""
    return msgspec.structs.replace(
        known, version=known.version + 1, timestamp=max(int(now), known.timestamp + 1)
    )


def membership_values(memberships: Memberships) -> list[str]:
    """Return the ids of all audiences the person is in, quoted, ascending, comma-separated.

    As many texts as it takes, each within Customer.io's limit on a value; one empty text for none.
    """
    quoted = [f"'{key}'" for key in sorted(k for k, word in memberships.items() if not word & 1)]
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


def values(update: Update) -> dict[str, str | None]:
    """Return the email and names that came along, by attribute name; None clears."""
    found = dict(update.profile.names)
    if update.profile.email is not None:
        found["email"] = update.profile.email
    return found


# --- the compact value ---


class _Packed(msgspec.Struct, array_like=True):
    """A state but for version and timestamp. New fields go at the end, with a default."""

    id_steps: list[int]  # ascending audience ids, each as its distance from the one before
    standings: bytes  # six bytes for each audience
    identified_at_ms: int
    continuations: int
    set_at: list[Standing]  # of the attributes below, in their order; -1: it never came


_SET_AT: Final = ("email", "first_name", "last_name")


_PACKED = msgspec.msgpack.Decoder(_Packed)


def pack(state: PersonState) -> bytes:
    """Return memberships and times as one compact value, of about 9 bytes an audience."""
    ids = sorted(state.memberships)
    return msgspec.msgpack.encode(
        _Packed(
            id_steps=[*ids[:1], *(after - before for before, after in pairwise(ids))],
            standings=b"".join(
                [state.memberships[key].to_bytes(_STANDING_BYTES, "big") for key in ids]
            ),
            identified_at_ms=state.identifier.set_at_ms if state.identifier else 0,
            continuations=state.continuations,
            set_at=[state.set_at.get(name, -1) for name in _SET_AT],
        )
    )


def unpack(packed: bytes, *, version: int, timestamp: int, identifier: str) -> PersonState:
    """Return the state that `pack` was given; `identifier` as in `identifier_text`."""
    held = _PACKED.decode(packed)
    blob = held.standings
    words = [
        int.from_bytes(blob[place : place + _STANDING_BYTES], "big")
        for place in range(0, len(blob), _STANDING_BYTES)
    ]
    kind, _, value = identifier.partition(":")
    return PersonState(
        version=version,
        timestamp=timestamp,
        identifier=Identifier(is_id=kind == "id", set_at_ms=held.identified_at_ms, value=value),
        memberships=dict(zip(accumulate(held.id_steps), words, strict=True)),
        set_at={name: word for name, word in zip(_SET_AT, held.set_at, strict=True) if word >= 0},
        continuations=held.continuations,
    )


def identifier_text(identifier: Identifier) -> str:
    """Return an identifier as the index holds it: `id:42` or `email:someone@example.com`."""
    return f"{identifier.kind}:{identifier.value}"

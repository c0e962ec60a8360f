"""Comparison: who is in an audience by a file, and who by the table. Pure.

The rows of a file come in first, then the people of the table. What differs can be sent, so that
the two agree: a difference is what an import of the file would change, and who is not in the file.
Only hashes are in memory: about 200 bytes for each row, and up to 300 for each difference.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Final

import msgspec

from handler.domain.change_messages import Change
from handler.domain.membership import PersonState, Stamp, is_member, stamp
from handler.domain.profile import Profile
from handler.domain.update import hash_in, person_key, site_id_in
from ops.change_files import Unaddressed

_DIGEST: Final = 16
"""Bytes of each hash that are kept. That two people share one is practically impossible."""

_PRESENT: Final[Stamp] = 0
"""The stamp of somebody who is in the file and cannot be sent: older than any change."""


class AudienceCounts(msgspec.Struct):
    """How many people differ in one audience.

    `missing`: in it by the file only. `extra`: by the table only. `newer`: they differ too, but
    the table has a newer change than the file, so it is right.
    """

    audience_id: int
    in_file: int = 0
    in_table: int = 0
    missing: int = 0
    extra: int = 0
    newer: int = 0

    @property
    def drift(self) -> int:
        """How many people are to be sent."""
        return self.missing + self.extra


class Comparison:
    """A file of changes and the table, for the audiences that the file names."""

    def __init__(self, site_id: str, made_ms: int, customer_id_type: str) -> None:
        """Begin with nothing.

        `made_ms` is the time of the file, in Unix milliseconds; `customer_id_type`: which identity
        is the customer id, by its type in messages.
        """
        self._site_id = site_id
        self._made_ms = made_ms
        self._customer_id_type = customer_id_type
        self._said: dict[bytes, Stamp] = {}
        self._stamps: dict[Stamp, Stamp] = {}  # one object for each, as most are the same
        self._counts: dict[bytes, AudienceCounts] = {}  # by the bytes of the audience's id
        self._matched: set[bytes] = set()
        self._drifted: dict[bytes, str] = {}  # to the hash in the key of the person's item
        self._extra: list[bytes] = []

    @property
    def counts(self) -> list[AudienceCounts]:
        """Return the result for each audience of the file, once all is read."""
        return sorted(self._counts.values(), key=lambda counts: counts.audience_id)

    def add(self, content: Change | Unaddressed) -> None:
        """Add what the file says of one person; of two rows the newer one counts."""
        if isinstance(content, Change):
            said = stamp(content.at_ms, removed=not content.is_member)
        elif content.mpid is not None:
            said = _PRESENT
        else:
            return
        audience = _bytes(content.audience_id)
        self._counts.setdefault(audience, AudienceCounts(content.audience_id))
        place = self._digest(content) + audience
        if said > self._said.get(place, -1):
            self._said[place] = self._stamps.setdefault(said, said)

    def compare(self, key: str, state: PersonState) -> None:
        """Compare one person of the table with the file, after all rows were added."""
        if site_id_in(key) != self._site_id:
            return
        person_hash = hash_in(key)
        digests = [bytes.fromhex(person_hash)[:_DIGEST]]
        if state.identifier is not None:
            # A row without an MPID names the person only so.
            digests.append(hashlib.sha256(state.identifier.text.encode()).digest()[:_DIGEST])
        for audience, counts in self._counts.items():
            places = [digest + audience for digest in digests if digest + audience in self._said]
            self._matched.update(places)
            place = max(places, key=self._said.__getitem__, default=None)
            self._compare(place, person_hash, audience, counts, state)

    def _compare(
        self,
        place: bytes | None,
        person_hash: str,
        audience: bytes,
        counts: AudienceCounts,
        state: PersonState,
    ) -> None:
        newest = state.memberships.get(counts.audience_id, -1)
        is_in = newest >= 0 and is_member(newest)
        counts.in_table += is_in
        said = stamp(self._made_ms, removed=True) if place is None else self._said[place]
        if is_member(said) == is_in or said == _PRESENT:
            return
        if said < newest or said >> 1 <= state.erased_at_ms:
            counts.newer += 1
            return
        if is_in:
            counts.extra += 1
        else:
            counts.missing += 1
        if place is None:
            self._extra.append(bytes.fromhex(person_hash) + audience)
        else:
            self._drifted[place] = person_hash

    def finish(self) -> None:
        """Count whom the table does not have, after all its people were compared."""
        for place, said in self._said.items():
            counts = self._counts[place[_DIGEST:]]
            counts.in_file += is_member(said)
            if is_member(said) and said != _PRESENT and place not in self._matched:
                counts.missing += 1

    def difference(self, content: Change | Unaddressed) -> Change | None:
        """Return the change to send for a row of the file, if there is a difference."""
        if not isinstance(content, Change):
            return None
        place = self._digest(content) + _bytes(content.audience_id)
        if self._said.get(place) != stamp(content.at_ms, removed=not content.is_member):
            return None  # an older row of the same person, or a row that was added meanwhile
        if place in self._drifted:
            named = content.mpid is not None or content.person_hash is not None
            # Without an MPID, only the table knows the key.
            person_hash = content.person_hash if named else self._drifted[place]
            return msgspec.structs.replace(content, person_hash=person_hash)
        return content if content.is_member and place not in self._matched else None

    def extra(self) -> Iterator[tuple[str, int]]:
        """Yield the keys of people whom only the table has, each with an audience."""
        for each in self._extra:
            person_hash, audience = each[:32].hex(), each[32:]
            yield f"{self._site_id}#{person_hash}", self._counts[audience].audience_id

    def exit_of(self, key: str, audience_id: int, name: str, state: PersonState) -> Change | None:
        """Return the exit to send for a person whom only the table has, unless they have left."""
        newest = state.memberships.get(audience_id, -1)
        identifier = state.identifier
        latest = stamp(self._made_ms, removed=True)
        if identifier is None or not (0 <= newest < latest and is_member(newest)):
            return None
        return Change(
            self._made_ms,
            audience_id,
            name,
            is_member=False,
            identities={self._customer_id_type if identifier.is_id else "email": identifier.value},
            person_hash=hash_in(key),
        )

    def _digest(self, content: Change | Unaddressed) -> bytes:
        if isinstance(content, Unaddressed):
            profile = Profile(content.mpid, None, None, (), {})
        else:
            customer_id = content.identities.get(self._customer_id_type)
            email = content.identities.get("email")
            profile = Profile(content.mpid, customer_id, email, (), {}, content.person_hash)
        key = person_key(self._site_id, profile)
        return bytes.fromhex(hash_in(key))[:_DIGEST]


def _bytes(audience_id: int) -> bytes:
    return audience_id.to_bytes(8, "big", signed=True)

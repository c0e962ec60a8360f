"""People: what the table holds of a person, what a resync would send of them, and erasing it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from handler.customerio import wire
from handler.domain.attributes import build_person, former_persons
from handler.domain.audience_attributes import AudienceAttributes
from handler.domain.membership import PersonState
from handler.domain.profile import Profile
from handler.domain.update import Identifier, person_key, site_id_in
from handler.errors import ForwarderError
from handler.table.people import People
from ops.stack import NO_DEADLINE
from ops.table import opened

if TYPE_CHECKING:
    from ops.stack import Aws, Stack

NOBODY: Final = "The table has no such person."
READING_ALL: Final = (
    "Nobody has this identifier now. Reading the whole table for people who had it before."
)


@dataclass(frozen=True, slots=True)
class StoredPerson:
    """A person's item in the table."""

    key: str
    state: PersonState

    @property
    def site_id(self) -> str:
        """The Customer.io workspace that the item belongs to."""
        return site_id_in(self.key)


@dataclass(frozen=True, slots=True)
class Query:
    """The person to find. Exactly one of the three is set."""

    customer_id: str | None = None
    email: str | None = None
    mpid: int | None = None

    def keys(self, site_ids: Iterable[str]) -> list[str]:
        """Return the keys that the person's item would have in each workspace."""
        profile = Profile(self.mpid, self.customer_id, self.email, changes=(), attributes={})
        return [person_key(site_id, profile) for site_id in site_ids]

    @property
    def identifier(self) -> Identifier | None:
        """The person's identifier in Customer.io; None for an MPID, which Customer.io lacks."""
        if self.customer_id is not None:
            return Identifier(is_id=True, set_at_ms=0, value=self.customer_id)
        if self.email is not None:
            return Identifier(is_id=False, set_at_ms=0, value=self.email.lower())
        return None


def find(
    aws: Aws, stack: Stack, query: Query, site_ids: Iterable[str], *, former: bool = False
) -> list[StoredPerson]:
    """Return every item of this person in these workspaces, but for those that are erased.

    With `former`, return the items of people who had the identifier before. This reads the whole
    table.
    """
    with opened(aws, stack) as table:
        keys = _keys(table.people, query, sorted(set(site_ids)), former=former)
        states = table.people.load(keys, consistent=True, deadline=NO_DEADLINE)
    stored = []
    for key, state in states.items():
        if isinstance(state, ForwarderError):
            raise state
        if state.identifier is not None:
            stored.append(StoredPerson(key, state))
    return stored


def delete(aws: Aws, stack: Stack, key: str) -> None:
    """Delete the item of a made-up person."""
    with opened(aws, stack) as table:
        table.people.delete(key)


def _keys(people: People, query: Query, site_ids: Sequence[str], *, former: bool) -> list[str]:
    identifier = query.identifier
    if former:
        keys_before = (
            people.formerly_known_as(identifier, deadline=NO_DEADLINE) if identifier else ()
        )
        return [key for key in keys_before if site_id_in(key) in site_ids]
    keys = dict.fromkeys(query.keys(site_ids))
    if identifier is None:
        return list(keys)
    wanted = [(site_id, identifier) for site_id in site_ids]
    for answer in people.known_as(wanted, deadline=NO_DEADLINE).values():
        if isinstance(answer, ForwarderError):
            raise answer
        keys |= dict.fromkeys(answer)
    return list(keys)


def would_be_sent(state: PersonState, audiences: AudienceAttributes) -> list[Any]:
    """Return the entities that a resync of this person would send; none if they were erased.

    Emails, names and mapped attributes are missing, as the table does not keep them. The function
    would use the time of the request as timestamp.
    """
    if state.identifier is None:
        return []
    all_audiences = audiences.options.one_attribute_per_audience
    person = build_person(state, [], audiences, all_audiences=all_audiences)
    former = former_persons(state, [], audiences, single_audiences=all_audiences)
    persons = [person, *former]
    return [msgspec.json.decode(entity.body) for each in persons for entity in wire.entities(each)]

"""Attributes: what is sent to Customer.io for a person, from their state and new updates.

States come from membership.py; persons go on to customerio. Customer.io's limits on names and
values are applied here, those on counts and sizes in customerio/wire.py. No limit fails a person.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from handler.domain.audience_attributes import AudienceAttributes
from handler.domain.events import Event
from handler.domain.membership import (
    MAX_VALUE_BYTES,
    PersonState,
    is_member,
    membership_values,
    stamp,
)
from handler.domain.options import DeliveryOptions
from handler.domain.profile import AttributeValue, MembershipChange
from handler.domain.update import Identifier, Update

MEMBERSHIP: Final = "SegmentMembership"

Attributes = Mapping[str, AttributeValue | None]


class Person(msgspec.Struct, frozen=True):
    """One person to send to Customer.io; an attribute that is None is removed.

    `overflowing`: the membership list did not fit one value. `attributes_left_out`: how many user
    attributes have a name or value that Customer.io cannot hold. `audience_count`: audiences in
    the state that have an attribute of their own; 0 without one attribute per audience.
    `dotted_audiences`: ids of the audiences whose attribute has a dot in its name. `update_only`:
    Customer.io creates nobody. `events` are sent after the attributes.
    """

    identifier: Identifier
    timestamp: int
    attributes: Attributes
    overflowing: bool = False
    attributes_left_out: int = 0
    audience_count: int = 0
    dotted_audiences: tuple[int, ...] = ()
    update_only: bool = False
    events: Sequence[Event] = ()


def build_person(
    state: PersonState,
    updates: Sequence[Update],
    audiences: AudienceAttributes,
    *,
    predecessors: Sequence[Update] = (),
    all_audiences: bool = False,
    events: Sequence[Event] = (),
) -> Person:
    """Return the person to send, from their state and the new updates.

    Values come from the updates, as the state keeps only their times. A value is left out if the
    state has a newer time for it.
    `predecessors` are updates of people who had the identifier before: the attributes of their
    audiences are sent as well. `all_audiences`: so are those of all audiences in the state.
    """
    identifier = _identifier(state)
    lists = membership_values(state.memberships)
    attributes = _numbered(lists, state.continuations)
    changes = _with_attributes((*updates, *predecessors))
    if all_audiences:
        changes += audiences.named(state.memberships)
    dotted: set[int] = set()
    if changes:
        attributes |= audiences.of(state.memberships, changes)
        dotted = {each.audience_id for each in changes if "." in audiences.name(each)}
    # The state keeps the times of a limited number of attributes.
    untimed = {name for update in updates for name in update.values if name not in state.set_at}
    left_out = len(untimed) + sum([each.left_out for each in updates])
    for name, value in _current_values(state, updates).items():
        if name == "email" and not identifier.is_id:
            continue
        if _fits(value):
            attributes[name] = value
        else:
            left_out += 1
    return Person(
        identifier=identifier,
        timestamp=state.timestamp,
        attributes=attributes,
        overflowing=len(lists) > 1,
        attributes_left_out=left_out,
        audience_count=_audience_count(state, audiences.options) if changes else 0,
        dotted_audiences=tuple(sorted(dotted)),
        update_only=not audiences.options.create_people,
        events=events,
    )


def introduction(state: PersonState, person: Person) -> Person | None:
    """Return what adds a person's id to the person whom Customer.io has under the former email.

    It must arrive before `person`. None if `person` has that email, or there is no former email.
    The timestamp is the oldest that Customer.io accepts, so it overwrites no newer email.
    """
    former = _former_email(state)
    if former is None or person.attributes.get("email") == former.value:
        return None
    attributes = {"email": former.value}
    timestamp = state.former[former] + 1
    return Person(person.identifier, timestamp, attributes, update_only=person.update_only)


def former_persons(
    state: PersonState,
    updates: Iterable[Update],
    audiences: AudienceAttributes,
    *,
    single_audiences: bool,
) -> list[Person]:
    """Return what clears the audiences of people whom Customer.io has under former identifiers.

    `single_audiences`: attributes of single audiences are cleared, too.
    Nobody is created. The timestamp is one second after the newest one sent with the identifier:
    newer than the posts before the change of identifier, and older than the posts of the
    identifier's next owner, or of this person if Customer.io has merged both identifiers.
    """
    cleared = _numbered([""], state.continuations)
    if single_audiences:
        cleared |= dict.fromkeys(_attributes_ever_sent(state, updates, audiences))
    return [
        Person(each, last + 1, cleared, update_only=True) for each, last in state.former.items()
    ]


def _identifier(state: PersonState) -> Identifier:
    if state.identifier is None:
        message = "a person without an identifier cannot be delivered"
        raise ValueError(message)
    return state.identifier


def _former_email(state: PersonState) -> Identifier | None:
    """Return the newest former email of a person with an id."""
    if not _identifier(state).is_id:
        return None
    return next((former for former in reversed(list(state.former)) if not former.is_id), None)


def _numbered(lists: Sequence[str], continuations: int) -> dict[str, AttributeValue | None]:
    """Name the parts of the membership list, and clear the continuations no longer needed."""
    attributes: dict[str, AttributeValue | None] = {MEMBERSHIP: lists[0]}
    for place in range(1, max(len(lists), continuations + 1)):
        name = f"{MEMBERSHIP} {place + 1}"
        attributes[name] = lists[place] if place < len(lists) else None
    return attributes


def _audience_count(state: PersonState, options: DeliveryOptions) -> int:
    if options.clear_on_exit:
        return sum(map(is_member, state.memberships.values()))
    return len(state.memberships)


def _with_attributes(updates: Iterable[Update]) -> list[MembershipChange]:
    """Return the changes whose audiences have an attribute each."""
    return [
        change
        for update in updates
        if update.one_attribute_per_audience
        for change in update.changes
    ]


def _attributes_ever_sent(
    state: PersonState, updates: Iterable[Update], audiences: AudienceAttributes
) -> Iterator[str]:
    """Yield the attributes of audiences that the person may have, for all known names."""
    changes = _with_attributes(updates)
    for change in changes:
        yield audiences.name(change)
    for audience_id in {*state.memberships, *(change.audience_id for change in changes)}:
        yield from audiences.all_names(audience_id)


def _current_values(
    state: PersonState, updates: Iterable[Update]
) -> dict[str, AttributeValue | None]:
    current: dict[str, AttributeValue | None] = {}
    for update in updates:
        for name, value in update.values.items():
            newest = stamp(update.at_ms, removed=value is None)
            if newest == state.set_at.get(name):
                # Of values with equal times, choose the same one in any order.
                is_tie = name in current
                current[name] = (
                    max(value, current[name], key=msgspec.json.encode) if is_tie else value
                )
    return current


def _fits(value: AttributeValue | None) -> bool:
    encoded = value.encode() if isinstance(value, str) else msgspec.json.encode(value)
    return len(encoded) <= MAX_VALUE_BYTES

"""Attributes: what a person carries in Customer.io, from their state and what came along.

States come from membership.py; persons go on to customerio. Customer.io's limits on names and
values are met here, on counts and sizes in customerio/wire.py. Nothing here fails a person.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from handler.domain.membership import (
    MAX_VALUE_BYTES,
    PersonState,
    is_member,
    membership_values,
    stamp,
)
from handler.domain.options import AttributeOptions
from handler.domain.profile import MembershipChange
from handler.domain.update import Identifier, Update

MAX_NAME_BYTES: Final = 150
"""Customer.io's limit on an attribute's name (Track API, "Person limits")."""

MEMBERSHIP: Final = "SegmentMembership"

Attributes = Mapping[str, str | bool | None]


class Person(msgspec.Struct, frozen=True):
    """One person as Customer.io is to hold them; an attribute that is None is to be removed.

    `overflowing`: the membership list did not fit one value; `names_left_out`: names too long;
    `audience_count`: audiences that take an attribute, as far as the state remembers them; 0
    without one attribute per audience; `dotted_audiences`: ids of the audiences whose attribute
    has a dot in its name; `update_only`: nobody is created.
    """

    identifier: Identifier
    timestamp: int
    attributes: Attributes
    overflowing: bool = False
    names_left_out: int = 0
    audience_count: int = 0
    dotted_audiences: tuple[int, ...] = ()
    update_only: bool = False


def build_person(
    state: PersonState,
    updates: Sequence[Update],
    options: AttributeOptions,
    *,
    predecessors: Sequence[Update] = (),
) -> Person:
    """Return the person as their state and the updates at hand say.

    Values come from the updates, as the state keeps only their times; one that is older than the
    newest that ever came is left out.
    `predecessors` are updates of who had the identifier before: the audiences that they name are
    stated as well.
    """
    identifier = _identifier(state)
    lists = membership_values(state.memberships)
    attributes: dict[str, str | bool | None] = dict(_numbered(lists, state.continuations))
    changes = [
        change
        for update in (*updates, *predecessors)
        if update.one_attribute_per_audience
        for change in update.changes
    ]
    dotted: set[int] = set()
    for change in changes:
        name = _audience_attribute(change, options)
        if "." in name:
            dotted.add(change.audience_id)
        # Of audiences that share a name, one is enough.
        if _is_in(state, change.audience_id) or attributes.get(name) is True:
            attributes[name] = True
        else:
            attributes[name] = None if options.clear_on_exit else False
    current = _current_values(state, updates)
    if not identifier.is_id:
        current.pop("email", None)
    fitting = {name: value for name, value in current.items() if _fits(value)}
    return Person(
        identifier=identifier,
        timestamp=state.timestamp,
        attributes={**attributes, **fitting},
        overflowing=len(lists) > 1,
        names_left_out=len(current) - len(fitting),
        audience_count=_audience_count(state, options) if changes else 0,
        dotted_audiences=tuple(sorted(dotted)),
    )


def introduction(state: PersonState, person: Person) -> Person | None:
    """Return what gives a person's id to whoever Customer.io has under their former email.

    It must arrive before the person. None if the person carries that email, or had none. The
    timestamp is the oldest that Customer.io takes, so it overwrites no newer email.
    """
    former = _former_email(state)
    if former is None or person.attributes.get("email") == former.value:
        return None
    return Person(person.identifier, state.former[former] + 1, {"email": former.value})


def former_persons(
    state: PersonState,
    former: Mapping[Identifier, int],
    updates: Iterable[Update],
    options: AttributeOptions,
) -> list[Person]:
    """Return what empties the lists of whoever Customer.io has under former identifiers.

    `former` has the newest timestamp given under each. Nobody is created. The timestamp is one
    second after that: newer than what was posted of this person, and older than what is posted of
    whoever gets the identifier, or of this person if Customer.io has given the new one to them.
    """
    lists = dict(_numbered([""], state.continuations))
    known = {
        _audience_attribute(change, options): None
        for update in updates
        if update.one_attribute_per_audience
        for change in update.changes
    }
    return [
        Person(each, last + 1, {**lists, **known}, update_only=True)
        for each, last in former.items()
    ]


def _identifier(state: PersonState) -> Identifier:
    if state.identifier is None:
        message = "a person without an identifier cannot be delivered"
        raise ValueError(message)
    return state.identifier


def _former_email(state: PersonState) -> Identifier | None:
    """Return the newest email that somebody with an id was known by before."""
    if not _identifier(state).is_id:
        return None
    return next((former for former in reversed(list(state.former)) if not former.is_id), None)


def _numbered(lists: Sequence[str], continuations: int) -> Iterable[tuple[str, str | None]]:
    """Name the parts of the membership list, and clear the continuations no longer needed."""
    for place in range(max(len(lists), continuations + 1)):
        name = MEMBERSHIP if place == 0 else f"{MEMBERSHIP} {place + 1}"
        yield name, lists[place] if place < len(lists) else None


def _audience_count(state: PersonState, options: AttributeOptions) -> int:
    if options.clear_on_exit:
        return sum(map(is_member, state.memberships.values()))
    return len(state.memberships)


def _is_in(state: PersonState, audience_id: int) -> bool:
    newest = state.memberships.get(audience_id)
    return newest is not None and is_member(newest)


def _audience_attribute(change: MembershipChange, options: AttributeOptions) -> str:
    name = change.audience_name
    if options.dot_replacement is not None:
        name = name.replace(".", options.dot_replacement)
    return attribute_name(f"In {name}", change.audience_id)


def attribute_name(name: str, audience_id: int) -> str:
    """Return a name that Customer.io can hold: a longer one is cut and ends in the audience's id.

    It is cut between characters, and stays unique and the same each time.
    """
    encoded = name.encode()
    if len(encoded) <= MAX_NAME_BYTES:
        return name
    ending = f" ({audience_id})"
    return encoded[: MAX_NAME_BYTES - len(ending)].decode(errors="ignore") + ending


def _current_values(state: PersonState, updates: Iterable[Update]) -> dict[str, str | None]:
    current: dict[str, str | None] = {}
    for update in updates:
        for name, value in update.values.items():
            newest = stamp(update.at_ms, removed=value is None)
            # Two values of one time: the larger, so that the order they came in does not matter.
            if newest == state.set_at.get(name) and (
                value is None or value >= (current.get(name) or "")
            ):
                current[name] = value
    return current


def _fits(value: str | None) -> bool:
    return value is None or len(value.encode()) <= MAX_VALUE_BYTES

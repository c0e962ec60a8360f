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
    Identifier,
    PersonState,
    Update,
    is_member,
    membership_values,
    standing,
    values,
)

MAX_NAME_BYTES: Final = 150
"""Customer.io's limit on an attribute's name (Track API, "Person limits")."""

MEMBERSHIP: Final = "SegmentMembership"

Attributes = Mapping[str, str | bool | None]


class Person(msgspec.Struct, frozen=True):
    """One person as Customer.io is to hold them; an attribute that is None is to be removed.

    `overflowing`: the membership list did not fit one value; `names_left_out`: names too long;
    `update_only`: nobody is created.
    """

    identifier: Identifier
    timestamp: int
    attributes: Attributes
    overflowing: bool
    names_left_out: int
    update_only: bool = False


def person(state: PersonState, updates: Sequence[Update], *, timestamp: int) -> Person:
    """Return the person as their state and the updates at hand say; `timestamp` in Unix seconds.

    Values come from the updates, as the state keeps only their times; one that is older than the
    newest that ever came is left out.
    """
    if state.identifier is None:
        message = "a person nobody has named cannot be delivered"
        raise ValueError(message)
    lists = membership_values(state.memberships)
    attributes: dict[str, str | bool | None] = dict(_numbered(lists, state.continuations))
    for update in updates:
        if update.one_attribute_per_audience:
            for name, is_in in _one_for_each(state, update):
                # Of audiences that share a name, one is enough.
                attributes[name] = is_in or attributes.get(name) is True
    current = _current_values(state, updates)
    if not state.identifier.is_id:
        current.pop("email", None)
    fitting = {name: value for name, value in current.items() if _fits(value)}
    return Person(
        identifier=state.identifier,
        timestamp=timestamp,
        attributes={**attributes, **fitting},
        overflowing=len(lists) > 1,
        names_left_out=len(current) - len(fitting),
    )


def _numbered(lists: Sequence[str], continuations: int) -> Iterable[tuple[str, str | None]]:
    """Name the parts of the membership list, and clear the continuations no longer needed."""
    for place in range(max(len(lists), continuations + 1)):
        name = MEMBERSHIP if place == 0 else f"{MEMBERSHIP} {place + 1}"
        yield name, lists[place] if place < len(lists) else None


def _one_for_each(state: PersonState, update: Update) -> Iterable[tuple[str, bool]]:
    for change in update.profile.changes:
        word = state.memberships.get(change.audience_id)
        name = attribute_name(f"In {change.audience_name}", change.audience_id)
        yield name, word is not None and is_member(word)


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
        for name, value in values(update).items():
            word = standing(update.at_ms, gone=value is None)
            # Two values of one time: the larger, so that the order they came in does not matter.
            if word == state.set_at.get(name) and (
                value is None or value >= (current.get(name) or "")
            ):
                current[name] = value
    return current


def _fits(value: str | None) -> bool:
    return value is None or len(value.encode()) <= MAX_VALUE_BYTES

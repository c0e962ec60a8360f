"""Search: finds people by a part of an identifier, or by an audience that they are in.

An audience is found by its whole id, as `SegmentMembership` has it in quotes, or by a part of its
name, as `In <audience name>` has it.
"""

from __future__ import annotations

from collections.abc import Sequence

from local.fake_customerio.people import PersonRecord


def matching(people: Sequence[PersonRecord], search: str) -> Sequence[PersonRecord]:
    """Return the people that the search finds, those with exactly this identifier at the end."""
    text = search.strip().lower()
    if not text:
        return people
    found = [person for person in people if _is_found(person, text)]
    return sorted(found, key=lambda person: text in _identifiers(person))


def _is_found(person: PersonRecord, text: str) -> bool:
    return any(text in identifier for identifier in _identifiers(person)) or _is_in_audience(
        person, text
    )


def _identifiers(person: PersonRecord) -> list[str]:
    return [value.lower() for value in person.identifiers.values()]


def _is_in_audience(person: PersonRecord, text: str) -> bool:
    # A plain loop: the page searches all people every second.
    audience_id = f"'{text}'"
    for name, value in person.attributes.items():
        if value is True:
            if name.startswith("In ") and text in name.lower():
                return True
        elif isinstance(value, str) and audience_id in value:
            return True
    return False

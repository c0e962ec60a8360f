"""Removals: who was deleted or suppressed, and which identifiers nobody may have again.

People come in from people.py, which asks here before it applies an update.
A deletion blocks nothing: it is only remembered, for the page, until the person is back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum


class Removal(StrEnum):
    """How a person was removed."""

    DELETED = "deleted"
    SUPPRESSED = "suppressed"


@dataclass(frozen=True, slots=True)
class RemovedPerson:
    """One person who was removed, by all identifiers that were known."""

    site_id: str
    identifiers: Mapping[str, str]
    removal: Removal


class Removals:
    """The removed people of all workspaces, the last removed at the end."""

    def __init__(self) -> None:
        """Start with nobody."""
        self._people: dict[tuple[str, str, str], RemovedPerson] = {}

    def add(self, person: RemovedPerson) -> None:
        """Remember that this person was removed."""
        self.forget(person.site_id, person.identifiers)
        self._people |= dict.fromkeys(_keys(person.site_id, person.identifiers), person)

    def forget(self, site_id: str, identifiers: Mapping[str, str]) -> None:
        """Forget the removals of whoever has one of these identifiers, under all identifiers."""
        for key in _keys(site_id, identifiers):
            if person := self._people.get(key):
                for known in _keys(site_id, person.identifiers):
                    if self._people.get(known) is person:
                        del self._people[known]

    def is_suppressed(self, site_id: str, kind: str, value: str) -> bool:
        """Tell whether nobody may have this identifier."""
        person = self._people.get(identifier_key(site_id, kind, value))
        return person is not None and person.removal is Removal.SUPPRESSED

    def people(self) -> list[RemovedPerson]:
        """Return everybody who is removed now."""
        return list({id(person): person for person in self._people.values()}.values())


def identifier_key(site_id: str, kind: str, value: str) -> tuple[str, str, str]:
    """Return what an identifier is compared by: case does not matter in an email address."""
    return site_id, kind, value.lower() if kind == "email" else value


def _keys(site_id: str, identifiers: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    for kind, value in identifiers.items():
        yield identifier_key(site_id, kind, value)

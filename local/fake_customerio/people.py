"""People: what Customer.io knows of each person, and how an update changes it.

Entities come in from track.py, which has checked their limits.

If the documentation does not say what happens, the fake does this:

* An update that is older than the person's newest update is ignored, as users of the real API
  report. With `Ordering.ATTRIBUTES` it sets the attributes that no newer update has set.
* An update without a timestamp is applied, and does not change the person's newest timestamp.
* The attributes `id` and `email` are identifiers too. A value that belongs to another person is
  dropped, and the rest of the update applied.
* If an update has an unknown id and the email of a known person, it updates that person, who gets
  the new id.
* An update or an event of an unknown `cio_id` is ignored. Any other event of an unknown person
  creates the person.
* An event whose id was taken before, of whomever in the workspace, is ignored.
* A deletion blocks nothing, and no timestamp delays or prevents it: the next update creates the
  person anew.
* Suppressing a person deletes it and suppresses its id and its email. Whatever names a suppressed
  identifier is ignored; a suppressed value among the attributes is dropped, and the rest applied.
* Unsuppressing one of a person's identifiers unsuppresses the other too, and brings nobody back.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Literal

import msgspec

from local.fake_customerio.removals import Removal, Removals, RemovedPerson, identifier_key

_NAMES = ("id", "email")


class Ordering(StrEnum):
    """What timestamps put in order."""

    UPDATES = "updates"
    """An older update changes nothing."""
    ATTRIBUTES = "attributes"
    """An older update sets attributes that no newer one has set or removed."""


class Entity(msgspec.Struct, frozen=True):
    """One change or event of one person, as in the v2 API; `name` and `id` are an event's."""

    type: Literal["person"]
    action: Literal["identify", "delete", "suppress", "unsuppress", "event"]
    identifiers: dict[str, str]
    attributes: dict[str, Any] = {}
    timestamp: int | None = None
    name: str = ""
    id: str | None = None


@dataclass(frozen=True, slots=True)
class EventRecord:
    """One event of a person."""

    name: str
    id: str | None
    timestamp: int | None
    attributes: dict[str, Any]


@dataclass(frozen=True, slots=True)
class PersonRecord:
    """One person."""

    site_id: str
    identifiers: dict[str, str]
    attributes: dict[str, Any] = field(default_factory=dict)
    timestamp: int | None = None
    updates: int = 0
    cio_id: str = field(default="", compare=False)
    set_at: dict[str, int] = field(default_factory=dict, compare=False)
    """The timestamp with which each attribute was last set or removed."""
    events: tuple[EventRecord, ...] = ()
    """In the order in which they arrived."""


class People:
    """The people of all workspaces, the last updated at the end."""

    def __init__(self, ordering: Ordering = Ordering.UPDATES) -> None:
        """Start with nobody."""
        self.ordering = ordering
        self.removals = Removals()
        self._records: dict[str, PersonRecord] = {}
        self._known_as: dict[tuple[str, str, str], str] = {}
        self._event_ids: set[tuple[str, str]] = set()
        self._numbers = itertools.count(1)

    def apply(self, site_id: str, entity: Entity) -> None:
        """Apply one change or event; an older change or a double is ignored without an error."""
        if entity.action == "unsuppress":
            self.removals.forget(site_id, entity.identifiers)
            return
        if any(self._is_suppressed(site_id, *name) for name in entity.identifiers.items()):
            return
        known = self._find(site_id, entity)
        match entity.action:
            case "event":
                self._add_event(site_id, entity, known)
            case "delete":
                self._remove(site_id, entity, known, Removal.DELETED)
            case "suppress":
                self._remove(site_id, entity, known, Removal.SUPPRESSED)
            case _:
                self._identify(site_id, entity, known)

    def _identify(self, site_id: str, entity: Entity, known: PersonRecord | None) -> None:
        if known is None and ("cio_id" in entity.identifiers or entity.attributes.get("_update")):
            return
        person = known or self._add(site_id)
        newest = self._in_order(entity, person)
        if newest is None:
            return
        names = _names(newest)
        free = {
            kind: value
            for kind, value in names.items()
            if self._owner(site_id, kind, value) in (None, person.cio_id)
            and not self._is_suppressed(site_id, kind, value)
        }
        changes = {
            name: value
            for name, value in newest.attributes.items()
            if name != "_update" and (name in free or name not in names)
        }
        self._forget(person)
        self._keep(_updated(person, free, changes, newest.timestamp))

    def _add_event(self, site_id: str, entity: Entity, known: PersonRecord | None) -> None:
        if known is None and "cio_id" in entity.identifiers:
            return
        if entity.id is not None:
            event_id = site_id, entity.id.upper()
            if event_id in self._event_ids:
                return
            self._event_ids.add(event_id)
        person = known or replace(self._add(site_id), identifiers=entity.identifiers)
        event = EventRecord(entity.name, entity.id, entity.timestamp, entity.attributes)
        self._forget(person)
        self._keep(replace(person, events=(*person.events, event)))

    def _remove(
        self, site_id: str, entity: Entity, known: PersonRecord | None, removal: Removal
    ) -> None:
        if known:
            self._forget(known)
        if known or removal is Removal.SUPPRESSED:
            identifiers = known.identifiers if known else entity.identifiers
            self.removals.add(RemovedPerson(site_id, identifiers, removal))

    def _is_suppressed(self, site_id: str, kind: str, value: str) -> bool:
        return self.removals.is_suppressed(site_id, kind, value)

    def _in_order(self, entity: Entity, person: PersonRecord) -> Entity | None:
        """Return the part of an update that is not outdated; None if all of it is."""
        if not _is_older(entity.timestamp, person.timestamp):
            return entity
        if self.ordering is Ordering.UPDATES:
            return None
        newest = {
            name: value
            for name, value in entity.attributes.items()
            if name != "_update" and not _is_older(entity.timestamp, person.set_at.get(name))
        }
        return msgspec.structs.replace(entity, attributes=newest) if newest else None

    def find(self, site_id: str | None = None) -> list[PersonRecord]:
        """Return the people of one workspace, or of all."""
        return [record for record in self._records.values() if site_id in (None, record.site_id)]

    def _find(self, site_id: str, entity: Entity) -> PersonRecord | None:
        names = dict(entity.identifiers)
        if "cio_id" not in names and entity.action == "identify":
            names |= _names(entity)
        owners = (self._owner(site_id, *name) for name in names.items())
        return next((self._records[owner] for owner in owners if owner), None)

    def _owner(self, site_id: str, kind: str, value: str) -> str | None:
        return self._known_as.get(identifier_key(site_id, kind, value))

    def _add(self, site_id: str) -> PersonRecord:
        return PersonRecord(site_id, identifiers={}, cio_id=f"c10{next(self._numbers):06x}")

    def _keep(self, person: PersonRecord) -> None:
        self._records[person.cio_id] = person
        self.removals.forget(person.site_id, person.identifiers)
        self._known_as |= dict.fromkeys(_keys(person), person.cio_id)

    def _forget(self, person: PersonRecord) -> None:
        self._records.pop(person.cio_id, None)
        for key in _keys(person):
            self._known_as.pop(key, None)


def _updated(
    person: PersonRecord,
    names: Mapping[str, str],
    changes: Mapping[str, Any],
    timestamp: int | None,
) -> PersonRecord:
    identifiers = {**person.identifiers, **names}
    attributes = {**person.attributes, **changes}
    cleared = {name for name, value in changes.items() if value is None}
    return replace(
        person,
        identifiers={kind: identifiers[kind] for kind in identifiers if kind not in cleared},
        attributes={name: attributes[name] for name in attributes if name not in cleared},
        timestamp=max((t for t in (person.timestamp, timestamp) if t is not None), default=None),
        updates=person.updates + 1,
        set_at=person.set_at
        if timestamp is None
        else person.set_at | dict.fromkeys(changes, timestamp),
    )


def _names(entity: Entity) -> dict[str, str]:
    stated = entity.attributes | entity.identifiers
    return {kind: stated[kind] for kind in _NAMES if isinstance(stated.get(kind), str)}


def _keys(person: PersonRecord) -> Iterator[tuple[str, str, str]]:
    for kind, value in (person.identifiers | {"cio_id": person.cio_id}).items():
        yield identifier_key(person.site_id, kind, value)


def _is_older(timestamp: int | None, newest: int | None) -> bool:
    return timestamp is not None and newest is not None and timestamp < newest

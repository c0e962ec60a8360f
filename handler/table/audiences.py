"""Audiences: the catalogue of audiences of each workspace, as one item of the table.

people.py reads catalogues, or their versions, together with people. Updates come in from jobs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from typing import Final

import msgspec

from handler.clock import Deadline, Now
from handler.domain.audience import AudienceUpdate, Catalogue, pack_catalogue, unpack_catalogue
from handler.errors import OutOfTimeError, RetryableError, VersionConflictError
from handler.table.items import Item, Items, parsed
from handler.table.keys import catalogue_key

TTL_S: Final = 60
"""How long a catalogue is used before it is read again, in seconds."""

FULL_BYTES: Final = 380_000
"""A catalogue as large as this takes no more audiences; some 8,000 fit."""

MAX_BYTES: Final = 400_000
"""A full catalogue takes names of its audiences up to this: DynamoDB's limit is 409,600 bytes."""


class _Known(msgspec.Struct, frozen=True):
    catalogue: Catalogue | RetryableError
    read_at: float
    is_full: bool = False


class Audiences:
    """The catalogues. Safe to use from several threads."""

    def __init__(self, items: Items, *, now: Now, on_full: Callable[[int], None]) -> None:
        """Begin empty; `on_full` gets the number of audiences that a full catalogue would have."""
        self._items = items
        self._now = now
        self._on_full = on_full
        self._known: dict[str, _Known] = {}

    def of(self, site_id: str) -> Catalogue:
        """Return a workspace's catalogue as it was last read. Raises why it was not read."""
        known = self._known.get(site_id)
        if known is None:
            return Catalogue()
        if isinstance(known.catalogue, RetryableError):
            raise known.catalogue.with_traceback(None)
        return known.catalogue

    def learn(
        self, site_id: str, updates: Collection[AudienceUpdate], *, deadline: Deadline
    ) -> None:
        """Store what is new about audiences. Raises a RetryableError if that fails."""
        if self._readable(site_id) is None:
            self._read(site_id, deadline)
        failure: RetryableError = OutOfTimeError("no time left to write the catalogue")
        for _ in self._items.rounds(deadline):
            catalogue = self.of(site_id)
            learned = self._learned(site_id, catalogue, updates)
            if learned is catalogue:
                return
            match self._save(site_id, learned, deadline):
                case None:
                    return
                case VersionConflictError() as failure:
                    self._read(site_id, deadline)
                case error:
                    raise error
        raise failure

    def outdated(self, site_ids: Collection[str]) -> dict[str, str]:
        """Return the workspaces whose catalogue must be read, by the key of its item."""
        oldest = self._now() - TTL_S
        return {
            catalogue_key(site_id): site_id
            for site_id in site_ids
            if site_id not in self._known or self._known[site_id].read_at < oldest
        }

    def remember(self, site_id: str, item: Item | RetryableError | None) -> None:
        """Remember a workspace's catalogue that was read, unless the known one is as new."""
        read = _catalogue(item)
        known = self._readable(site_id)
        # For the same version, keep the same object, as callers compare by identity. An eventually
        # consistent read may even be older.
        if known and isinstance(read, Catalogue) and read.version <= known.version:
            read = known
        self._keep(site_id, read)

    def refresh(self, site_id: str, version: int | RetryableError, *, deadline: Deadline) -> None:
        """Read a workspace's catalogue again unless the known one has this version."""
        known = self._readable(site_id)
        if isinstance(version, RetryableError):
            self._keep(site_id, version)
        elif known is None or known.version != version:
            self._read(site_id, deadline)

    def _readable(self, site_id: str) -> Catalogue | None:
        known = self._known.get(site_id)
        return known.catalogue if known and isinstance(known.catalogue, Catalogue) else None

    def _read(self, site_id: str, deadline: Deadline) -> None:
        key = catalogue_key(site_id)
        items = self._items.read([key], deadline=deadline, ConsistentRead=True)
        self._keep(site_id, _catalogue(items[key]))

    def _keep(self, site_id: str, read: Catalogue | RetryableError) -> None:
        # After an error, the catalogue is outdated at once.
        read_at = self._now() if isinstance(read, Catalogue) else -math.inf
        self._known[site_id] = _Known(read, read_at)

    def _learned(
        self, site_id: str, catalogue: Catalogue, updates: Collection[AudienceUpdate]
    ) -> Catalogue:
        """Return a catalogue with what is new; a full one takes no more audiences."""
        if not self._known[site_id].is_full:
            learned = catalogue.learn(updates)
            if _fits(learned, catalogue, FULL_BYTES):
                return learned
            self._on_full(len(learned.audiences))
            # Until it is read again.
            self._known[site_id] = msgspec.structs.replace(self._known[site_id], is_full=True)
        learned = catalogue.learn(
            update for update in updates if update.audience_id in catalogue.audiences
        )
        return learned if _fits(learned, catalogue, MAX_BYTES) else catalogue

    def _save(
        self, site_id: str, catalogue: Catalogue, deadline: Deadline
    ) -> RetryableError | None:
        """Write the next version of a catalogue; return why it was not written."""
        key = catalogue_key(site_id)
        packed = {"audiences": {"B": pack_catalogue(catalogue)}}
        statement = self._items.statement(key, catalogue.version, packed)
        failures = self._items.write({key: statement}, deadline=deadline)
        if not failures:
            self._keep(site_id, catalogue)
        return failures.get(key)


def _fits(learned: Catalogue, known: Catalogue, size: int) -> bool:
    return learned is known or len(pack_catalogue(learned)) <= size


def _catalogue(read: Item | RetryableError | None) -> Catalogue | RetryableError:
    return parsed(_unpacked, read, kind="a catalogue")


def _unpacked(item: Item | None) -> Catalogue:
    if item is None:
        return Catalogue()
    return unpack_catalogue(item["audiences"]["B"], version=int(item["version"]["N"]))

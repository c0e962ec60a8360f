"""Audiences: each workspace's catalogue of audiences, one item of the table.

people.py reads catalogues, or their versions, along with people. What messages teach comes in from
jobs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Final

from handler.clock import Deadline, Now
from handler.domain.audience import AudienceUpdate, Catalogue, pack_catalogue, unpack_catalogue
from handler.errors import (
    OutOfTimeError,
    RetryableError,
    UnreadableStateError,
    VersionConflictError,
)
from handler.table.items import Item, Items
from handler.table.keys import catalogue_key

KEPT_S: Final = 60
"""How long a catalogue that was read is used, in seconds."""

MAX_BYTES: Final = 380_000
"""A catalogue is not written any larger: DynamoDB takes 400 kB. That is some 8,000 audiences."""


@dataclass(frozen=True, slots=True)
class _Known:
    catalogue: Catalogue | RetryableError
    read_at: float


class Audiences:
    """The catalogues. Safe to use from several threads."""

    def __init__(self, items: Items, *, now: Now, on_full: Callable[[int], None]) -> None:
        """Begin with none known; `on_full` is told the audiences of one too large to write."""
        self._items = items
        self._now = now
        self._on_full = on_full
        self._known: dict[str, _Known] = {}
        table = items.table_name
        self._insert = f"INSERT INTO \"{table}\" VALUE {{'pk': ?, 'version': ?, 'audiences': ?}}"
        self._update = (
            f'UPDATE "{table}" SET "version"=? SET "audiences"=? WHERE "pk"=? AND "version"=?'
        )

    def of(self, site_id: str) -> Catalogue:
        """Return a workspace's catalogue as it was read last. Raises why it was not read."""
        known = self._known.get(site_id)
        if known is None:
            return Catalogue()
        if isinstance(known.catalogue, RetryableError):
            raise known.catalogue.with_traceback(None)
        return known.catalogue

    def learn(self, site_id: str, news: Collection[AudienceUpdate], *, deadline: Deadline) -> None:
        """Keep what is new of a workspace's audiences. Raises the RetryableError if it is not."""
        if self._readable(site_id) is None:
            self._read(site_id, deadline)
        failure: RetryableError = OutOfTimeError("no time left to write the catalogue")
        for _ in self._items.batches.rounds(deadline):
            catalogue = self.of(site_id)
            learned = catalogue.learn(news)
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
        """Return the workspaces whose catalogue is to be read, by the key of its item."""
        oldest = self._now() - KEPT_S
        return {
            catalogue_key(site_id): site_id
            for site_id in site_ids
            if site_id not in self._known or self._known[site_id].read_at < oldest
        }

    def note(self, site_id: str, item: Item | RetryableError | None) -> None:
        """Note what was read of a workspace's catalogue, if it is not older than what is known."""
        read = _catalogue(item)
        known = self._readable(site_id)
        # Of an equal version, keep the object that others may hold. An eventually consistent read
        # may even be older.
        if known and isinstance(read, Catalogue) and read.version <= known.version:
            read = known
        self._keep(site_id, read)

    def compare(self, site_id: str, version: int | RetryableError, *, deadline: Deadline) -> None:
        """Read a workspace's catalogue again if it does not have this version any more."""
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
        # What could not be read is to be read again at once.
        read_at = self._now() if isinstance(read, Catalogue) else -math.inf
        self._known[site_id] = _Known(read, read_at)

    def _save(
        self, site_id: str, catalogue: Catalogue, deadline: Deadline
    ) -> RetryableError | None:
        """Write the version that follows the last; return why it was not written."""
        before = catalogue.version - 1
        packed = pack_catalogue(catalogue)
        if len(packed) > MAX_BYTES:
            self._on_full(len(catalogue.audiences))
            # This environment uses what it learned all the same.
            self._keep(site_id, Catalogue(before, catalogue.audiences))
            return None
        key = catalogue_key(site_id)
        fields: list[dict[str, Any]] = [{"N": str(catalogue.version)}, {"B": packed}]
        statement: dict[str, Any] = {
            "Statement": self._update,
            "Parameters": [*fields, {"S": key}, {"N": str(before)}],
        }
        if before == 0:
            statement = {"Statement": self._insert, "Parameters": [{"S": key}, *fields]}
        failures = self._items.write({key: statement}, deadline=deadline)
        if not failures:
            self._keep(site_id, catalogue)
        return failures.get(key)


def _catalogue(read: Item | RetryableError | None) -> Catalogue | RetryableError:
    if read is None:
        return Catalogue()
    if isinstance(read, RetryableError):
        return read
    try:
        return unpack_catalogue(read["audiences"]["B"], version=int(read["version"]["N"]))
    except UnreadableStateError as error:
        return error
    except (KeyError, ValueError):
        return UnreadableStateError("a catalogue lacks an attribute")

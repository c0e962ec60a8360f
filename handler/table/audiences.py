"""Audiences: each workspace's catalogue of audiences, one item of the table.

People.py reads catalogues along with people. What messages teach comes in from jobs/deliver.py.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from handler.clock import Deadline, Now
from handler.domain.audience import AudienceNews, Catalogue, pack_catalogue, unpack_catalogue
from handler.errors import RetryableError, UnreadableStateError, VersionConflictError
from handler.table.items import Item, Items
from handler.table.keys import catalogue_key

KEPT_S: Final = 60
"""How long a catalogue that was read is used, in seconds."""

MAX_BYTES: Final = 380_000
"""A catalogue is not written any larger: DynamoDB takes 400 kB. That is some 8,000 audiences."""

MAX_ROUNDS: Final = 5
"""How often a catalogue is read again after someone else wrote it first."""

FIELDS: Final = "pk, #version, audiences"
"""The attributes of a catalogue's item."""


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

    def learn(self, site_id: str, news: Collection[AudienceNews], *, deadline: Deadline) -> None:
        """Keep what is new of a workspace's audiences. Raises the RetryableError if it is not."""
        if site_id not in self._known:
            self._read(site_id, deadline, consistent=False)
        lost: RetryableError = VersionConflictError("others kept writing the catalogue first")
        for _ in range(MAX_ROUNDS):
            known = self.of(site_id)
            learned = known.learn(news)
            if learned is known:
                return
            failure = self._save(site_id, learned, deadline)
            if failure is None:
                return
            if not isinstance(failure, VersionConflictError):
                raise failure
            self._read(site_id, deadline, consistent=True)
        raise lost

    def outdated(self, site_ids: Collection[str]) -> dict[str, str]:
        """Return the workspaces whose catalogue is to be read, by the key of its item."""
        oldest = self._now() - KEPT_S
        known = (self._known.get(site_id) for site_id in site_ids)
        return {
            catalogue_key(site_id): site_id
            for site_id, each in zip(site_ids, known, strict=True)
            if each is None or each.read_at < oldest
        }

    def note(self, site_ids: Mapping[str, str], items: Mapping[str, Any]) -> None:
        """Note what was read of workspaces' catalogues; both by the key of the item."""
        now = self._now()
        for key, site_id in site_ids.items():
            read = _catalogue(items[key])
            known = self._known.get(site_id)
            if known is not None and isinstance(known.catalogue, Catalogue):
                # An error leaves what was read before. So does the same version, whose object
                # others may hold, and an older one, from an eventually consistent read.
                if isinstance(read, RetryableError):
                    continue
                if read.version <= known.catalogue.version:
                    read = known.catalogue
            self._known[site_id] = _Known(read, now)

    def _read(self, site_id: str, deadline: Deadline, *, consistent: bool) -> None:
        key = catalogue_key(site_id)
        items = self._items.read([key], deadline=deadline, ConsistentRead=consistent)
        self.note({key: site_id}, items)

    def _save(
        self, site_id: str, catalogue: Catalogue, deadline: Deadline
    ) -> RetryableError | None:
        packed = pack_catalogue(catalogue)
        if len(packed) > MAX_BYTES:
            self._on_full(len(catalogue.audiences))
            unsaved = Catalogue(catalogue.version - 1, catalogue.audiences)
            self._known[site_id] = _Known(unsaved, self._now())
            return None
        key = catalogue_key(site_id)
        fields: list[dict[str, Any]] = [{"N": str(catalogue.version)}, {"B": packed}]
        if catalogue.version == 1:
            statement = {"Statement": self._insert, "Parameters": [{"S": key}, *fields]}
        else:
            before = {"N": str(catalogue.version - 1)}
            statement = {"Statement": self._update, "Parameters": [*fields, {"S": key}, before]}
        failures = self._items.write({key: statement}, deadline=deadline)
        if not failures:
            self._known[site_id] = _Known(catalogue, self._now())
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

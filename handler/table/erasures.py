"""Erasures: the identifiers of people who were erased, as hashes, and when.

A change from before an erasure may arrive when nobody is known under its identifier any more, or
not yet. jobs/states.py asks here whenever a change names a new identifier.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

import msgspec

from handler.clock import Deadline
from handler.domain.membership import TOMBSTONE_LIFE_S
from handler.domain.update import Identifier, SiteIdentifier
from handler.errors import RetryableError, VersionConflictError
from handler.table.items import Item, Items, parsed
from handler.table.keys import erasure_key

MAX_ROUNDS: Final = 5
"""Most reads of a record that other invocations write first."""


class _Record(NamedTuple):
    """The newest erasure of whoever has an identifier. `version` 0: there is none.

    `recorded_at`: when it was written, in Unix seconds.
    """

    version: int = 0
    erased_at_ms: int = 0
    recorded_at: int = 0


class Erasures(msgspec.Struct, frozen=True):
    """The erasures of the last 30 days. Safe to use from several threads."""

    items: Items

    def newest(
        self, identifiers: Collection[SiteIdentifier], *, deadline: Deadline
    ) -> dict[SiteIdentifier, int | RetryableError]:
        """Return the time of the newest erasure of whoever has each identifier; 0 without one.

        The read is eventually consistent: it may miss what was written a second ago.
        """
        keys = {(site_id, each): erasure_key(site_id, each) for site_id, each in identifiers}
        records = self._read([*dict.fromkeys(keys.values())], consistent=False, deadline=deadline)
        newest: dict[SiteIdentifier, int | RetryableError] = {}
        for identifier, key in keys.items():
            record = records[key]
            newest[identifier] = record.erased_at_ms if isinstance(record, _Record) else record
        return newest

    def record(
        self,
        identifiers: Collection[Identifier],
        site_id: str,
        *,
        at_ms: int,
        now: float,
        deadline: Deadline,
    ) -> int:
        """Record an erasure for each identifier; return since when all have it, in Unix seconds.

        `now`: Unix seconds. Raises a RetryableError.
        """
        keys = [erasure_key(site_id, identifier) for identifier in identifiers]
        for _ in range(MAX_ROUNDS):
            records: dict[str, _Record] = {}
            for key, read in self._read(keys, consistent=True, deadline=deadline).items():
                if isinstance(read, RetryableError):
                    raise read
                records[key] = read
            older = {key: each for key, each in records.items() if each.erased_at_ms < at_ms}
            if not older:
                return max((each.recorded_at for each in records.values()), default=0)
            attributes = {
                "erased_at_ms": {"N": str(at_ms)},
                "recorded_at": {"N": str(int(now))},
                "expires_at": {"N": str(int(now) + TOMBSTONE_LIFE_S)},
            }
            statements = {
                key: self.items.statement(key, each.version + 1, attributes)
                for key, each in older.items()
            }
            failures = self.items.write(statements, deadline=deadline)
            for failure in failures.values():
                if not isinstance(failure, VersionConflictError):
                    raise failure
        raise VersionConflictError("others kept recording erasures first")

    def _read(
        self, keys: Sequence[str], *, consistent: bool, deadline: Deadline
    ) -> dict[str, _Record | RetryableError]:
        items = self.items.read(keys, deadline=deadline, ConsistentRead=consistent)
        return {key: parsed(_record, item) for key, item in items.items()}


def _record(item: Item | None) -> _Record:
    if item is None:
        return _Record()
    return _Record(*(int(item[name]["N"]) for name in _Record._fields))

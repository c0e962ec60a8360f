"""Erasures: the identifiers of people who were erased, as hashes, and when.

A change from before an erasure may arrive when nobody is known under its identifier any more, or
not yet. jobs/states.py asks here whenever a change names a new identifier.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, NamedTuple

from handler.clock import Deadline
from handler.domain.membership import TOMBSTONE_LIFE_S
from handler.domain.update import Identifier, site_id_in
from handler.errors import RetryableError, UnreadableStateError, VersionConflictError
from handler.table.items import Item, Items
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


class Erasures:
    """The erasures of the last 30 days. Safe to use from several threads."""

    def __init__(self, items: Items) -> None:
        """Keep what reading and writing need."""
        self._items = items
        # Quoted as in people.py.
        table_name = items.table_name
        self._insert = (
            f"INSERT INTO \"{table_name}\" VALUE {{'pk': ?, 'version': ?, 'erased_at_ms': ?, "
            "'recorded_at': ?, 'expires_at': ?}"
        )
        self._update = (
            f'UPDATE "{table_name}" SET "version"=? SET "erased_at_ms"=? SET "recorded_at"=? '
            'SET "expires_at"=? WHERE "pk"=? AND "version"=?'
        )

    def newest(
        self, people: Mapping[str, Collection[Identifier]], *, deadline: Deadline
    ) -> dict[str, dict[Identifier, int] | RetryableError]:
        """Return, for each person, the time of the newest erasure by each of their identifiers.

        0 without one. The read is eventually consistent: it may miss what was written a second
        ago.
        """
        keys = {
            person: {each: erasure_key(site_id_in(person), each) for each in identifiers}
            for person, identifiers in people.items()
        }
        unique = dict.fromkeys(key for each in keys.values() for key in each.values())
        records = self._read([*unique], consistent=False, deadline=deadline)
        return {
            person: _times({each: records[key] for each, key in by_identifier.items()})
            for person, by_identifier in keys.items()
        }

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
            statements = {
                key: self._statement(key, each, at_ms, int(now)) for key, each in older.items()
            }
            failures = self._items.write(statements, deadline=deadline)
            for failure in failures.values():
                if not isinstance(failure, VersionConflictError):
                    raise failure
        raise VersionConflictError("others kept recording erasures first")

    def _read(
        self, keys: Sequence[str], *, consistent: bool, deadline: Deadline
    ) -> dict[str, _Record | RetryableError]:
        items = self._items.read(keys, deadline=deadline, ConsistentRead=consistent)
        return {key: _parsed(item) for key, item in items.items()}

    def _statement(self, key: str, known: _Record, at_ms: int, now: int) -> Any:
        fields = [
            {"N": str(number)}
            for number in (known.version + 1, at_ms, now, now + TOMBSTONE_LIFE_S)
        ]
        if not known.version:
            return {"Statement": self._insert, "Parameters": [{"S": key}, *fields]}
        version = {"N": str(known.version)}
        return {"Statement": self._update, "Parameters": [*fields, {"S": key}, version]}


def _times(
    records: Mapping[Identifier, _Record | RetryableError],
) -> dict[Identifier, int] | RetryableError:
    times: dict[Identifier, int] = {}
    for identifier, record in records.items():
        if isinstance(record, RetryableError):
            return record
        times[identifier] = record.erased_at_ms
    return times


def _parsed(read: Item | RetryableError | None) -> _Record | RetryableError:
    if read is None:
        return _Record()
    if isinstance(read, RetryableError):
        return read
    try:
        return _Record(*(int(read[name]["N"]) for name in _Record._fields))
    except (KeyError, ValueError):
        return UnreadableStateError("an item of the table lacks an attribute")

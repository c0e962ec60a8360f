"""Exports: the memberships of a workspace's people as rows of a file, CSV or JSON lines.

People come in from scan.py. change_rows.py reads the rows of a file that reveals people.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import IO, Final

import msgspec

from handler.domain.audience import Catalogue
from handler.domain.membership import PersonState, Stamp, is_member
from handler.domain.update import Identifier, hash_in, site_id_in
from handler.table.people import Page
from ops.change_rows import HIDDEN_IDENTIFIER

_COLUMNS: Final = ("person_hash", "audience_id", "audience_name", "action", "since")
REVEALED: Final = ("customer_id", "email", *_COLUMNS)
HIDDEN: Final = (HIDDEN_IDENTIFIER, *_COLUMNS)
"""The columns if people are revealed, and if not; `identified_by` is `id` or `email`."""

Row = Sequence[str | int | None]
Writer = Callable[[Iterable[Row]], None]


@dataclass(frozen=True, slots=True)
class Selection:
    """What is exported of whom; `audience_ids` is None for all audiences."""

    site_id: str
    catalogue: Catalogue
    audience_ids: Collection[int] | None
    reveal: bool

    @property
    def columns(self) -> Sequence[str]:
        """The names of the values in a row."""
        return REVEALED if self.reveal else HIDDEN

    def rows(self, key: str, state: PersonState) -> Iterator[Row]:
        """Yield a row for each audience that the person has entered or left."""
        if state.identifier is None:  # the person was erased
            return
        who = (*self._who(state.identifier), hash_in(key))
        for audience_id, newest in state.memberships.items():
            if self.audience_ids is None or audience_id in self.audience_ids:
                audience = self.catalogue.audiences.get(audience_id)
                name = audience.name if audience else ""
                action = "entered" if is_member(newest) else "left"
                yield (*who, audience_id, name, action, _since(newest))

    def _who(self, identifier: Identifier) -> tuple[str | None, ...]:
        if not self.reveal:
            return (identifier.kind,)
        value = identifier.value
        return (value, None) if identifier.is_id else (None, value)


@dataclass(slots=True)
class Exported:
    """What a file has; it lacks the `unreadable` people."""

    people: int = 0
    memberships: int = 0
    unreadable: int = 0


def export(pages: Iterable[Page], selection: Selection, write: Writer) -> Exported:
    """Write the selected memberships of all people."""
    exported = Exported()
    for page in pages:
        rows: list[Row] = []
        for key, state in page.people.items():
            if site_id_in(key) != selection.site_id:
                continue
            if not isinstance(state, PersonState):
                exported.unreadable += 1
                continue
            before = len(rows)
            rows += selection.rows(key, state)
            exported.people += len(rows) > before
        exported.memberships += len(rows)
        write(rows)
    return exported


def _csv_writer(file: IO[bytes], columns: Sequence[str]) -> Writer:
    def write(rows: Iterable[Row]) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        file.write(text.getvalue().encode())

    write([columns])
    return write


def _json_writer(file: IO[bytes], columns: Sequence[str]) -> Writer:
    def write(rows: Iterable[Row]) -> None:
        for row in rows:
            named = zip(columns, row, strict=True)
            given = {name: value for name, value in named if value not in (None, "")}
            file.write(msgspec.json.encode(given))
            file.write(b"\n")

    return write


WRITERS: Final[Mapping[str, Callable[[IO[bytes], Sequence[str]], Writer]]] = {
    ".csv": _csv_writer,
    ".jsonl": _json_writer,
}
"""What writes a file, by its suffix."""


def _since(newest: Stamp) -> str:
    moment = datetime.fromtimestamp((newest >> 1) / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")

"""Change files: files of membership changes, row by row, so that any size fits in memory.

A file is CSV or JSON lines with the columns of change_rows.py, or a download of downloads.py,
whose CSV files have a row for each identity of each member.
"""

from __future__ import annotations

import csv
import hashlib
import io
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import msgspec

from handler.domain.change_messages import Change
from ops.change_rows import COLUMNS, HIDDEN_IDENTIFIER, Defaults, RowError, read_row
from ops.downloads import DAMAGES, FileError, Part, opener, parts_of

_MEMBER_COLUMNS: Final = {"mpid", "identity_value", "identity_type"}
_CUSTOMER_IDS: Final = ("customer_id", "customerid", "customer")
"""What the identity CustomerId is called in a download; all others are called as in messages."""


@dataclass(frozen=True, slots=True)
class Unaddressed:
    """A member of an audience without an identity that Customer.io knows."""

    mpid: int | None
    audience_id: int


Content = Change | Unaddressed | RowError
"""What a row is, or why it is nothing."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row, or the rows of one member in a download; `part` is empty for a single file."""

    part: str
    line: int
    content: Content


_Values = Mapping[str, Any] | RowError
_Reader = Callable[[Part, Defaults], Iterator[Row]]


@dataclass(frozen=True, slots=True)
class ChangeFile:
    """A file of changes.

    `made_ms` is when it was made, in Unix milliseconds: when mParticle began to write it, or when
    the file was last written; None if mParticle does not say. `versions`: of each file that is
    read, its size and when it was last written.
    """

    parts: Sequence[tuple[Part, _Reader]]
    made_ms: int | None
    versions: Mapping[Path, tuple[int, int]]

    @classmethod
    def open(cls, path: Path) -> ChangeFile:
        """Look at a file, a folder or an archive. Raises FileError, or OSError."""
        try:
            return cls._open(path)
        except DAMAGES as error:
            raise FileError(f"cannot be read: {error}") from error

    @classmethod
    def _open(cls, path: Path) -> ChangeFile:
        if not (path.is_dir() or path.is_file()):
            raise FileError("is no file, but something that can be read only once")
        if path.is_dir() or _is_archive(path):
            parts = parts_of(path)
            known = [part.made_ms for part in parts if part.made_ms is not None]
            made_ms = min(known) if len(known) == len(parts) else None
            files = [path / part.name for part in parts] if path.is_dir() else [path]
            return cls([(part, _reader(part)) for part in parts], made_ms, _versions(files))
        versions = _versions([path])
        part = Part("", opener(path), made_ms=None)
        read = _reader(part)
        # A file of a download without its manifest was written long after it was made.
        is_dated = read is not _member_rows
        made_ms = versions[path][1] // 1_000_000 if is_dated else None
        return cls([(part, read)], made_ms, versions)

    @property
    def is_unchanged(self) -> bool:
        """Tell whether its files are as they were when it was opened."""
        try:
            return _versions(self.versions) == self.versions
        except OSError:
            return False

    def fingerprint(self) -> str:
        """Return a hash of all that the rows are made of. Raises FileError, or OSError."""
        digest = hashlib.sha256()
        for part, _ in self.parts:
            digest.update(repr((part.name, part.audience_id, part.audience_name)).encode())
            try:
                with part.open() as content:
                    while chunk := content.read(1 << 20):
                        digest.update(chunk)
            except DAMAGES as error:
                raise FileError(f"{_name(part)} cannot be read: {error}") from error
        return digest.hexdigest()

    def rows(self, defaults: Defaults) -> Iterator[Row]:
        """Yield all rows, the same in each run."""
        for part, read in self.parts:
            own = defaults
            if part.audience_id is not None:
                own = replace(own, audience_id=part.audience_id)
            if part.audience_name:
                own = replace(own, audience_name=part.audience_name)
            yield from read(part, own)


def _is_archive(path: Path) -> bool:
    # An archive whose download broke off lacks its end, by which zipfile knows one.
    with path.open("rb") as content:
        return content.read(4) == b"PK\x03\x04" or zipfile.is_zipfile(path)


def _versions(paths: Iterable[Path]) -> dict[Path, tuple[int, int]]:
    stats = {path: path.stat() for path in paths}
    return {path: (stat.st_size, stat.st_mtime_ns) for path, stat in stats.items()}


def _reader(part: Part) -> _Reader:
    """Return what reads this kind of file. Raises FileError if it is none of them."""
    with part.open() as content:
        start = content.read(1024).removeprefix(b"\xef\xbb\xbf").lstrip()
    if not start:
        raise FileError(f"{_name(part)} is empty")
    if start.startswith(b"{"):
        return _json_rows
    if start.startswith(b"["):
        raise FileError(f"{_name(part)} is a JSON array; JSON lines have an object in each line")
    with _text(part) as text:
        columns = _columns(csv.reader(text, skipinitialspace=True), part)
    if {*columns} >= _MEMBER_COLUMNS:
        return _member_rows
    if HIDDEN_IDENTIFIER in columns:
        raise FileError(f"{_name(part)} is of `ops export` without --reveal, so it names nobody")
    if unknown := [str(place) for place, each in enumerate(columns, 1) if each not in COLUMNS]:
        # A misspelt `since` must not mean the time of the file. The first line may be a person.
        raise FileError(
            f"{_name(part)} has unknown columns, number {', '.join(unknown)} of the first line; "
            f"known are {', '.join(COLUMNS)}, with commas between them"
        )
    return _csv_rows


def _text(part: Part) -> io.TextIOWrapper:
    # What is not UTF-8 becomes half surrogate pairs, which no identity may contain.
    return io.TextIOWrapper(
        part.open(), encoding="utf-8-sig", errors="surrogateescape", newline=""
    )


def _columns(reader: Any, part: Part) -> list[str]:
    try:
        columns = [name.strip().lower() for name in next(reader)]
    except (csv.Error, StopIteration):
        columns = []
    if not columns or len({*columns}) < len(columns):
        raise FileError(f"{_name(part)}: the first line must name each column once")
    return columns


def _name(part: Part) -> str:
    return part.name or "the file"


def _csv_values(part: Part) -> Iterator[tuple[int, _Values]]:
    """Yield each line's number and values, by column."""
    with _text(part) as text:
        reader = csv.reader(text, skipinitialspace=True, strict=True)
        columns = _columns(reader, part)
        while True:
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield reader.line_num, RowError(f"not CSV: {error}")
                continue
            if len(cells) == len(columns):
                yield reader.line_num, dict(zip(columns, cells, strict=True))
            elif cells:
                reason = f"expected {len(columns)} values, got {len(cells)}"
                yield reader.line_num, RowError(reason)


def _csv_rows(part: Part, defaults: Defaults) -> Iterator[Row]:
    for line, values in _csv_values(part):
        yield Row(part.name, line, _content(values, defaults))


def _json_rows(part: Part, defaults: Defaults) -> Iterator[Row]:
    with _text(part) as text:
        for line, each in enumerate(text, 1):
            if each.strip():
                yield Row(part.name, line, _content(_json_values(each), defaults))


def _json_values(text: str) -> _Values:
    try:
        values = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        values = None
    if not isinstance(values, dict):
        return RowError("not a JSON object")
    if any(name not in COLUMNS for name in values):
        return RowError(f"has an unknown field; known: {', '.join(COLUMNS)}")
    return values


def _member_rows(part: Part, defaults: Defaults) -> Iterator[Row]:
    """Yield a row for each member: lines of one MPID that follow each other are one."""

    def member(line: tuple[int, _Values]) -> object:
        number, values = line
        return number if isinstance(values, RowError) else values["mpid"].strip() or number

    kind = defaults.customer_id_type
    customer_ids = _CUSTOMER_IDS if kind in _CUSTOMER_IDS else (kind,)
    columns = {"email": "email", **dict.fromkeys(customer_ids, "customer_id")}
    for _, lines in groupby(_csv_values(part), key=member):
        (number, first), *others = lines
        if isinstance(first, RowError):
            yield Row(part.name, number, first)
            continue
        found: dict[str, str] = {}
        for values in (first, *(each for _, each in others if not isinstance(each, RowError))):
            column = columns.get(values["identity_type"].strip().lower())
            if column and values["identity_value"].strip():
                found.setdefault(column, values["identity_value"])
        yield Row(part.name, number, _member({"mpid": first["mpid"], **found}, defaults))


def _member(values: Mapping[str, str], defaults: Defaults) -> Content:
    if len(values) > 1:
        return _content(values, defaults)
    # With an identity, the rest is checked like any row.
    content = _content({**values, "customer_id": "unknown"}, defaults)
    if isinstance(content, RowError):
        return content
    return Unaddressed(content.mpid, content.audience_id)


def _content(values: _Values, defaults: Defaults) -> Change | RowError:
    if isinstance(values, RowError):
        return values
    try:
        return read_row(values, defaults)
    except RowError as error:
        return error

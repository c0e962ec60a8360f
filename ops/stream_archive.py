"""Stream archive: reads again what the audience stream has written to its bucket.

    find > read

`records/` has the records that the stream has passed on, `failed/` those that it could not pass
on, each in objects by the hour. One object at a time is in memory; the stream's buffering hints
bound its size.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

import msgspec

from handler.domain.change_messages import Change
from handler.domain.stream_record import read_records

_HOUR: Final = re.compile(r"/(\d{4}/\d{2}/\d{2}/\d{2})/")
_GZIP: Final = b"\x1f\x8b"


class Folder(StrEnum):
    """The two parts of the bucket, by the prefix of their keys."""

    RECORDS = "records/"
    FAILED = "failed/"


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object with records that arrived between two moments, in Unix seconds."""

    key: str
    size: int
    earliest: float
    latest: float


@dataclass(frozen=True, slots=True)
class UnreadableRecord:
    """Where something cannot be read as a record, and why; without a value from it."""

    object: str
    line: int
    reason: str


def find(s3: Any, bucket: str, folder: Folder, *, start: float, end: float) -> list[StoredObject]:
    """Return the objects that may have records that arrived from `start` to `end`, in Unix
    seconds.
    """
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=folder.value)
    stored = [_stored(item) for page in pages for item in page.get("Contents", ())]
    return [each for each in stored if each.earliest <= end and each.latest >= start]


def _stored(item: Any) -> StoredObject:
    # The hour in the key is that in which the first record arrived.
    match = _HOUR.search(item["Key"])
    hour = match[1] if match else "1970/01/01/00"
    earliest = datetime.strptime(hour, "%Y/%m/%d/%H").replace(tzinfo=UTC).timestamp()
    return StoredObject(item["Key"], item["Size"], earliest, item["LastModified"].timestamp())


def read(
    s3: Any, bucket: str, stored: StoredObject, *, now: float
) -> Iterator[Change | UnreadableRecord]:
    """Yield what the records of an object say, in order; `now` in Unix seconds."""
    data = s3.get_object(Bucket=bucket, Key=stored.key)["Body"].read()
    if data.startswith(_GZIP):
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error):
            yield UnreadableRecord(stored.key, 1, "not a complete gzip file")
            return
    is_failed = stored.key.startswith(Folder.FAILED)
    yield from _failed(data, stored.key, now) if is_failed else _records(data, stored.key, now)


def _records(data: bytes, key: str, now: float) -> Iterator[Change | UnreadableRecord]:
    for each in read_records(data, now=now):
        if isinstance(each, Change):
            yield each
        else:
            yield UnreadableRecord(key, each.line, str(each.error))


class _FailedRecord(msgspec.Struct):
    """A line about a failed record. In JSON, the record is in base64."""

    data: bytes = msgspec.field(name="rawData")


def _failed(data: bytes, key: str, now: float) -> Iterator[Change | UnreadableRecord]:
    """Yield what is in the lines that AWS writes for failed records."""
    for line, text in enumerate(data.splitlines(), start=1):
        try:
            record = msgspec.json.decode(text, type=_FailedRecord)
        except (msgspec.MsgspecError, RecursionError):
            yield UnreadableRecord(key, line, "not a failed record of the stream")
            continue
        for each in read_records(record.data, now=now):
            if isinstance(each, Change):
                yield each
            else:
                yield UnreadableRecord(key, line, str(each.error))

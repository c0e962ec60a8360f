"""Transformation: the events in which a delivery stream passes on records, and the answers.

Events come in from stream.py; the records go to jobs/transform.py, which asks for the answer.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from handler.errors import MisconfiguredError

MAX_ANSWER_BYTES: Final = 6_000_000
"""Lambda's limit is 6 MB, 6,291,456 bytes (Lambda quotas, "Invocation payload")."""

_ENTRY_BYTES: Final = 80  # of an entry of the answer, without its id and data


@dataclass(frozen=True, slots=True)
class StreamRecord:
    """One record; `arrived_at_ms` in Unix milliseconds."""

    id: str
    data: bytes = field(repr=False)
    arrived_at_ms: int


class Transformation(msgspec.Struct, frozen=True):
    """The records of one event; `id` is that of the invocation."""

    id: str
    records: Sequence[StreamRecord]


def read_event(event: Mapping[str, Any]) -> Transformation:
    """Return the records of an event. Raises MisconfiguredError for any other event."""
    try:
        records = [
            StreamRecord(
                str(record["recordId"]),
                b64decode(record["data"]),
                int(record["approximateArrivalTimestamp"]),
            )
            for record in event["records"]
        ]
        return Transformation(str(event["invocationId"]), records)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise MisconfiguredError(
            f"not an event of a delivery stream: {type(error).__name__}"
        ) from None


def answer(records: Sequence[StreamRecord], *, failed: Collection[int]) -> dict[str, Any]:
    """Return the answer, with each record's own data; `failed`: the places of records that failed.

    The data ends with a line break, so that the archive has one record a line. A record that would
    make the answer too large fails, too: the stream keeps it under the error prefix.
    """
    room = MAX_ANSWER_BYTES - sum(_ENTRY_BYTES + len(record.id) for record in records)
    entries = []
    for place, record in enumerate(records):
        data = b64encode(record.data.rstrip(b"\r\n") + b"\n").decode()
        fits = len(data) <= room
        room -= len(data) if fits else 0
        is_ok = fits and place not in failed
        entries.append(
            {
                "recordId": record.id,
                "result": "Ok" if is_ok else "ProcessingFailed",
                "data": data if fits else "",
            }
        )
    return {"records": entries}

"""Events: the sample events in events/, and their expected results.

Each file is a complete SQS event, in events/firehose a request of mParticle to the ingress, or in
events/stream a record that mParticle puts into the audience stream. Two more fields have a
description and the expected results. Lambda and the functions ignore them, so a file can be passed
to its function unchanged. In events/import a file names another one, which `ops import` sends. In
events/resync a person of the event is deleted in Customer.io, and `ops resync` brings them back.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from local.command import FailedError
from local.fake_customerio.people import EventRecord, PersonRecord

FOLDER: Final = Path(__file__).parents[1] / "events"

# Quotes are escaped once in a body, and twice in a body in an SNS notification.
_TIMESTAMP: Final = re.compile(r'("timestamp_ms\\*"\s*:\s*)(\d+)')
_RECORD_TIME: Final = re.compile(r'("MembershipChangedTimestamp"\s*:\s*")\d+')


class SetAside(msgspec.Struct, frozen=True, rename="pascal"):
    """A message in the dead-letter queue; if SQS itself moved it, it has no reason."""

    error_type: str = ""
    error_message: str = ""
    source_message_id: str = ""
    body: str = ""


class ExpectedEvent(msgspec.Struct, frozen=True, forbid_unknown_fields=True, order=True):
    """An event as expected in Customer.io; its time is that of the message."""

    name: str
    audience_id: int
    audience_name: str


class ExpectedPerson(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A person as expected in Customer.io, with their events in whatever order."""

    identifier: dict[str, str]
    attributes: dict[str, Any]
    events: list[ExpectedEvent] = []


class ExpectedSetAside(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="pascal"):
    """A message expected in the dead-letter queue."""

    error_type: str
    source_message_id: str


class Expected(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All expected results of an event."""

    people: list[ExpectedPerson]
    set_aside: list[ExpectedSetAside]


class Record(msgspec.Struct, frozen=True, rename="camel"):
    """One message of an event."""

    message_id: str
    body: str


class Resync(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A resync of an audience, after one of its people was deleted in Customer.io."""

    audience_id: int
    deleted_customer_id: str


class SampleEvent(msgspec.Struct, frozen=True):
    """One file of events/: records for the queue, or with a `type` a request for the ingress.

    `file`: the name of a file beside it, which is imported. `resync`: what is done after the
    records. `is_member`: of a record for the audience stream.
    """

    description: str
    expected: Expected
    records: list[Record] = msgspec.field(name="Records", default_factory=list)
    type: str = ""
    text: str = ""
    file: str = ""
    resync: Resync | None = None
    is_member: bool | None = msgspec.field(name="IsMember", default=None)

    @property
    def is_for_stream(self) -> bool:
        """Tell whether the event is a record for the audience stream."""
        return self.is_member is not None

    @property
    def is_request(self) -> bool:
        """Tell whether the event is a request for the ingress."""
        return bool(self.type)


def read(path: Path) -> SampleEvent:
    """Return the event in a file, moved to now. Raises FailedError if there is none."""
    text = as_of(time.time(), text_of(path))
    try:
        event = msgspec.json.decode(text, type=SampleEvent)
    except msgspec.DecodeError as error:
        raise FailedError(f"{path}: {error}") from None
    if not (event.records or event.is_request or event.is_for_stream or event.file):
        message = f"{path}: neither an SQS event, nor a request, nor a record, nor an import"
        raise FailedError(message)
    return msgspec.structs.replace(event, text=text)


def text_of(path: Path) -> str:
    """Return the text of a file. Raises FailedError if it cannot be read."""
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FailedError(f"{path}: {getattr(error, 'strerror', None) or 'no text'}") from None


def as_of(now: float, text: str) -> str:
    """Return an event moved in time, so that its newest message was sent a minute ago.

    The files have fixed dates, and the function remembers exits for only 30 days.
    """
    newest = int((now - 60) * 1000)
    shift = newest - max((int(match[2]) for match in _TIMESTAMP.finditer(text)), default=newest)
    text = _TIMESTAMP.sub(lambda match: f"{match[1]}{int(match[2]) + shift}", text)
    return _RECORD_TIME.sub(lambda match: f"{match[1]}{int(now - 60)}", text)


def all_files() -> list[Path]:
    """Return the files of all sample events for the queue, by name."""
    return sorted(FOLDER.glob("*.json"))


def all_requests() -> list[Path]:
    """Return the files of all sample requests for the ingress, by name."""
    return sorted(FOLDER.glob("firehose/*.json"))


def all_stream_records() -> list[Path]:
    """Return the files of all sample records for the audience stream, by name."""
    return sorted(FOLDER.glob("stream/*.json"))


def all_imports() -> list[Path]:
    """Return the files of all sample imports, by name."""
    return sorted(FOLDER.glob("import/*.json"))


def all_resyncs() -> list[Path]:
    """Return the files of all sample resyncs, by name."""
    return sorted(FOLDER.glob("resync/*.json"))


def updated(before: Sequence[PersonRecord], after: Sequence[PersonRecord]) -> list[PersonRecord]:
    """Return the people who were updated in between."""
    updates = {person.cio_id: person.updates for person in before}
    return [person for person in after if person.updates != updates.get(person.cio_id)]


def differences(
    event: SampleEvent,
    *,
    people: Sequence[PersonRecord],
    set_aside: Sequence[SetAside],
    message_ids: Sequence[str] = (),
) -> Iterator[str]:
    """Return a sentence for each result of an event that differs from the expected one.

    `message_ids` are the ids that SQS gave to the event's records, if they were sent to it.
    """
    renamed = dict(
        zip((record.message_id for record in event.records), message_ids, strict=bool(message_ids))
    )
    yield from _people_differences(event.expected.people, people)
    expected = Counter(
        (entry.error_type, renamed.get(entry.source_message_id, entry.source_message_id))
        for entry in event.expected.set_aside
    )
    actual = Counter((entry.error_type, entry.source_message_id) for entry in set_aside)
    for error_type, message_id in (expected - actual).elements():
        yield f"{error_type} of message {message_id} was not set aside"
    for error_type, message_id in (actual - expected).elements():
        yield f"{error_type or 'something'} of message {message_id} was set aside"


def _people_differences(
    expected: Sequence[ExpectedPerson], people: Sequence[PersonRecord]
) -> Iterator[str]:
    unexpected = list(people)
    for each in expected:
        matches = (person for person in unexpected if _has(person.identifiers, each.identifier))
        person = next(matches, None)
        if person is None:
            yield f"{each.identifier} was not updated"
            continue
        unexpected.remove(person)
        if person.attributes != each.attributes:
            yield f"{each.identifier} has {person.attributes}, not {each.attributes}"
        events = [_event(event) for event in person.events]
        if sorted(events) != sorted(each.events):
            yield f"{each.identifier} has {events}, not {each.events}"
    for person in unexpected:
        yield f"{person.identifiers} was updated"


def _event(event: EventRecord) -> ExpectedEvent:
    return msgspec.convert({"name": event.name, **event.attributes}, ExpectedEvent)


def _has(identifiers: Mapping[str, str], expected: Mapping[str, str]) -> bool:
    return expected.items() <= identifiers.items()

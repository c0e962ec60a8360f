"""Events: the sample events in events/, and what each expects to become of it.

Each file is a complete SQS event, or in events/firehose a request of mParticle's to the ingress,
and says beside what it shows and what is to come of it. Lambda and the functions ignore what they
do not know, so a file can be given to its function as it is.
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
from local.fake_customerio.people import PersonRecord

FOLDER: Final = Path(__file__).parents[1] / "events"

# Quotes are escaped once in a body, and twice in a body inside an SNS notification.
_TIMESTAMP: Final = re.compile(r'("timestamp_ms\\*"\s*:\s*)(\d+)')


class SetAside(msgspec.Struct, frozen=True, rename="pascal"):
    """A message in the dead-letter queue; one that SQS put there itself has no reason."""

    error_type: str = ""
    error_message: str = ""
    source_message_id: str = ""
    body: str = ""


class ExpectedPerson(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A person as Customer.io is to hold them."""

    identifier: dict[str, str]
    attributes: dict[str, Any]


class ExpectedSetAside(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="pascal"):
    """A message that is to be in the dead-letter queue."""

    error_type: str
    source_message_id: str


class Expected(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is to become of an event, nothing more and nothing less."""

    people: list[ExpectedPerson]
    set_aside: list[ExpectedSetAside]


class Record(msgspec.Struct, frozen=True, rename="camel"):
    """One message of an event."""

    message_id: str
    body: str


class SampleEvent(msgspec.Struct, frozen=True):
    """One file of events/: records for the queue, or a request for the ingress, as its type."""

    description: str
    expected: Expected
    records: list[Record] = msgspec.field(name="Records", default_factory=list)
    type: str = ""
    text: str = ""

    @property
    def is_request(self) -> bool:
        """Tell whether it goes in at the ingress."""
        return bool(self.type)


def read(path: Path) -> SampleEvent:
    """Return the event in a file, as of now. Raises FailedError where it holds none."""
    text = as_of(time.time(), text_of(path))
    try:
        event = msgspec.json.decode(text, type=SampleEvent)
    except msgspec.DecodeError as error:
        raise FailedError(f"{path}: {error}") from None
    if not (event.records or event.is_request):
        raise FailedError(f"{path}: neither an SQS event nor a request")
    return msgspec.structs.replace(event, text=text)


def text_of(path: Path) -> str:
    """Return what is in a file. Raises FailedError where it cannot be read."""
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FailedError(f"{path}: {getattr(error, 'strerror', None) or 'no text'}") from None


def as_of(now: float, text: str) -> str:
    """Return an event moved in time, so that its newest message was sent a minute before.

    The files have fixed dates, and an exit is remembered for 30 days only.
    """
    newest = int((now - 60) * 1000)
    shift = newest - max((int(found[2]) for found in _TIMESTAMP.finditer(text)), default=newest)
    return _TIMESTAMP.sub(lambda found: f"{found[1]}{int(found[2]) + shift}", text)


def all_files() -> list[Path]:
    """Return the files of all sample events for the queue, by name."""
    return sorted(FOLDER.glob("*.json"))


def all_requests() -> list[Path]:
    """Return the files of all sample requests for the ingress, by name."""
    return sorted(FOLDER.glob("firehose/*.json"))


def touched(before: Sequence[PersonRecord], after: Sequence[PersonRecord]) -> list[PersonRecord]:
    """Return the people that something was posted of in between."""
    updates = {person.cio_id: person.updates for person in before}
    return [person for person in after if person.updates != updates.get(person.cio_id)]


def surprises(
    event: SampleEvent,
    *,
    people: Sequence[PersonRecord],
    set_aside: Sequence[SetAside],
    message_ids: Sequence[str] = (),
) -> Iterator[str]:
    """Tell, in a sentence each, where what became of an event is not what it expects.

    `message_ids` are those that SQS gave the event's records, where they went through it.
    """
    renamed = dict(
        zip((record.message_id for record in event.records), message_ids, strict=bool(message_ids))
    )
    yield from _people_surprises(event.expected.people, people)
    wanted = Counter(
        (entry.error_type, renamed.get(entry.source_message_id, entry.source_message_id))
        for entry in event.expected.set_aside
    )
    found = Counter((entry.error_type, entry.source_message_id) for entry in set_aside)
    for error_type, message_id in (wanted - found).elements():
        yield f"{error_type} of message {message_id} was not set aside"
    for error_type, message_id in (found - wanted).elements():
        yield f"{error_type or 'something'} of message {message_id} was set aside"


def _people_surprises(
    expected: Sequence[ExpectedPerson], people: Sequence[PersonRecord]
) -> Iterator[str]:
    left = list(people)
    for wanted in expected:
        found = next((one for one in left if _is(one.identifiers, wanted.identifier)), None)
        if found is None:
            yield f"nothing was posted of {wanted.identifier}"
            continue
        left.remove(found)
        if found.attributes != wanted.attributes:
            yield f"{wanted.identifier} has {found.attributes}, not {wanted.attributes}"
    for person in left:
        yield f"something was posted of {person.identifiers}"


def _is(identifiers: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    return wanted.items() <= identifiers.items()

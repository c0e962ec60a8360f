"""Dead letters: what a message in the dead-letter queue says, and which of them are chosen. Pure.

Messages come in from dead_letter_queue.py as SQS returns them, and from files that `dlq save`
wrote or an operator has at hand.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from handler.domain.message import read_fields
from handler.errors import MalformedMessageError, PermanentError
from handler.queue import RETRY_REASON, SOURCE_MESSAGE_ID

MOVED_BY_SQS: Final = "none"
"""The error type of messages that SQS itself moved: they have no attribute that names one."""

ERROR_TYPES: Final = frozenset(
    {MOVED_BY_SQS, *(kind.error_type for kind in PermanentError.__subclasses__())}
)
"""The error types of this version. The queue may also hold messages of an older version."""

_RECEIVED_TOO_OFTEN: Final = "received too often"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One message in the dead-letter queue; `sent_at` in Unix seconds."""

    id: str
    error_type: str
    error_message: str
    source_message_id: str
    sent_at: float
    body: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Selection:
    """Chosen letters, by error type and by source message; an empty set chooses all."""

    error_types: frozenset[str] = frozenset()
    source_message_ids: frozenset[str] = frozenset()

    @property
    def is_all(self) -> bool:
        """Tell whether every letter is chosen."""
        return not (self.error_types or self.source_message_ids)

    def includes(self, letter: DeadLetter) -> bool:
        """Tell whether this letter is chosen."""
        return (not self.error_types or letter.error_type in self.error_types) and (
            not self.source_message_ids or letter.source_message_id in self.source_message_ids
        )


@dataclass(frozen=True, slots=True)
class Group:
    """Letters of one error type; `reason` is the reason of the oldest.

    `audiences` has what the messages name, by id; first those that most letters are about.
    """

    error_type: str
    count: int
    oldest_sent_at: float
    reason: str
    source_message_ids: tuple[str, ...]
    audiences: Mapping[int, str]


def group_by_error_type(letters: Iterable[DeadLetter]) -> list[Group]:
    """Return letters by error type, the largest group first."""
    by_type: dict[str, list[DeadLetter]] = {}
    for letter in sorted(letters, key=lambda letter: letter.sent_at):
        by_type.setdefault(letter.error_type, []).append(letter)
    groups = [
        Group(
            error_type,
            count=len(of_type),
            oldest_sent_at=of_type[0].sent_at,
            reason=of_type[0].error_message,
            source_message_ids=tuple(
                dict.fromkeys(letter.source_message_id for letter in of_type)
            ),
            audiences=_audiences(of_type),
        )
        for error_type, of_type in by_type.items()
    ]
    return sorted(groups, key=lambda group: -group.count)


def _audiences(letters: Iterable[DeadLetter]) -> dict[int, str]:
    """Return the names that letters, oldest first, say last of audiences."""
    counts: Counter[int] = Counter()
    names: dict[int, str] = {}
    for letter in letters:
        named = audiences_in(letter.body)
        counts.update(named.keys())
        names |= {audience_id: name for audience_id, name in named.items() if name}
    return {audience_id: names.get(audience_id, "") for audience_id, _ in counts.most_common()}


def audiences_in(body: str) -> dict[int, str]:
    """Return the audiences that a message names, also in profiles that the function refuses.

    A name is empty if the message has none. What cannot be read names no audience.
    """
    try:
        fields = read_fields(body)
    except MalformedMessageError:
        return {}
    profiles = fields.user_profiles or ()
    raw = [profiles] if isinstance(profiles, msgspec.Raw) else profiles
    said: list[Any] = [{"audience_id": fields.audience_id, "audience_name": fields.audience_name}]
    for each in raw:
        with suppress(msgspec.DecodeError, UnicodeError, RecursionError):
            said += _PROFILE.decode(each).audiences
    named: dict[int, str] = {}
    for each in said:
        with suppress(msgspec.ValidationError):
            audience = msgspec.convert(each, _Audience, strict=False)
            # JSON may contain half a surrogate pair: drop it.
            name = (audience.audience_name or "").encode(errors="ignore").decode()
            named[audience.audience_id] = name.strip()
    return named


class _Audience(msgspec.Struct):
    audience_id: int
    audience_name: str | None = None


class _Profile(msgspec.Struct):
    audiences: list[Any] = []


_PROFILE: Final = msgspec.json.Decoder(_Profile)


def read_letter(received: Any, *, retry_queue_name: str) -> DeadLetter:
    """Return a message of the dead-letter queue, as SQS returns it, with its reason."""
    attributes = received.get("MessageAttributes", {})
    texts = {name: value.get("StringValue", "") for name, value in attributes.items()}
    error_type = texts.get("ErrorType", MOVED_BY_SQS)
    reason = texts.get("ErrorMessage", "no reason given")
    # SQS sets this attribute only on messages that it moved itself.
    match received["Attributes"].get("DeadLetterQueueSourceArn", "").rpartition(":")[2]:
        case "":
            pass
        case name if name == retry_queue_name:
            # The function wrote its attributes when it moved the message to the retry queue.
            first = texts.get(RETRY_REASON, "an unknown reason")
            error_type = MOVED_BY_SQS
            reason = (
                f"{_RECEIVED_TOO_OFTEN} from the retry queue; moved by SQS; "
                f"first retried for {first}"
            )
        case _:
            # Attributes that the message still has are from before an earlier redrive.
            texts, error_type = {}, MOVED_BY_SQS
            reason = f"{_RECEIVED_TOO_OFTEN}; moved by SQS"
    return DeadLetter(
        id=received["MessageId"],
        error_type=error_type,
        error_message=reason,
        source_message_id=texts.get(SOURCE_MESSAGE_ID, received["MessageId"]),
        sent_at=int(received["Attributes"]["SentTimestamp"]) / 1000,
        body=received["Body"],
    )


def to_line(letter: DeadLetter) -> str:
    """Return a letter as one line of a file, which `read_bodies` and `read_ids` read."""
    return json.dumps(dataclasses.asdict(letter)) + "\n"


def read_ids(text: str) -> set[str]:
    """Return the ids of the letters in the text of a saved file."""
    return {str(json.loads(line)["id"]) for line in text.split("\n") if line.strip()}


def read_bodies(text: str) -> list[str]:
    """Return the messages in the text of a file: saved letters, an SQS event, or a message.

    Raises ValueError for anything else.
    """
    try:
        content = json.loads(text)
    except ValueError:
        return [_body(json.loads(line)["body"]) for line in text.split("\n") if line.strip()]
    match content:
        case {"Records": [*records]}:
            return [_body(record["body"]) for record in records]
        case {"body": body, "source_message_id": _}:
            return [_body(body)]
        case dict():
            return [text]
        case _:
            raise ValueError("neither saved letters, an SQS event nor a message")


def _body(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("a body is not a string")  # noqa: TRY004 - the content of a file
    return value

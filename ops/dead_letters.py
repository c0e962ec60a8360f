"""Dead letters: looks through the dead-letter queue, and sends back, saves or deletes.

A letter is taken by hiding it for two minutes; whatever is not deleted is given back at the end,
and comes back by itself where the end does not come. A redrive sends first and deletes after, so
that a message is at every moment on one of the two queues, or on both. Both is harmless: the
function can be told the same thing twice.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from handler.errors import PermanentError
from handler.queue import RETRY_REASON, SOURCE_MESSAGE_ID
from handler.sender import MAX_ENTRIES, MAX_REQUEST_BYTES

if TYPE_CHECKING:
    from mypy_boto3_sqs.client import SQSClient

    from ops.stack import Stack

HIDDEN_S: Final = 120
"""How long a letter that is looked at is hidden, in seconds, unless it is given back."""

MOVED_BY_SQS: Final = "none"
"""Stands for the error type of what SQS moved itself, which has none."""

ERROR_TYPES: Final = frozenset(
    {MOVED_BY_SQS, *(kind.error_type for kind in PermanentError.__subclasses__())}
)
"""What this version labels letters with; those of another version may be in the queue too."""

_TOO_OFTEN: Final = "received too often"
_POLL_S: Final = 1
_PATIENCE: Final = 20
"""A walk ends when a long poll finds nothing, or when so many in a row find nothing new: what was
hidden long ago comes back while a walk goes on."""

_GOING_ON: Final = {"RUNNING", "CANCELLING"}
_NOT_OFFERED: Final = {
    "AWS.SimpleQueueService.UnsupportedOperation",
    "InvalidAction",
    "UnknownOperationException",
    "UnsupportedOperation",
}


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
    """Which letters are meant: those of these types and messages; an empty set means any."""

    error_types: frozenset[str] = frozenset()
    source_message_ids: frozenset[str] = frozenset()

    @property
    def is_all(self) -> bool:
        """Tell whether every letter is meant."""
        return not (self.error_types or self.source_message_ids)

    def takes(self, letter: DeadLetter) -> bool:
        """Tell whether this letter is meant."""
        return (not self.error_types or letter.error_type in self.error_types) and (
            not self.source_message_ids or letter.source_message_id in self.source_message_ids
        )


@dataclass(frozen=True, slots=True)
class Group:
    """Letters of one error type."""

    error_type: str
    count: int
    oldest_sent_at: float
    reason: str
    """Why the oldest was set aside."""
    source_message_ids: tuple[str, ...]


def grouped(letters: Iterable[DeadLetter]) -> list[Group]:
    """Return letters by error type, the largest group first."""
    by_type: dict[str, list[DeadLetter]] = {}
    for letter in sorted(letters, key=lambda letter: letter.sent_at):
        by_type.setdefault(letter.error_type, []).append(letter)
    groups = [
        Group(
            kind, len(ones), ones[0].sent_at, ones[0].error_message,
            tuple(dict.fromkeys(one.source_message_id for one in ones)),
        )
        for kind, ones in by_type.items()
    ]  # fmt: skip
    return sorted(groups, key=lambda group: -group.count)


@dataclass(frozen=True, slots=True)
class Moved:
    """What became of a few letters. One sent but not deleted will be delivered twice."""

    sent: int
    not_sent: int
    not_deleted: int


@dataclass(frozen=True, slots=True)
class Move:
    """How far a redrive is that SQS does by itself, about."""

    status: str
    moved: int
    of: int
    failure_reason: str = ""


class DeadLetters:
    """The dead-letter queue, and the queue that its messages go back to."""

    def __init__(self, sqs: SQSClient, stack: Stack, *, sleep: Callable[[float], None]) -> None:
        """Keep where the queues are."""
        self._sqs = sqs
        self._stack = stack
        self._url = stack.dead_letter_queue_url
        self._sleep = sleep
        self._held: dict[str, str] = {}  # receipt handles, by message id
        self._sent: set[str] = set()  # ids of messages sent
        self.missed = 0
        """About how many letters the last walk did not find, as somebody else looks at them."""

    def about(self) -> int:
        """Return about how many letters there are, whether somebody looks at them or not."""
        counts = self._sqs.get_queue_attributes(
            QueueUrl=self._url,
            AttributeNames=[
                "ApproximateNumberOfMessages",
                "ApproximateNumberOfMessagesNotVisible",
            ],
        )["Attributes"]
        return sum(map(int, counts.values()))

    def walk(self, *, most: int | None = None) -> Generator[list[DeadLetter], None, None]:
        """Take the letters that are there now, a few at a time and each once.

        To be closed, so that those not deleted are given back.
        """
        self.missed = 0
        retry_queue = self._stack.retry_queue_url.rpartition("/")[2]
        before = self.about()
        seen: set[str] = set()
        started: float | None = None
        quiet = 0
        try:
            while quiet < _PATIENCE and (most is None or len(seen) < most):
                answer = self._sqs.receive_message(
                    QueueUrl=self._url,
                    MaxNumberOfMessages=MAX_ENTRIES,
                    VisibilityTimeout=HIDDEN_S,
                    WaitTimeSeconds=_POLL_S,
                    MessageAttributeNames=["All"],
                    MessageSystemAttributeNames=["SentTimestamp", "DeadLetterQueueSourceArn"],
                )
                started = started or _date(answer)
                received: Sequence[Any] = answer.get("Messages", ())
                self._held.update((one["MessageId"], one["ReceiptHandle"]) for one in received)
                letters = [
                    _letter(one, retry_queue) for one in received if one["MessageId"] not in seen
                ]
                seen.update(letter.id for letter in letters)
                # What came since is not meant, least of all what was redriven and refused again.
                letters = [
                    letter
                    for letter in letters
                    if letter.sent_at <= started and letter.source_message_id not in self._sent
                ]
                quiet += 1 if received else _PATIENCE
                if letters:
                    quiet = 0
                    yield letters
            if most is None or len(seen) < most:
                # Neither those that were deleted meanwhile, nor those that came.
                self.missed = max(0, min(before - len(seen), self.about() - len(self._held)))
        finally:
            self._give_back()

    def redrive(self, letters: Sequence[DeadLetter], *, rate: float) -> Iterator[Moved]:
        """Send letters back to where they came from, at most `rate` a second, and delete them."""
        for places in batches([letter.body for letter in letters]):
            batch = [letters[place] for place in places]
            sent = [batch[place] for place in self.send([letter.body for letter in batch])]
            yield Moved(len(sent), len(batch) - len(sent), self.delete(sent))
            self._sleep(len(batch) / rate)

    def send(self, bodies: Sequence[str]) -> list[int]:
        """Send at most ten messages to the source queue; return the places of those sent."""
        answer = self._sqs.send_message_batch(
            QueueUrl=self._stack.queue_url,
            # Without their attributes: should SQS set one aside later, an old reason misleads.
            Entries=[{"Id": str(place), "MessageBody": body} for place, body in enumerate(bodies)],
        )
        sent = answer.get("Successful", ())
        self._sent.update(one["MessageId"] for one in sent)
        return [int(one["Id"]) for one in sent]

    def delete(self, letters: Sequence[DeadLetter]) -> int:
        """Delete letters taken; return how many could not be."""
        failed = 0
        for start in range(0, len(letters), MAX_ENTRIES):
            batch = letters[start : start + MAX_ENTRIES]
            answer = self._sqs.delete_message_batch(
                QueueUrl=self._url,
                Entries=[
                    {"Id": str(place), "ReceiptHandle": self._held[letter.id]}
                    for place, letter in enumerate(batch)
                ],
            )
            for deleted in answer.get("Successful", ()):
                del self._held[batch[int(deleted["Id"])].id]
            failed += len(answer.get("Failed", ()))
        return failed

    def start_move(self, *, rate: int) -> bool:
        """Let SQS redrive everything; return whether it offers that."""
        try:
            # Named, as SQS knows where a message came from only if it moved the message itself.
            self._sqs.start_message_move_task(
                SourceArn=self._stack.dead_letter_queue_arn,
                DestinationArn=self._stack.queue_arn,
                MaxNumberOfMessagesPerSecond=rate,
            )
        except ClientError as error:
            if error.response["Error"]["Code"] in _NOT_OFFERED:
                return False
            raise
        return True

    def follow_move(self) -> Iterator[Move]:
        """Return how far SQS's redrive is, again and again until it ends."""
        unlisted = 0
        while unlisted < _PATIENCE:
            tasks = self._sqs.list_message_move_tasks(
                SourceArn=self._stack.dead_letter_queue_arn, MaxResults=1
            ).get("Results")
            if tasks:
                move = _move(tasks[0])
                yield move
                if move.status not in _GOING_ON:
                    return
            unlisted = 0 if tasks else unlisted + 1
            self._sleep(1)
        yield Move("UNKNOWN", 0, 0, "SQS lists no such task")

    def _give_back(self) -> None:
        held = list(self._held.values())
        self._held.clear()
        # Where this fails they come back by themselves, within HIDDEN_S.
        with suppress(BotoCoreError, ClientError):
            for start in range(0, len(held), MAX_ENTRIES):
                self._sqs.change_message_visibility_batch(
                    QueueUrl=self._url,
                    Entries=[
                        {"Id": str(place), "ReceiptHandle": handle, "VisibilityTimeout": 0}
                        for place, handle in enumerate(held[start : start + MAX_ENTRIES])
                    ],
                )


def batches(bodies: Sequence[str]) -> Iterator[range]:
    """Part bodies, by their places, into as few requests as SQS's limits allow."""
    start, size = 0, 0
    for place, body in enumerate(bodies):
        grown = size + len(body.encode())
        if place > start and (place - start == MAX_ENTRIES or grown > MAX_REQUEST_BYTES):
            yield range(start, place)
            start, grown = place, len(body.encode())
        size = grown
    if bodies:
        yield range(start, len(bodies))


def written(letter: DeadLetter) -> str:
    """Return a letter as the line of a file that `read_bodies` reads."""
    return json.dumps(dataclasses.asdict(letter)) + "\n"


def saved_ids(text: str) -> set[str]:
    """Return the ids of the letters in a file that was saved."""
    return {str(json.loads(line)["id"]) for line in text.split("\n") if line.strip()}


def read_bodies(text: str) -> list[str]:
    """Return the messages in a file: lines that were saved, an SQS event, or a message itself.

    Raises ValueError for anything else.
    """
    try:
        content = json.loads(text)
    except ValueError:
        return [_str(json.loads(line)["body"]) for line in text.split("\n") if line.strip()]
    match content:
        case {"Records": [*records]}:
            return [_str(record["body"]) for record in records]
        case {"body": body, "source_message_id": _}:
            return [_str(body)]
        case dict():
            return [text]
        case _:
            raise ValueError("neither saved letters, an SQS event nor a message")


def _str(body: object) -> str:
    if not isinstance(body, str):
        raise ValueError("a body is a text")  # noqa: TRY004 - of a file's content, not a type
    return body


def _letter(received: Any, retry_queue: str) -> DeadLetter:
    attributes = received.get("MessageAttributes", {})
    texts = {name: value.get("StringValue", "") for name, value in attributes.items()}
    error_type = texts.get("ErrorType", MOVED_BY_SQS)
    reason = texts.get("ErrorMessage", "no reason given")
    match received["Attributes"].get("DeadLetterQueueSourceArn", "").rpartition(":")[2]:
        case "":
            pass
        case name if name == retry_queue:
            # The function wrote its attributes when it moved the message to the retry queue.
            first = texts.get(RETRY_REASON, "an unknown reason")
            error_type = MOVED_BY_SQS
            reason = f"{_TOO_OFTEN} from the retry queue; moved by SQS; first retried for {first}"
        case _:
            # An error type and a reason that it still has are of an earlier time.
            texts, error_type, reason = {}, MOVED_BY_SQS, f"{_TOO_OFTEN}; moved by SQS"
    return DeadLetter(
        id=received["MessageId"],
        error_type=error_type,
        error_message=reason,
        source_message_id=texts.get(SOURCE_MESSAGE_ID, received["MessageId"]),
        sent_at=int(received["Attributes"]["SentTimestamp"]) / 1000,
        body=received["Body"],
    )


def _move(task: Any) -> Move:
    moved = task.get("ApproximateNumberOfMessagesMoved", 0)
    of = task.get("ApproximateNumberOfMessagesToMove", moved)
    return Move(task["Status"], moved, of, task.get("FailureReason", ""))


def _date(answer: Any) -> float:
    """Return the service's own time, as a laptop's may be wrong, at the end of its second."""
    date = answer["ResponseMetadata"]["HTTPHeaders"]["date"]
    return parsedate_to_datetime(date).timestamp() + 1

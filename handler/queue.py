"""Queue: the SQS event that wakes us, and what we tell SQS of each message.

Messages go on to the forwarder, which says what becomes of each: done, to be delayed, or set
aside to the dead-letter queue (DLQ) with a reason. The ingress puts messages on the queue by its
entrance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from handler.clock import AWS_CALL_S, Sleep, TimeLeft
from handler.domain.outcome import DeadLetter, ReceivedMessage
from handler.errors import MisconfiguredError, OutOfTimeError, UnavailableError

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import SendMessageBatchRequestEntryTypeDef

MAX_ENTRIES: Final = 10  # of an SQS batch request
MAX_REQUEST_BYTES: Final = 256_000  # of an SQS batch request, its attributes included
FIRST_DELAY_S: Final = 30
LAST_DELAY_S: Final = 15 * 60
MAX_ROUNDS: Final = 4  # of sending what SQS did not take
FIRST_PAUSE_S: Final = 0.1  # at most, before the second of them; doubling

# What sending again cannot mend. SQS has a prefix for some, as AWS.SimpleQueueService.
_FOR_A_HUMAN: Final = {
    "AccessDenied",
    "AccessDeniedException",
    "BatchRequestTooLong",
    "InvalidMessageContents",
    "KmsAccessDenied",
    "NonExistentQueue",
    "QueueDoesNotExist",
}

_Sendable = TypeVar("_Sendable")


class Draw(Protocol):
    """Chance: a number between two."""

    def __call__(self, low: float, high: float, /) -> float:
        """Return a number from `low` to `high`."""


def messages(event: Mapping[str, Any]) -> list[ReceivedMessage]:
    """Return the messages of an SQS event. Raises MisconfiguredError for any other event."""
    try:
        return [
            ReceivedMessage(
                id=record["messageId"],
                body=record["body"],
                receipt_handle=record["receiptHandle"],
                receive_count=int(record["attributes"]["ApproximateReceiveCount"]),
            )
            for record in event["Records"]
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise MisconfiguredError(f"not an SQS event: {type(error).__name__}") from None


def partial_batch_response(failed: Iterable[str]) -> dict[str, list[dict[str, str]]]:
    """Return the answer that leaves the failed messages, by id, on the queue."""
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}


def retry_delay(receive_count: int, draw: Draw) -> int:
    """Return the seconds until a message is seen again: 30 doubling to 900, and a quarter of
    chance either way.
    """
    # Past ten receives the cap holds anyway; 2**1000 would overflow a float.
    delay = min(LAST_DELAY_S, FIRST_DELAY_S * 2 ** min(receive_count - 1, 10))
    return int(delay * draw(0.75, 1.25))


class Queue:
    """The source queue and its DLQ."""

    def __init__(
        self,
        sqs: SQSClient,
        executor: Executor,
        *,
        queue_url: str,
        dead_letter_queue_url: str,
        draw: Draw,
    ) -> None:
        """Keep what telling SQS needs."""
        self._sqs = sqs
        self._executor = executor
        self._queue_url = queue_url
        self._dead_letter_queue_url = dead_letter_queue_url
        self._draw = draw

    def delay(self, messages: Sequence[ReceivedMessage], *, time_left: TimeLeft) -> None:
        """Hide messages for longer the more often they were received.

        One that cannot be told so comes back after the queue's visibility timeout instead.
        """
        batches = [
            messages[start : start + MAX_ENTRIES] for start in range(0, len(messages), MAX_ENTRIES)
        ]
        list(self._executor.map(lambda batch: self._delay(batch, time_left), batches))

    def set_aside(self, letters: Sequence[DeadLetter], *, time_left: TimeLeft) -> list[DeadLetter]:
        """Send letters to the DLQ, each with its reason; return those that did not get there."""
        requests = _requests(letters, _size)
        sent = self._executor.map(lambda batch: self._send(batch, time_left), requests)
        return [letter for lost in sent for letter in lost]

    def _delay(self, batch: Sequence[ReceivedMessage], time_left: TimeLeft) -> None:
        if time_left() < AWS_CALL_S:
            return
        with suppress(BotoCoreError, ClientError):
            self._sqs.change_message_visibility_batch(
                QueueUrl=self._queue_url,
                Entries=[
                    {
                        "Id": str(place),
                        "ReceiptHandle": message.receipt_handle,
                        "VisibilityTimeout": retry_delay(message.receive_count, self._draw),
                    }
                    for place, message in enumerate(batch)
                ],
            )

    def _send(self, batch: Sequence[DeadLetter], time_left: TimeLeft) -> Sequence[DeadLetter]:
        if time_left() < AWS_CALL_S:
            return batch
        try:
            answer = self._sqs.send_message_batch(
                QueueUrl=self._dead_letter_queue_url,
                Entries=[_entry(place, letter) for place, letter in enumerate(batch)],
            )
        except (BotoCoreError, ClientError):
            return batch
        return [batch[int(failure["Id"])] for failure in answer.get("Failed", [])]


class Entrance:
    """The source queue, for whoever puts messages on it."""

    def __init__(
        self, sqs: SQSClient, executor: Executor, *, queue_url: str, draw: Draw, sleep: Sleep
    ) -> None:
        """Keep what sending needs."""
        self._sqs = sqs
        self._executor = executor
        self._queue_url = queue_url
        self._draw = draw
        self._sleep = sleep

    def enqueue(self, bodies: Sequence[str], *, time_left: TimeLeft) -> None:
        """Return once SQS has said of every body that it has it, in whatever order.

        Raises UnavailableError or OutOfTimeError where it has not; some may be there even so.
        What can pass is tried again before, while there is time.
        """
        waiting = list(bodies)
        for number in range(MAX_ROUNDS):
            if number:
                self._sleep(self._draw(0.0, FIRST_PAUSE_S * 2 ** (number - 1)))
            answers = self._send_all(waiting, time_left)
            waiting = [body for left, _ in answers for body in left]
            if not waiting:
                return
            codes = sorted((code for left, code in answers if left), key=_can_pass)
            if not _can_pass(codes[0]):
                break
            if time_left() < AWS_CALL_S:
                raise OutOfTimeError("no time left to put all messages on the queue")
        # The queue's answers may quote what was sent: the code is enough.
        reason = f"the queue did not take {len(waiting)} of {len(bodies)} messages: {codes[0]}"
        raise UnavailableError(reason)

    def _send_all(
        self, bodies: Sequence[str], time_left: TimeLeft
    ) -> list[tuple[Sequence[str], str]]:
        requests = list(_requests(bodies, lambda body: len(body.encode())))
        if len(requests) == 1:  # as nearly always: no thread need start for it
            return [self._send(requests[0], time_left)]
        return list(self._executor.map(lambda one: self._send(one, time_left), requests))

    def _send(self, request: Sequence[str], time_left: TimeLeft) -> tuple[Sequence[str], str]:
        """Send bodies; return those that SQS does not say it has, and a code that tells why."""
        if time_left() < AWS_CALL_S:
            return request, "no time left"
        try:
            answer = self._sqs.send_message_batch(
                QueueUrl=self._queue_url,
                Entries=[
                    {"Id": str(place), "MessageBody": body} for place, body in enumerate(request)
                ],
            )
        except ClientError as error:
            return request, error.response["Error"]["Code"]
        except BotoCoreError as error:
            return request, type(error).__name__
        taken = {int(entry["Id"]) for entry in answer.get("Successful", ())}
        codes = [entry["Code"] for entry in answer.get("Failed", ())]
        left = [body for place, body in enumerate(request) if place not in taken]
        return left, codes[0] if codes else "not said"


def _can_pass(code: str) -> bool:
    return code.rpartition(".")[2] not in _FOR_A_HUMAN


def _requests(
    items: Iterable[_Sendable], size_of: Callable[[_Sendable], int]
) -> Iterator[list[_Sendable]]:
    """Part what is to be sent into as few requests as SQS's limits allow."""
    request: list[_Sendable] = []
    size = 0
    for item in items:
        grown = size + size_of(item)
        if request and (len(request) == MAX_ENTRIES or grown > MAX_REQUEST_BYTES):
            yield request
            request, grown = [], size_of(item)
        request.append(item)
        size = grown
    if request:
        yield request


def _size(letter: DeadLetter) -> int:
    texts = [letter.body, *(name + "String" + text for name, text in _attributes(letter).items())]
    return sum(len(text.encode()) for text in texts)


def _entry(place: int, letter: DeadLetter) -> SendMessageBatchRequestEntryTypeDef:
    return {
        "Id": str(place),
        "MessageBody": letter.body,
        "MessageAttributes": {
            name: {"DataType": "String", "StringValue": value}
            for name, value in _attributes(letter).items()
        },
    }


def _attributes(letter: DeadLetter) -> dict[str, str]:
    return {
        "ErrorType": letter.error.error_type,
        "ErrorMessage": str(letter.error),
        "SourceMessageId": letter.source_message_id,
    }

"""Queue: the SQS event that wakes us, and what we tell SQS of each message.

Messages go on to the forwarder, which says what becomes of each: done, to be delayed, or set
aside to the dead-letter queue (DLQ) with a reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from handler.clock import AWS_CALL_S, Draw, TimeLeft
from handler.domain.outcome import DeadLetter, ReceivedMessage
from handler.errors import MisconfiguredError
from handler.sender import MAX_ENTRIES, batch_requests

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import SendMessageBatchRequestEntryTypeDef

FIRST_DELAY_S: Final = 30
LAST_DELAY_S: Final = 15 * 60


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
        requests = batch_requests(letters, _size)
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

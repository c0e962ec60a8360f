"""Queue: reads messages from SQS events, and delays, moves or sets them aside.

The forwarder decides which are done, retried, or set aside to the dead-letter queue (DLQ).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec
from botocore.exceptions import BotoCoreError, ClientError

from handler.clock import AWS_CALL_S, Deadline, Draw
from handler.concurrency import side_by_side, slices
from handler.domain.outcome import DeadLetter, MessageOutcome, ReceivedMessage
from handler.errors import MisconfiguredError
from handler.sender import MAX_ENTRIES, batch_requests, message_group, send_batch

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import SendMessageBatchRequestEntryTypeDef as _Entry

FIRST_DELAY_S: Final = 30
LAST_DELAY_S: Final = 15 * 60

RETRY_REASON: Final = "RetryReason"
SOURCE_MESSAGE_ID: Final = "SourceMessageId"

_Owner = TypeVar("_Owner")


def messages(event: Mapping[str, Any], *, retry_queue_url: str) -> list[ReceivedMessage]:
    """Return the messages of an SQS event. Raises MisconfiguredError for any other event."""
    end_of_arn = f":{retry_queue_url.rpartition('/')[2]}"
    try:
        return [
            _received(record, is_retry=record.get("eventSourceARN", "").endswith(end_of_arn))
            for record in event["Records"]
        ]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise MisconfiguredError(f"not an SQS event: {type(error).__name__}") from None


def _received(record: Mapping[str, Any], *, is_retry: bool) -> ReceivedMessage:
    message_id = source_id = record["messageId"]
    attributes = record["attributes"]
    since = None
    if is_retry:
        since = int(attributes["SentTimestamp"]) / 1000
        named = record.get("messageAttributes", {}).get(SOURCE_MESSAGE_ID, {})
        source_id = str(named.get("stringValue") or message_id)
    return ReceivedMessage(
        message_id,
        record["body"],
        record["receiptHandle"],
        int(attributes["ApproximateReceiveCount"]),
        source_id,
        since,
    )


def partial_batch_response(failed: Iterable[str]) -> dict[str, list[dict[str, str]]]:
    """Return the answer that leaves the messages with these ids on the queue."""
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}


def retry_delay(receive_count: int, draw: Draw) -> int:
    """Return the seconds to the next try: 30 doubling to 900, give or take a random quarter."""
    # Past ten receives the cap holds anyway; 2**1000 would overflow a float.
    delay = min(LAST_DELAY_S, FIRST_DELAY_S * 2 ** min(receive_count - 1, 10))
    return int(delay * draw(0.75, 1.25))


@dataclass(frozen=True, slots=True)
class Queue:
    """The source queue, its retry queue and its DLQ."""

    sqs: SQSClient
    executor: Executor
    _: KW_ONLY
    queue_url: str
    retry_queue_url: str
    dead_letter_queue_url: str
    draw: Draw

    def delay(self, messages: Sequence[ReceivedMessage], *, deadline: Deadline) -> None:
        """Hide messages on their queue, for longer the more often they were received.

        If SQS does not, they come back after the queue's visibility timeout.
        """
        for url, on_retry_queue in ((self.queue_url, False), (self.retry_queue_url, True)):
            on_queue = [each for each in messages if each.on_retry_queue is on_retry_queue]
            delay = partial(self._delay, url, deadline=deadline)
            side_by_side(self.executor, delay, slices(on_queue, MAX_ENTRIES))

    def move_to_retry(self, outcomes: Sequence[MessageOutcome], *, deadline: Deadline) -> set[str]:
        """Send messages to the retry queue; return the ids of those that arrived.

        They can be received there after about 30 seconds.
        """
        pairs = [
            (outcome.message.id, self._retry_entry(place, outcome))
            for place, outcome in enumerate(outcomes)
        ]
        send = partial(_send, self.sqs, self.retry_queue_url, deadline=deadline)
        sent = side_by_side(self.executor, send, [*batch_requests(pairs, _size)])
        return {message_id for each in sent for message_id, arrived in each if arrived}

    def set_aside(
        self, letters: Iterable[DeadLetter], *, deadline: Deadline
    ) -> Iterator[tuple[DeadLetter, bool]]:
        """Send letters to the DLQ, each with its reason; yield each with whether it arrived.

        One request's letters are in memory at a time.
        """
        dead_letter_queue = DeadLetterQueue(self.sqs, self.dead_letter_queue_url)
        return dead_letter_queue.set_aside(letters, deadline=deadline)

    def _delay(self, url: str, batch: Sequence[ReceivedMessage], *, deadline: Deadline) -> None:
        if not deadline.allows(AWS_CALL_S):
            return
        with suppress(BotoCoreError, ClientError):
            self.sqs.change_message_visibility_batch(
                QueueUrl=url,
                Entries=[
                    {
                        "Id": str(place),
                        "ReceiptHandle": message.receipt_handle,
                        # A message on the retry queue was also tried on the source queue.
                        "VisibilityTimeout": retry_delay(
                            message.receive_count + message.on_retry_queue, self.draw
                        ),
                    }
                    for place, message in enumerate(batch)
                ],
            )

    def _retry_entry(self, place: int, outcome: MessageOutcome) -> _Entry:
        attributes = {
            SOURCE_MESSAGE_ID: outcome.message.source_id,
            RETRY_REASON: f"{type(outcome.retry).__name__}: {outcome.retry}",
        }
        account_id = outcome.opened.account_id if outcome.opened else None
        return {
            **_entry(place, outcome.message.body, attributes),
            "DelaySeconds": retry_delay(1, self.draw),
            "MessageGroupId": message_group(account_id),
        }


class DeadLetterQueue(msgspec.Struct, frozen=True):
    """The DLQ, for what sets aside only."""

    sqs: SQSClient
    url: str

    def set_aside(
        self, letters: Iterable[DeadLetter], *, deadline: Deadline
    ) -> Iterator[tuple[DeadLetter, bool]]:
        """Send letters as `Queue.set_aside` does."""
        pairs = ((letter, _letter_entry(place, letter)) for place, letter in enumerate(letters))
        for request in batch_requests(pairs, _size):
            yield from _send(self.sqs, self.url, request, deadline=deadline)


def _send(
    sqs: SQSClient, url: str, request: Sequence[tuple[_Owner, _Entry]], *, deadline: Deadline
) -> list[tuple[_Owner, bool]]:
    """Send the entries of one request; return each owner with whether SQS confirmed it."""
    confirmed, _ = send_batch(sqs, url, [entry for _, entry in request], deadline=deadline)
    return [(owner, entry["Id"] in confirmed) for owner, entry in request]


def _letter_entry(place: int, letter: DeadLetter) -> _Entry:
    attributes = {
        "ErrorType": letter.error.error_type,
        "ErrorMessage": str(letter.error),
        SOURCE_MESSAGE_ID: letter.outcome.message.source_id,
    }
    return _entry(place, letter.body, attributes)


def _entry(place: int, body: str, attributes: Mapping[str, str]) -> _Entry:
    return {
        "Id": str(place),
        "MessageBody": body,
        "MessageAttributes": {
            name: {"DataType": "String", "StringValue": text or "none"}
            for name, text in attributes.items()
        },
    }


def _size(pair: tuple[object, _Entry]) -> int:
    _, entry = pair
    texts = [entry["MessageBody"]]
    for name, attribute in entry.get("MessageAttributes", {}).items():
        texts += [name, attribute["DataType"], attribute.get("StringValue", "")]
    return sum(len(text.encode()) for text in texts)

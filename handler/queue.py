"""Queue: the SQS event that wakes us, and what SQS is told of each message.

Messages go on to the forwarder, which says what becomes of each: done, to be tried again, or set
aside to the dead-letter queue (DLQ) with a reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from handler.clock import AWS_CALL_S, Deadline, Draw
from handler.concurrency import side_by_side, slices
from handler.domain.outcome import DeadLetter, MessageOutcome, ReceivedMessage
from handler.errors import MisconfiguredError
from handler.sender import MAX_ENTRIES, batch_requests, message_group

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import (
        MessageAttributeValueTypeDef,
        SendMessageBatchRequestEntryTypeDef,
    )

    _Entry = SendMessageBatchRequestEntryTypeDef

FIRST_DELAY_S: Final = 30
LAST_DELAY_S: Final = 15 * 60

RETRY_REASON: Final = "RetryReason"
SOURCE_MESSAGE_ID: Final = "SourceMessageId"


def messages(event: Mapping[str, Any], *, retry_queue_url: str) -> list[ReceivedMessage]:
    """Return the messages of an SQS event. Raises MisconfiguredError for any other event."""
    retry_queue = retry_queue_url.rpartition("/")[2]
    try:
        return [_received(record, retry_queue) for record in event["Records"]]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise MisconfiguredError(f"not an SQS event: {type(error).__name__}") from None


def _received(record: Mapping[str, Any], retry_queue: str) -> ReceivedMessage:
    source_id, since = record["messageId"], None
    if record.get("eventSourceARN", "").rpartition(":")[2] == retry_queue:
        since = int(record["attributes"]["SentTimestamp"]) / 1000
        source_id = _text(record.get("messageAttributes", {}), SOURCE_MESSAGE_ID) or source_id
    return ReceivedMessage(
        id=record["messageId"],
        body=record["body"],
        receipt_handle=record["receiptHandle"],
        receive_count=int(record["attributes"]["ApproximateReceiveCount"]),
        source_id=source_id,
        retried_since=since,
    )


def _text(attributes: Mapping[str, Any], name: str) -> str:
    return str(attributes.get(name, {}).get("stringValue", ""))


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
        """Hide messages for longer the more often they were received, each on its queue.

        One that SQS does not hide comes back after the queue's visibility timeout instead.
        """
        for url, on_retry_queue in ((self.queue_url, False), (self.retry_queue_url, True)):
            theirs = [each for each in messages if each.on_retry_queue is on_retry_queue]
            delay = partial(self._delay, url, deadline=deadline)
            side_by_side(self.executor, delay, slices(theirs, MAX_ENTRIES))

    def move_to_retry(self, outcomes: Sequence[MessageOutcome], *, deadline: Deadline) -> set[str]:
        """Send messages to the retry queue; return the ids of those that are there.

        They can be received there after about 30 seconds.
        """
        moved: set[str] = set()
        entries = [self._retry_entry(*numbered) for numbered in enumerate(outcomes)]
        send = partial(self._send, self.retry_queue_url, deadline=deadline)
        for sent in side_by_side(self.executor, send, [*batch_requests(entries, _size)]):
            moved |= {outcomes[int(entry["Id"])].message.id for entry, arrived in sent if arrived}
        return moved

    def set_aside(
        self, letters: Iterable[DeadLetter], *, deadline: Deadline
    ) -> Iterator[tuple[DeadLetter, bool]]:
        """Send letters to the DLQ, each with its reason; return each with whether it is there.

        One request's letters are in memory at a time.
        """
        written = ((letter, _letter_entry(letter, place)) for place, letter in enumerate(letters))
        for request in batch_requests(written, lambda pair: _size(pair[1])):
            entries = [entry for _, entry in request]
            sent = self._send(self.dead_letter_queue_url, entries, deadline=deadline)
            yield from (
                (letter, arrived) for (letter, _), (_, arrived) in zip(request, sent, strict=True)
            )

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
                        "VisibilityTimeout": self._delay_of(message),
                    }
                    for place, message in enumerate(batch)
                ],
            )

    def _delay_of(self, message: ReceivedMessage) -> int:
        # On the retry queue it has been tried once more: before it came there.
        tries = message.receive_count + message.on_retry_queue
        return retry_delay(tries, self.draw)

    def _send(
        self, url: str, entries: Sequence[_Entry], *, deadline: Deadline
    ) -> list[tuple[_Entry, bool]]:
        """Send the entries of one request; return each with whether SQS has it."""
        taken: set[str] = set()
        if deadline.allows(AWS_CALL_S):
            with suppress(BotoCoreError, ClientError):
                answer = self.sqs.send_message_batch(QueueUrl=url, Entries=entries)
                taken = {success["Id"] for success in answer.get("Successful", ())}
        return [(entry, entry["Id"] in taken) for entry in entries]

    def _retry_entry(self, place: int, outcome: MessageOutcome) -> _Entry:
        return {
            "Id": str(place),
            "MessageBody": outcome.message.body,
            "DelaySeconds": retry_delay(1, self.draw),
            "MessageGroupId": message_group(outcome.opened.account_id if outcome.opened else None),
            "MessageAttributes": _attributes(
                {
                    SOURCE_MESSAGE_ID: outcome.message.source_id,
                    RETRY_REASON: f"{type(outcome.retry).__name__}: {outcome.retry}",
                }
            ),
        }


def _letter_entry(letter: DeadLetter, place: int) -> _Entry:
    return {
        "Id": str(place),
        "MessageBody": letter.body,
        "MessageAttributes": _attributes(
            {
                "ErrorType": letter.error.error_type,
                "ErrorMessage": str(letter.error),
                SOURCE_MESSAGE_ID: letter.outcome.message.source_id,
            }
        ),
    }


def _attributes(texts: Mapping[str, str]) -> dict[str, MessageAttributeValueTypeDef]:
    return {
        name: {"DataType": "String", "StringValue": text or "none"} for name, text in texts.items()
    }


def _size(entry: _Entry) -> int:
    texts = [entry["MessageBody"]]
    for name, attribute in entry.get("MessageAttributes", {}).items():
        texts += [name, attribute["DataType"], attribute.get("StringValue", "")]
    return sum(len(text.encode()) for text in texts)

"""Dead-letter queue: receives its messages, and sends them to the source queue or deletes them.

A received message is hidden for two minutes. At the end of a walk, messages that were not deleted
are made visible at once; if the tool is killed, they become visible by themselves.
A redrive sends first and deletes after, so at every moment a message is on at least one of the
two queues. It may be on both, which is harmless: the function handles duplicates.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from handler.sender import MAX_ENTRIES, batch_requests
from ops.dead_letters import DeadLetter, read_letter

if TYPE_CHECKING:
    from mypy_boto3_sqs.client import SQSClient

    from ops.stack import Stack

HIDDEN_S: Final = 120
"""How long a received message is hidden from others, in seconds."""

_POLL_S: Final = 1
_MAX_POLLS_WITHOUT_NEWS: Final = 20
"""Messages that were hidden for long become visible during a walk, so a poll may return only
messages that it returned before."""


@dataclass(frozen=True, slots=True)
class Redriven:
    """The result of redriving a few letters. `not_deleted` were sent: they arrive twice."""

    sent: int
    not_sent: int
    not_deleted: int


class DeadLetterQueue:
    """The dead-letter queue, and the source queue that its messages return to."""

    def __init__(
        self,
        sqs: SQSClient,
        stack: Stack,
        *,
        sleep: Callable[[float], None],
        poll_s: int = _POLL_S,
    ) -> None:
        """Keep where the queues are; `poll_s` is how long a poll of an empty queue waits."""
        self._sqs = sqs
        self._url = stack.dead_letter_queue_url
        self._source_url = stack.queue_url
        self._retry_queue_name = stack.retry_queue_url.rpartition("/")[2]
        self._sleep = sleep
        self._poll_s = poll_s
        self._receipts: dict[str, str] = {}  # by message id
        self._sent: set[str] = set()  # ids of messages sent
        self.hidden = 0
        """About how many letters the last walk could not receive, as others have received them."""

    def count(self) -> int:
        """Return about how many letters there are, hidden ones included."""
        counts = self._sqs.get_queue_attributes(
            QueueUrl=self._url,
            AttributeNames=[
                "ApproximateNumberOfMessages",
                "ApproximateNumberOfMessagesNotVisible",
            ],
        )["Attributes"]
        return sum(map(int, counts.values()))

    def walk(self, *, most: int | None = None) -> Generator[list[DeadLetter], None, None]:
        """Receive the letters that are in the queue now, each once, at most ten at a time.

        Close the generator to make visible again the letters that were not deleted.
        """
        self.hidden = 0
        before = self.count()
        seen: set[str] = set()
        started: float | None = None
        polls_without_news = 0
        try:
            while polls_without_news < _MAX_POLLS_WITHOUT_NEWS and (
                most is None or len(seen) < most
            ):
                answer = self._receive()
                started = started or _date(answer)
                received: Sequence[Any] = answer.get("Messages", ())
                self._receipts.update(
                    (message["MessageId"], message["ReceiptHandle"]) for message in received
                )
                letters = [
                    read_letter(message, retry_queue_name=self._retry_queue_name)
                    for message in received
                    if message["MessageId"] not in seen
                ]
                seen.update(letter.id for letter in letters)
                # Skip letters that arrived after the walk began, above all those that were
                # redriven and refused again.
                letters = [
                    letter
                    for letter in letters
                    if letter.sent_at <= started and letter.source_message_id not in self._sent
                ]
                polls_without_news += 1 if received else _MAX_POLLS_WITHOUT_NEWS
                if letters:
                    polls_without_news = 0
                    yield letters
            if most is None or len(seen) < most:
                # Do not count letters that were deleted or arrived during the walk.
                unseen = before - len(seen)
                not_ours = self.count() - len(self._receipts)
                self.hidden = max(0, min(unseen, not_ours))
        finally:
            self._make_visible()

    def redrive(self, letters: Sequence[DeadLetter], *, rate: float) -> Iterator[Redriven]:
        """Send letters to the source queue, at most `rate` a second, and delete those sent."""
        for batch in batch_requests(letters, lambda letter: len(letter.body.encode())):
            sent = [batch[place] for place in self.send([letter.body for letter in batch])]
            yield Redriven(len(sent), len(batch) - len(sent), self.delete(sent))
            self._sleep(len(batch) / rate)

    def send(self, bodies: Sequence[str]) -> list[int]:
        """Send at most ten messages to the source queue; return the places of those sent."""
        answer = self._sqs.send_message_batch(
            QueueUrl=self._source_url,
            # Without attributes: if SQS moves the message later, an old reason would mislead.
            Entries=[{"Id": str(place), "MessageBody": body} for place, body in enumerate(bodies)],
        )
        sent = answer.get("Successful", ())
        self._sent.update(entry["MessageId"] for entry in sent)
        return [int(entry["Id"]) for entry in sent]

    def delete(self, letters: Sequence[DeadLetter]) -> int:
        """Delete at most ten received letters; return how many SQS did not delete."""
        if not letters:
            return 0
        answer = self._sqs.delete_message_batch(
            QueueUrl=self._url,
            Entries=[
                {"Id": str(place), "ReceiptHandle": self._receipts[letter.id]}
                for place, letter in enumerate(letters)
            ],
        )
        for entry in answer.get("Successful", ()):
            del self._receipts[letters[int(entry["Id"])].id]
        return len(answer.get("Failed", ()))

    def _receive(self) -> Any:
        return self._sqs.receive_message(
            QueueUrl=self._url,
            MaxNumberOfMessages=MAX_ENTRIES,
            VisibilityTimeout=HIDDEN_S,
            WaitTimeSeconds=self._poll_s,
            MessageAttributeNames=["All"],
            MessageSystemAttributeNames=["SentTimestamp", "DeadLetterQueueSourceArn"],
        )

    def _make_visible(self) -> None:
        receipts = list(self._receipts.values())
        self._receipts.clear()
        # If this fails, the letters become visible by themselves after HIDDEN_S.
        with suppress(BotoCoreError, ClientError):
            for batch in batch_requests(receipts, lambda _: 0):
                self._sqs.change_message_visibility_batch(
                    QueueUrl=self._url,
                    Entries=[
                        {"Id": str(place), "ReceiptHandle": receipt, "VisibilityTimeout": 0}
                        for place, receipt in enumerate(batch)
                    ],
                )


def _date(answer: Any) -> float:
    """Return the end of the second in which SQS answered; a laptop's clock may be wrong."""
    date = answer["ResponseMetadata"]["HTTPHeaders"]["date"]
    return parsedate_to_datetime(date).timestamp() + 1

"""Sender: puts messages on the source queue, in as few SQS batch requests as its limits allow.

Bodies come in from the ingress, and from ops. queue.py sends batch requests of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import KW_ONLY, dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from handler.clock import AWS_CALL_S, Deadline, Draw, Sleep
from handler.concurrency import side_by_side
from handler.domain.packing import packed
from handler.errors import OutOfTimeError, RetryableError, UnavailableError

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import SendMessageBatchRequestEntryTypeDef as _Entry

MAX_ENTRIES: Final = 10
"""SQS's limit on the messages of a batch request."""

MAX_REQUEST_BYTES: Final = 256_000
"""The limit for the messages of a batch request, attributes included. SQS takes 1 MiB; smaller
requests can be sent side by side, and less is sent again after a failure."""

MAX_ROUNDS: Final = 4  # of sending messages that SQS did not confirm
FIRST_PAUSE_S: Final = 0.1  # at most, before the second round; it doubles

# A retry does not help. SQS prefixes some codes, for example with AWS.SimpleQueueService.
_PERMANENT_CODES: Final = {
    "AccessDenied",
    "AccessDeniedException",
    "BatchRequestTooLong",
    "InvalidMessageContents",
    "KmsAccessDenied",
    "NonExistentQueue",
    "QueueDoesNotExist",
}

_Sendable = TypeVar("_Sendable")


@dataclass(frozen=True, slots=True)
class Unsent:
    """The bodies that SQS has not confirmed, and why; no error if there are none."""

    bodies: Sequence[str] = field(default=(), repr=False)
    error: RetryableError | None = None


@dataclass(frozen=True, slots=True)
class Sender:
    """Sends to the source queue; `executor` sends several requests side by side.

    `group` is the message group of all messages; without it, each account has its own.
    `rounds`: how often it sends, at most, what SQS did not confirm.
    """

    sqs: SQSClient
    executor: Executor
    _: KW_ONLY
    queue_url: str
    draw: Draw
    sleep: Sleep
    group: str | None = None
    rounds: int = MAX_ROUNDS

    def send(self, bodies: Sequence[str], *, account_id: int | None, deadline: Deadline) -> None:
        """Send all bodies, in any order, and return when SQS has confirmed each.

        Transient failures are retried while time is left. Raises UnavailableError or
        OutOfTimeError if some are not confirmed; others may be on the queue even so.
        """
        unsent = self.try_to_send(bodies, account_id=account_id, deadline=deadline)
        if unsent.error is not None:
            raise unsent.error

    def try_to_send(
        self, bodies: Sequence[str], *, account_id: int | None, deadline: Deadline
    ) -> Unsent:
        """Do the same, but return which bodies SQS has not confirmed, if any, and why."""
        waiting = list(bodies)
        group = message_group(account_id) if self.group is None else self.group
        send = partial(self._send, group=group, deadline=deadline)
        for number in range(self.rounds):
            if number:
                self.sleep(self.draw(0.0, FIRST_PAUSE_S * 2 ** (number - 1)))
            requests = [*batch_requests(waiting, lambda body: len(body.encode()))]
            answers = side_by_side(self.executor, send, requests)
            waiting = [body for left, _ in answers for body in left]
            if not waiting:
                return Unsent()
            codes = sorted((code for left, code in answers if left), key=_is_transient)
            if not _is_transient(codes[0]):
                break
            if not deadline.allows(AWS_CALL_S):
                out_of_time = OutOfTimeError("no time left to put all messages on the queue")
                return Unsent(waiting, out_of_time)
        # SQS's texts may quote messages, so use only the code.
        reason = f"the queue did not take {len(waiting)} of {len(bodies)} messages: {codes[0]}"
        return Unsent(waiting, UnavailableError(reason))

    def _send(
        self, request: Sequence[str], *, group: str, deadline: Deadline
    ) -> tuple[Sequence[str], str]:
        """Send bodies; return those that SQS did not confirm, and the code of an error."""
        entries: list[_Entry] = [
            {"Id": str(place), "MessageBody": body, "MessageGroupId": group}
            for place, body in enumerate(request)
        ]
        confirmed, code = send_batch(self.sqs, self.queue_url, entries, deadline=deadline)
        return [each["MessageBody"] for each in entries if each["Id"] not in confirmed], code


def send_batch(
    sqs: SQSClient, url: str, entries: Sequence[_Entry], *, deadline: Deadline
) -> tuple[set[str], str]:
    """Send one batch request; return the ids that SQS confirmed, and why it did not the others."""
    if not deadline.allows(AWS_CALL_S):
        return set(), "no time left"
    try:
        answer = sqs.send_message_batch(QueueUrl=url, Entries=entries)
    except ClientError as error:
        return set(), error.response["Error"]["Code"]
    except BotoCoreError as error:
        return set(), type(error).__name__
    codes = [failure["Code"] for failure in answer.get("Failed", ())]
    confirmed = {success["Id"] for success in answer.get("Successful", ())}
    return confirmed, codes[0] if codes else "not said"


def message_group(account_id: int | None) -> str:
    """Return the message group of an mParticle account's messages.

    If one group has many messages waiting on a standard queue, SQS delivers those of the others
    first ("fair queues").
    """
    return "none" if account_id is None else str(account_id)


def batch_requests(
    items: Iterable[_Sendable], size_of: Callable[[_Sendable], int]
) -> Iterator[list[_Sendable]]:
    """Pack items into batch requests; `size_of` gives an item's bytes, attributes included."""
    return packed(items, size_of, max_size=MAX_REQUEST_BYTES, max_items=MAX_ENTRIES)


def _is_transient(code: str) -> bool:
    return code.rpartition(".")[2] not in _PERMANENT_CODES

"""Transform: put the records of a delivery stream on the queue, and tell the stream which are.

    read > group > enqueue > set aside > answer

Events come in from the front door. A record is answered `Ok` only if SQS has all that it says:
its changes on the queue, and what cannot be read in the dead-letter queue (DLQ).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

import msgspec

from handler.clock import AWS_CALL_S, Deadline, Now
from handler.domain.change_messages import Change, change_messages
from handler.domain.outcome import DeadLetter, MessageOutcome, ReceivedMessage
from handler.domain.report import StreamReport
from handler.domain.stream_record import Unreadable, letter_body, read_records
from handler.domain.transformation import StreamRecord, answer, read_event
from handler.sender import Unsent

SETTING_ASIDE_S = 2 * AWS_CALL_S
"""Reserved to set aside and answer, in seconds."""


class Sender(Protocol):
    """The queue; see sender.py."""

    def try_to_send(
        self, bodies: Sequence[str], *, account_id: int | None, deadline: Deadline
    ) -> Unsent:
        """Send bodies of an account; return which of them SQS has not confirmed."""


class DeadLetterQueue(Protocol):
    """The DLQ; see queue.py."""

    def set_aside(
        self, letters: Iterable[DeadLetter], *, deadline: Deadline
    ) -> Iterator[tuple[DeadLetter, bool]]:
        """Send letters; yield each with whether it arrived."""


class Telemetry(Protocol):
    """Where invocations are reported; see telemetry.py."""

    def stream_transformed(self, report: StreamReport) -> None:
        """Report one invocation."""


class Transformer(msgspec.Struct, frozen=True):
    """Answers events. `account_id`: the mParticle account that the messages name."""

    sender: Sender
    dead_letter_queue: DeadLetterQueue
    telemetry: Telemetry
    now: Now
    account_id: int | None

    def transform(self, event: Any, *, deadline: Deadline) -> dict[str, Any]:
        """Put the records of an event on the queue, and return the answer."""
        transformation = read_event(event)
        records = transformation.records
        now = self.now()
        read = [
            (place, each)
            for place, record in enumerate(records)
            for each in read_records(record.data, now=now)
        ]
        changes = [(place, each) for place, each in read if isinstance(each, Change)]
        unreadable = [(place, each) for place, each in read if isinstance(each, Unreadable)]
        failed: set[int] = set()
        messages = [
            *change_messages(
                [change for _, change in changes],
                account_id=self.account_id,
                message_id=transformation.id,
            )
        ]
        unsent = self.sender.try_to_send(
            [body for body, _ in messages],
            account_id=self.account_id,
            deadline=deadline.keeping(SETTING_ASIDE_S),
        )
        waiting = {*unsent.bodies}
        for body, numbers in messages:
            if body in waiting:
                failed |= {changes[number][0] for number in numbers}
        letters = [self._letter(records[place], each) for place, each in unreadable]
        set_aside = self.dead_letter_queue.set_aside(letters, deadline=deadline)
        for (place, _), (_, arrived) in zip(unreadable, set_aside, strict=True):
            if not arrived:
                failed.add(place)
        self.telemetry.stream_transformed(
            StreamReport(
                records=len(records),
                changes=len(changes),
                messages=len(messages),
                unreadable=len(unreadable),
                failed=len(failed),
                reason="" if unsent.error is None else str(unsent.error),
            )
        )
        return answer(records, failed=failed)

    def _letter(self, record: StreamRecord, unreadable: Unreadable) -> DeadLetter:
        body = letter_body(unreadable, at_ms=record.arrived_at_ms, account_id=self.account_id)
        message = ReceivedMessage(
            record.id, body, receipt_handle="", receive_count=1, source_id=record.id
        )
        outcome = MessageOutcome(message, error=unreadable.error)
        return DeadLetter(body, unreadable.error, outcome, profiles=0)

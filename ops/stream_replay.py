"""Stream replay: puts what the records of the audience stream say on the queue again.

    objects > changes > messages > queue

What arrives twice does no harm, so a replay that was stopped is simply repeated.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Final

from handler.domain.change_messages import Change, change_messages
from handler.sender import Sender, batch_requests
from ops.stack import NO_DEADLINE
from ops.stream_archive import StoredObject, UnreadableRecord, read

CHANGES_AT_ONCE: Final = 10_000
"""Changes that are in memory together. Only these share messages."""

MOST_SHOWN: Final = 20
"""Unreadable records that are named. The others are counted."""


@dataclass(slots=True)
class Counts:
    """What a replay has read and sent."""

    objects: int = 0
    changes: int = 0
    messages: int = 0
    unreadable: int = 0
    first_unreadable: list[UnreadableRecord] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Replay:
    """A replay of objects of one stream; `message_id` names its messages in the log."""

    s3: Any
    bucket: str
    account_id: int | None
    _: KW_ONLY
    message_id: str
    now: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep
    counts: Counts = field(default_factory=Counts)

    def run(
        self, objects: Iterable[StoredObject], sender: Sender | None, *, rate: float
    ) -> Iterator[StoredObject]:
        """Send all, at most `rate` messages a second, and yield each object once it is read.

        Without a sender it only counts. Raises UnavailableError if SQS does not take a message.
        """
        changes: list[Change] = []
        for stored in objects:
            for found in read(self.s3, self.bucket, stored, now=self.now()):
                if isinstance(found, UnreadableRecord):
                    self._count(found)
                    continue
                changes.append(found)
                if len(changes) >= CHANGES_AT_ONCE:
                    self._send(changes, sender, rate)
                    changes.clear()
            self.counts.objects += 1
            yield stored
        self._send(changes, sender, rate)

    def _count(self, unreadable: UnreadableRecord) -> None:
        self.counts.unreadable += 1
        if len(self.counts.first_unreadable) < MOST_SHOWN:
            self.counts.first_unreadable.append(unreadable)

    def _send(self, changes: Sequence[Change], sender: Sender | None, rate: float) -> None:
        messages = change_messages(changes, account_id=self.account_id, message_id=self.message_id)
        bodies = (body for body, _ in messages)
        for batch in batch_requests(bodies, len):  # the messages are ASCII
            if sender:
                sender.send(batch, account_id=self.account_id, deadline=NO_DEADLINE)
                self.sleep(len(batch) / rate)
            self.counts.messages += len(batch)
        self.counts.changes += len(changes)

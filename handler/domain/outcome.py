"""Outcome: whether a message and its profiles are delivered, retried or set aside.

Messages come in from queue.py; the forwarder records errors. Letters for the DLQ come out.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Final

import msgspec

from handler.domain.dead_letter import parts_of, whole_body
from handler.domain.message import AudienceMessage
from handler.errors import Failure, PermanentError, RetriesExhaustedError, RetryableError

MAX_REASONS: Final = 20
"""Most reasons of one message that get a letter each. Real messages fail for a few reasons; a
crafted one could fail for thousands, each with a request to SQS."""


@dataclass(frozen=True, slots=True)
class ReceivedMessage:
    """One SQS message as it was received.

    `source_id`: its id on the source queue. `retried_since`: when it moved to the retry queue, in
    Unix seconds; None if it is on the source queue.
    """

    id: str
    body: str = field(repr=False)
    receipt_handle: str = field(repr=False)
    receive_count: int
    source_id: str
    retried_since: float | None = None

    @property
    def on_retry_queue(self) -> bool:
        """Whether it was received from the retry queue."""
        return self.retried_since is not None


@dataclass(frozen=True, slots=True, eq=False)
class DeadLetter:
    """One message for the DLQ: a message, or some of its profiles, and why it is set aside."""

    body: str = field(repr=False)
    error: PermanentError
    outcome: MessageOutcome = field(repr=False)
    profiles: int


class MessageOutcome(msgspec.Struct):
    """The result of one message so far.

    `opened`: the message as read. `error`: why the whole message is rejected; `refused`: why
    profiles are, by their place. `retry`: why the message is retried; `unfinished`: the places of
    the profiles to retry, empty if all are.
    """

    message: ReceivedMessage
    opened: AudienceMessage | None = None
    error: PermanentError | None = None
    refused: dict[int, PermanentError] = {}
    retry: RetryableError | None = None
    unfinished: set[int] = msgspec.field(default_factory=set)

    def fail(self, error: Failure) -> None:
        """Record an error of the whole message."""
        if isinstance(error, RetryableError):
            self.retry = error
            self.unfinished.clear()  # all are retried
        else:
            self.error = error

    def fail_profile(self, place: int, error: Failure) -> None:
        """Record an error of one profile; a RetryableError keeps the message on the queue."""
        if isinstance(error, RetryableError):
            self.retry = error
            self.unfinished.add(place)
        else:
            self.refused[place] = error

    def stop_retrying(self, *, now: float, after_s: float) -> None:
        """Reject permanently what was retried for so many seconds; `now` is in Unix seconds."""
        since = self.message.retried_since
        if self.retry is None or since is None or now < since + after_s:
            return
        last = f"{type(self.retry).__name__}: {self.retry}"
        error = RetriesExhaustedError(f"not delivered for {after_s / 3600:g} hours, last: {last}")
        self.retry = None
        if self.unfinished:
            self.refused |= dict.fromkeys(self.unfinished, error)
        else:
            self.error = error

    def letters(self) -> list[DeadLetter]:
        """Return what to set aside; nothing while anything is to be retried.

        Profiles with the same reason share a letter. After `MAX_REASONS` letters, all others share
        one, with the reason of the first. Each body is a message for the source queue.
        """
        if self.retry is not None:
            return []
        if self.error is not None:
            profiles = len(self.opened.profiles) if self.opened else 0
            return [DeadLetter(whole_body(self.message.body), self.error, self, profiles)]
        if self.opened is None or not self.refused:
            return []
        by_reason: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
        for place in sorted(self.refused):
            error = self.refused[place]
            by_reason[error.error_type, str(error)].append(place)
        groups = [(self.refused[places[0]], places) for places in by_reason.values()]
        others = groups[MAX_REASONS:]
        if len(others) > 1:
            error = others[0][0]
            error = type(error)(f"{error}, and {len(others) - 1} other reasons")
            together = sorted(place for _, places in others for place in places)
            groups[MAX_REASONS:] = [(error, together)]
        raw = self.opened.profiles
        parts = [[raw[place] for place in places] for _, places in groups]
        bodies = parts_of(self.message.body, parts)
        return [
            DeadLetter(body, error, self, len(places))
            for body, (error, places) in zip(bodies, groups, strict=True)
        ]

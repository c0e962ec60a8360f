"""Outcome: what becomes of one message, as its profiles are gone through one by one.

Messages come in from queue.py; the forwarder notes what happens to each profile. What is to be
set aside comes out as letters for the DLQ.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from operator import itemgetter
from typing import Final

from handler.domain.dead_letter import body_of, whole_body
from handler.domain.message import AudienceMessage
from handler.errors import PermanentError, RetriesExhaustedError, RetryableError

MAX_REASONS: Final = 20
"""Reasons of one message whose profiles get a letter of their own. Real messages fail for a few;
a crafted one could fail for thousands, each with a request to SQS."""


@dataclass(frozen=True, slots=True)
class ReceivedMessage:
    """One SQS message as it was received.

    `source_id` is the id that SQS gave it on the source queue; `retried_since`, in Unix seconds,
    when it moved to the retry queue, None while it is on the source queue.
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
    """One message for the DLQ: what is set aside of a message, and why."""

    body: str = field(repr=False)
    error: PermanentError
    outcome: MessageOutcome = field(repr=False)
    profiles: int


@dataclass(slots=True)
class MessageOutcome:
    """What is known so far of one message's end.

    `error` is what refused the message as a whole; `refused` why single profiles were, by their
    place; `retry` why it is tried again, and `unfinished` the profiles for which it is, none
    if it is the whole message.
    """

    message: ReceivedMessage
    opened: AudienceMessage | None = None
    error: PermanentError | None = None
    refused: dict[int, PermanentError] = field(default_factory=dict)
    retry: RetryableError | None = None
    unfinished: set[int] = field(default_factory=set)

    def fail(self, error: PermanentError | RetryableError) -> None:
        """Note what the whole message failed for."""
        if isinstance(error, RetryableError):
            self.retry = error
            self.unfinished.clear()  # it is all of them now
        else:
            self.error = error

    def fail_profile(self, place: int, error: PermanentError | RetryableError) -> None:
        """Note what one profile failed for; what can be retried keeps the message on the queue."""
        if isinstance(error, RetryableError):
            self.retry = error
            self.unfinished.add(place)
        else:
            self.refused[place] = error

    def stop_retrying(self, *, now: float, after_s: float) -> None:
        """Reject permanently what was tried for so many seconds; `now` in Unix seconds."""
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
        """Return what is to be set aside: nothing yet while anything is to be retried.

        Profiles refused for the same reason go together; after `MAX_REASONS` all others do,
        under the reason of the first of them. Each letter's body is a message that can be sent to
        the source queue again.
        """
        if self.retry is not None:
            return []
        if self.opened is None:
            if self.error is None:
                return []
            return [DeadLetter(whole_body(self.message.body), self.error, self, profiles=0)]
        refused = self.refused
        if self.error is not None:
            if not self.opened.profiles:
                return [self._letter(self.opened, self.error, ())]
            refused = dict.fromkeys(range(len(self.opened.profiles)), self.error)
        alike: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
        for place, error in sorted(refused.items(), key=itemgetter(0)):
            alike[error.error_type, str(error)].append(place)
        groups = list(alike.values())
        letters = [
            self._letter(self.opened, refused[places[0]], places)
            for places in groups[:MAX_REASONS]
        ]
        if others := groups[MAX_REASONS:]:
            error = refused[others[0][0]]
            if len(others) > 1:
                error = type(error)(f"{error}, and {len(others) - 1} other reasons")
            letters.append(self._letter(self.opened, error, sorted(chain.from_iterable(others))))
        return letters

    def _letter(
        self, opened: AudienceMessage, error: PermanentError, places: Sequence[int]
    ) -> DeadLetter:
        body = body_of(opened, [opened.profiles[place] for place in places])
        return DeadLetter(body, error, self, len(places))

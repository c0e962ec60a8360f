"""Receive: put one of mParticle's requests on the queue, and answer it.

Requests come in from the front door or from http/url_endpoint.py. What is acknowledged is on the
queue; anything that prevents that is an error, after which mParticle sends the request again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from aws_lambda_powertools import Logger

from handler.clock import Now, TimeLeft
from handler.domain import firehose
from handler.domain.firehose import RequestType


class Sender(Protocol):
    """The queue; see sender.py."""

    def send(self, bodies: Sequence[str], *, time_left: TimeLeft) -> None:
        """Send all bodies, and return when SQS has confirmed each."""


class Suspensions(Protocol):
    """The accounts whose audiences mParticle is to suspend; see suspension.py."""

    def holds(self, account_id: int, *, now: float, time_left: TimeLeft) -> bool:
        """Return whether an account is suspended."""


@dataclass(frozen=True, slots=True)
class Receiver:
    """Answers requests. Without `suspensions` no account is ever suspended."""

    sender: Sender
    suspensions: Suspensions | None
    logger: Logger
    now: Now
    new_id: Callable[[], str]

    def receive(self, request: Any, *, time_left: TimeLeft) -> dict[str, Any]:
        """Put what a request brings on the queue, and return the answer to it.

        Raises PermanentError for a request that is none of ours, and RetryableError if not all
        of it is on the queue.
        """
        kind = firehose.request_type(request)
        bodies, refusal = firehose.parts(request)
        self.sender.send(bodies, time_left=time_left)
        if refusal is not None:
            raise refusal
        suspended = kind is RequestType.MEMBERSHIP_CHANGE and self._suspended(request, time_left)
        self.logger.info(
            "firehose.answered",
            extra={"type": kind.value, "messages": len(bodies), "suspended": suspended},
        )
        return firehose.answer(
            request, answer_id=self.new_id(), now=self.now(), suspended=suspended
        )

    def _suspended(self, request: Mapping[str, Any], time_left: TimeLeft) -> bool:
        account_id = firehose.account_id(request)
        if self.suspensions is None or account_id is None:
            return False
        return self.suspensions.holds(account_id, now=self.now(), time_left=time_left)

"""Receive: put one of mParticle's requests on the queue, and answer it.

Requests come in from the front door or from http/url_endpoint.py. Only what is on the queue is
acknowledged. After an error, mParticle sends the request again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import msgspec
from aws_lambda_powertools import Logger

from handler.clock import Deadline, Now
from handler.domain import firehose
from handler.domain.firehose import RequestType
from handler.errors import MalformedMessageError


class Sender(Protocol):
    """The queue; see sender.py."""

    def send(self, bodies: Sequence[str], *, account_id: int | None, deadline: Deadline) -> None:
        """Send all bodies of an account, and return when SQS has confirmed each."""


class Suspensions(Protocol):
    """The accounts whose audiences mParticle is to suspend; see table/suspensions.py."""

    def is_suspended(self, account_id: int, *, now: float, deadline: Deadline) -> bool:
        """Return whether an account is suspended."""


class Receiver(msgspec.Struct, frozen=True):
    """Answers requests. Without `suspensions` no account is ever suspended."""

    sender: Sender
    suspensions: Suspensions | None
    logger: Logger
    now: Now
    new_id: Callable[[], str]
    version: str
    customer_id_type: str

    def receive(self, request: Any, *, deadline: Deadline) -> dict[str, Any]:
        """Put a request's messages on the queue, and return the answer.

        A request of another type goes on the queue too; the forwarder sets it aside.
        Raises MalformedMessageError if a part of it is too large for SQS, and RetryableError if
        SQS did not confirm all messages. Other messages may be on the queue even so.
        """
        try:
            parts = firehose.parts(request)
        except RecursionError:
            raise MalformedMessageError("$: nested too deeply") from None
        return self._enqueue(request, parts, deadline)

    def receive_body(self, body: bytes, *, deadline: Deadline) -> dict[str, Any]:
        """Do the same for an unparsed request; a body that is not JSON is enqueued unchanged."""
        try:
            request = json.loads(body)
            parts = firehose.parts(request)
        except (ValueError, RecursionError):
            request, parts = None, firehose.Parts([firehose.as_it_came(body)])
        return self._enqueue(request, parts, deadline)

    def _enqueue(self, request: Any, parts: firehose.Parts, deadline: Deadline) -> dict[str, Any]:
        kind = firehose.request_type(request)
        account_id = firehose.account_id(request)
        self.sender.send(parts.bodies, account_id=account_id, deadline=deadline)
        if parts.refusal is not None:
            raise parts.refusal
        suspended = kind is RequestType.MEMBERSHIP_CHANGE and self._is_suspended(
            account_id, deadline
        )
        self.logger.info(
            "firehose.answered",
            extra={
                "type": kind.value if kind else "other",
                "messages": len(parts.bodies),
                "suspended": suspended,
            },
        )
        return firehose.answer(
            request,
            answer_id=self.new_id(),
            now=self.now(),
            suspended=suspended,
            version=self.version,
            customer_id_type=self.customer_id_type,
        )

    def _is_suspended(self, account_id: int | None, deadline: Deadline) -> bool:
        if self.suspensions is None or account_id is None:
            return False
        return self.suspensions.is_suspended(account_id, now=self.now(), deadline=deadline)

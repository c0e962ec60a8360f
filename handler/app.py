"""App: the front door of the queue. Wiring only."""

from __future__ import annotations

import functools
import os
import random
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools import Logger, Metrics

from handler import clock, queue
from handler.jobs.forward import Forwarder
from handler.settings import Settings
from handler.table.suspensions import Suspensions
from handler.telemetry import Telemetry
from handler.walks import Walks
from handler.wiring import settle_memory, wire

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Forward one SQS batch; the answer names the messages to leave on the queue."""
    telemetry().begin(context)
    deadline = clock.Deadline.of(context, now=clock.now)
    try:
        received = queue.messages(event, retry_queue_url=settings().retry_queue_url)
        failed = forwarder().process(received, deadline=deadline)
    finally:
        telemetry().flush()
    return queue.partial_batch_response(failed)


@functools.cache
def telemetry() -> Telemetry:
    """Where log lines and metrics go; service and namespace come from the environment."""
    return Telemetry(Logger(), Metrics(), version=settings().version)


@functools.cache
def settings() -> Settings:
    """The stack's settings."""
    return Settings.from_environ(os.environ)


@functools.cache
def forwarder() -> Forwarder:
    """Create the forwarder and all that it needs, once per execution environment."""
    wired = wire(settings(), telemetry())
    created = Forwarder(
        wired.outside,
        queue=queue.Queue(
            wired.client("sqs"),
            wired.aws_threads,
            queue_url=settings().queue_url,
            retry_queue_url=settings().retry_queue_url,
            dead_letter_queue_url=settings().dead_letter_queue_url,
            draw=random.uniform,
        ),
        telemetry=telemetry(),
        retry_for_s=settings().retry_for_s,
        suspensions=(
            Suspensions(wired.client("dynamodb"), settings().table_name)
            if settings().suspends
            else None
        ),
        walks=(
            Walks(lambda: wired.client("stepfunctions"), settings().walks_arn)
            if settings().delivery_options.clear_removed_audiences
            else None
        ),
    )
    settle_memory()
    return created

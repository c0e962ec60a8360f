"""Stream: the front door of the delivery stream that mParticle writes to. Wiring only.

The stream invokes this function with some of its records, and archives them after the answer.
"""

from __future__ import annotations

import functools
import os
import random
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

from aws_lambda_powertools import Logger, Metrics

from handler import clock
from handler.aws.clients import client_factory
from handler.aws.transport import connection_pool
from handler.jobs.transform import Transformer
from handler.queue import DeadLetterQueue
from handler.sender import Sender
from handler.settings import StreamSettings
from handler.telemetry import Telemetry

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

SENDS_IN_FLIGHT: Final = 8

ROUNDS: Final = 8
"""Rounds of sending what SQS did not confirm. Nobody sends a failed record again by itself, and
the stream waits: the pauses are at most 13 seconds, the calls 32, of 60."""


def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Put records on the queue; the answer tells the stream which of them are there."""
    telemetry().begin(context)
    deadline = clock.Deadline.of(context, now=clock.now)
    try:
        return transformer().transform(event, deadline=deadline)
    finally:
        telemetry().flush()


@functools.cache
def settings() -> StreamSettings:
    """The stack's settings."""
    return StreamSettings.from_environ(os.environ)


@functools.cache
def telemetry() -> Telemetry:
    """Where log lines and metrics go; service and namespace come from the environment."""
    return Telemetry(Logger(), Metrics(), version=settings().version)


@functools.cache
def transformer() -> Transformer:
    """Create what every event needs, once per execution environment."""
    sqs = client_factory(connection_pool(SENDS_IN_FLIGHT))("sqs")
    return Transformer(
        Sender(
            sqs,
            ThreadPoolExecutor(SENDS_IN_FLIGHT, thread_name_prefix="sqs"),
            queue_url=settings().queue_url,
            draw=random.uniform,
            sleep=clock.sleep,
            rounds=ROUNDS,
        ),
        DeadLetterQueue(sqs, settings().dead_letter_queue_url),
        telemetry(),
        now=clock.now,
        account_id=settings().account_id,
    )

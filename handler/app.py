"""App: the front door. Wires the rooms at cold start, and lets each event in."""

from __future__ import annotations

import functools
import gc
import os
import random
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools import Logger, Metrics

from handler import aws, clock, queue
from handler.credentials import Credentials
from handler.customerio.client import TrackApi, full_jitter
from handler.forwarder import Forwarder
from handler.secret import Secret
from handler.settings import Settings
from handler.store import Store
from handler.suspension import Marks
from handler.telemetry import Telemetry

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

AWS_THREADS = 12
POSTS_IN_FLIGHT = 4
CREDENTIALS_KEPT_S = 300


def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Forward one SQS batch; the answer names the messages to leave on the queue."""
    telemetry().begin(context)
    try:
        failed = forwarder().process(queue.messages(event), time_left=clock.time_left(context))
    finally:
        telemetry().flush()
    return queue.partial_batch_response(failed)


@functools.cache
def telemetry() -> Telemetry:
    """Where log lines and metrics go; service and namespace come from the environment."""
    return Telemetry(Logger(), Metrics())


@functools.cache
def forwarder() -> Forwarder:
    """Wire the rooms together, once per execution environment."""
    settings = Settings.from_environ(os.environ)
    pool = aws.connections(AWS_THREADS)
    client = aws.clients(pool)
    dynamodb = client("dynamodb")
    aws_threads = ThreadPoolExecutor(AWS_THREADS, thread_name_prefix="aws")
    backoff = functools.partial(full_jitter, draw=random.uniform)
    wired = Forwarder(
        store=Store(
            dynamodb,
            settings.table_name,
            aws_threads,
            backoff=backoff,
            sleep=clock.sleep,
        ),
        credentials=Credentials(
            Secret(
                client("secretsmanager"),
                settings.credentials_secret_name,
                kept_s=CREDENTIALS_KEPT_S,
                now=clock.now,
                on_failure=telemetry().secret_unread,
            )
        ),
        customerio=TrackApi(
            pool,
            ThreadPoolExecutor(POSTS_IN_FLIGHT, thread_name_prefix="customerio"),
            telemetry(),
            draw=random.uniform,
            sleep=clock.sleep,
            url=settings.track_api_url,
        ),
        queue=queue.Queue(
            client("sqs"),
            aws_threads,
            queue_url=settings.queue_url,
            dead_letter_queue_url=settings.dead_letter_queue_url,
            draw=random.uniform,
        ),
        telemetry=telemetry(),
        now=clock.now,
        sleep=clock.sleep,
        backoff=backoff,
        one_attribute_per_audience=settings.one_attribute_per_audience,
        marks=Marks(dynamodb, settings.table_name) if settings.suspends else None,
    )
    # What is wired lives as long as the environment: the collector need not look at it again, nor
    # at every few people of a batch.
    gc.freeze()
    gc.set_threshold(50_000)
    return wired

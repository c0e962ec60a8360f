"""App: the front door of the queue. Wiring only."""

from __future__ import annotations

import functools
import gc
import os
import random
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools import Logger, Metrics

from handler import clock, queue
from handler.aws.clients import client_factory
from handler.aws.transport import connection_pool
from handler.credentials import Credentials
from handler.customerio.client import TrackApi, full_jitter
from handler.jobs.deliver import Deliverer
from handler.jobs.forward import Forwarder
from handler.jobs.post import WORKSPACES_AT_A_TIME
from handler.jobs.run import Outside
from handler.secret import Secret
from handler.settings import Settings
from handler.table.suspensions import Suspensions
from handler.table.table import open_table
from handler.telemetry import Telemetry

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

AWS_THREADS = 12
POST_THREADS = 64  # created on demand; several workspaces are posted side by side
CREDENTIALS_TTL_S = 300


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
    pool = connection_pool(POST_THREADS)
    client = client_factory(pool)
    dynamodb = client("dynamodb")
    aws_threads = ThreadPoolExecutor(AWS_THREADS, thread_name_prefix="aws")
    backoff = functools.partial(full_jitter, draw=random.uniform)
    credentials = Credentials(
        Secret(
            client("secretsmanager"),
            settings().credentials_secret_name,
            ttl_s=CREDENTIALS_TTL_S,
            now=clock.now,
            on_failure=telemetry().secret_unread,
        )
    )
    table = open_table(
        dynamodb,
        settings().table_name,
        aws_threads,
        backoff=backoff,
        now=clock.now,
        sleep=clock.sleep,
        on_full=telemetry().catalogue_full,
    )
    deliverer = Deliverer(
        Outside(
            people=table.people,
            audiences=table.audiences,
            credentials=credentials,
            customerio=TrackApi(
                pool,
                ThreadPoolExecutor(POST_THREADS, thread_name_prefix="customerio"),
                telemetry(),
                draw=random.uniform,
                sleep=clock.sleep,
                now=clock.now,
                requests_per_second=settings().share_of_requests_per_second,
                url=settings().track_api_url,
            ),
            telemetry=telemetry(),
            executor=ThreadPoolExecutor(WORKSPACES_AT_A_TIME, thread_name_prefix="workspaces"),
            now=clock.now,
            sleep=clock.sleep,
            backoff=backoff,
            options=settings().delivery_options,
        )
    )
    created = Forwarder(
        deliverer=deliverer,
        credentials=credentials,
        queue=queue.Queue(
            client("sqs"),
            aws_threads,
            queue_url=settings().queue_url,
            retry_queue_url=settings().retry_queue_url,
            dead_letter_queue_url=settings().dead_letter_queue_url,
            draw=random.uniform,
        ),
        telemetry=telemetry(),
        now=clock.now,
        retry_for_s=settings().retry_for_s,
        suspensions=Suspensions(dynamodb, settings().table_name) if settings().suspends else None,
    )
    # These objects live as long as the environment, so exclude them from garbage collection; and
    # collect less often, as a batch allocates many short-lived objects.
    gc.freeze()
    gc.set_threshold(50_000)
    return created

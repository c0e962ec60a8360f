"""Wiring: creates what delivering needs, for every function that delivers people."""

from __future__ import annotations

import functools
import gc
import random
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any

import msgspec

from handler import clock
from handler.aws.clients import client_factory
from handler.aws.transport import connection_pool
from handler.credentials import Credentials
from handler.customerio.client import TrackApi, full_jitter
from handler.jobs.post import WORKSPACES_AT_A_TIME
from handler.jobs.run import Outside
from handler.secret import Secret
from handler.settings import DeliverySettings
from handler.table.table import open_table
from handler.telemetry import Telemetry

AWS_THREADS = 12
POST_THREADS = 64  # created on demand; several workspaces are posted side by side
CREDENTIALS_TTL_S = 300


class Wired(msgspec.Struct, frozen=True):
    """What delivering needs, and the parts of it that a function needs too.

    `client` returns a client of AWS by the service's name.
    """

    outside: Outside
    client: Callable[[str], Any]
    aws_threads: Executor


def wire(settings: DeliverySettings, telemetry: Telemetry) -> Wired:
    """Create what delivering needs, once per execution environment."""
    pool = connection_pool(POST_THREADS)
    client = client_factory(pool)
    aws_threads = ThreadPoolExecutor(AWS_THREADS, thread_name_prefix="aws")
    backoff = functools.partial(full_jitter, draw=random.uniform)
    table = open_table(
        client("dynamodb"),
        settings.table_name,
        aws_threads,
        backoff=backoff,
        now=clock.now,
        sleep=clock.sleep,
        on_full=telemetry.catalogue_full,
    )
    outside = Outside(
        people=table.people,
        audiences=table.audiences,
        erasures=table.erasures,
        credentials=Credentials(
            Secret(
                client("secretsmanager"),
                settings.credentials_secret_name,
                ttl_s=CREDENTIALS_TTL_S,
                now=clock.now,
                on_failure=telemetry.secret_unread,
            )
        ),
        customerio=TrackApi(
            pool,
            ThreadPoolExecutor(POST_THREADS, thread_name_prefix="customerio"),
            telemetry,
            draw=random.uniform,
            sleep=clock.sleep,
            now=clock.now,
            requests_per_second=settings.requests_per_second,
            url=settings.track_api_url,
        ),
        telemetry=telemetry,
        executor=ThreadPoolExecutor(WORKSPACES_AT_A_TIME, thread_name_prefix="workspaces"),
        now=clock.now,
        sleep=clock.sleep,
        backoff=backoff,
        options=settings.delivery_options,
    )
    return Wired(outside, client, aws_threads)


def settle_memory() -> None:
    """Exclude what was created so far from garbage collection, and collect less often.

    These objects live as long as the environment, and a batch allocates many short-lived ones.
    """
    gc.freeze()
    gc.set_threshold(50_000)

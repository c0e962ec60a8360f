"""Ingress: the front door of mParticle's Firehose. Wiring only.

mParticle invokes this function with a request itself, or posts the request to the function's URL.
Answers are due within 100 ms, so only what the stack's settings need is created and read.
"""

from __future__ import annotations

import functools
import os
import random
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

from aws_lambda_powertools import Logger

from handler import clock
from handler.aws.clients import client_factory
from handler.aws.transport import connection_pool
from handler.errors import MisconfiguredError
from handler.http.token_auth import SECRET_TTL_S, TokenAuth
from handler.http.url_endpoint import UrlEndpoint
from handler.jobs.receive import Receiver
from handler.secret import Secret
from handler.sender import Sender
from handler.settings import IngressSettings
from handler.table.suspensions import Suspensions

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

SENDS_IN_FLIGHT: Final = 8
"""Calls to SQS at a time. A request of 4 MB takes 17, as each carries 256 kB at most."""


def lambda_handler(event: Any, context: LambdaContext) -> dict[str, Any]:
    """Answer one request of mParticle, from an invocation or from the function's URL."""
    logger().append_keys(function_request_id=context.aws_request_id)
    deadline = clock.Deadline.of(context, now=clock.now)
    if _came_over_http(event):
        return url_endpoint().answer(event, deadline=deadline)
    return receiver().receive(event, deadline=deadline)


def _came_over_http(event: Any) -> bool:
    context = event.get("requestContext") if isinstance(event, dict) else None
    return isinstance(context, dict) and isinstance(context.get("http"), dict)


@functools.cache
def logger() -> Logger:
    """Where log lines go; the service's name and the level come from the environment."""
    return Logger()


@functools.cache
def receiver() -> Receiver:
    """Create what every request needs, once per execution environment."""
    settings = IngressSettings.from_environ(os.environ)
    return Receiver(
        Sender(
            _client()("sqs"),
            # It starts threads only for a request that is too large for a single call.
            ThreadPoolExecutor(SENDS_IN_FLIGHT, thread_name_prefix="sqs"),
            queue_url=settings.queue_url,
            draw=random.uniform,
            sleep=clock.sleep,
        ),
        Suspensions(_client()("dynamodb"), settings.table_name) if settings.suspends else None,
        logger(),
        now=clock.now,
        new_id=lambda: str(uuid.uuid4()),
        version=settings.version,
        customer_id_type=settings.customer_id_type,
    )


@functools.cache
def url_endpoint() -> UrlEndpoint:
    """Create what requests over HTTP also need."""
    name = IngressSettings.from_environ(os.environ).url_secret_name
    if not name:
        raise MisconfiguredError("setting URL_SECRET_NAME is missing: the ingress has no URL")
    secret = Secret(
        _client()("secretsmanager"),
        name,
        ttl_s=SECRET_TTL_S,
        now=clock.now,
        on_failure=lambda error: logger().error("secret.unread", extra={"reason": str(error)}),
    )
    return UrlEndpoint(receiver(), TokenAuth(secret, now=clock.now), logger())


@functools.cache
def _client() -> Callable[[str], Any]:
    return client_factory(connection_pool(SENDS_IN_FLIGHT))

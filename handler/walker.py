"""Walker: the front door of a walk over the table. Wiring only.

A state machine invokes this function with a step, again and again until the step is done.
"""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING, Any

import msgspec
from aws_lambda_powertools import Logger, Metrics

from handler import clock
from handler.domain.walk import WalkStep
from handler.jobs.walk import Walker
from handler.settings import DeliverySettings
from handler.telemetry import Telemetry
from handler.wiring import settle_memory, wire

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


def lambda_handler(event: dict[str, Any], context: LambdaContext) -> Any:
    """Take one step of a walk; the answer is the next step."""
    telemetry().begin(context)
    deadline = clock.Deadline.of(context, now=clock.now)
    try:
        step = walker().take(msgspec.convert(event, WalkStep), deadline=deadline)
    finally:
        telemetry().flush()
    return msgspec.to_builtins(step)


@functools.cache
def telemetry() -> Telemetry:
    """Where log lines and metrics go; service and namespace come from the environment."""
    return Telemetry(Logger(), Metrics(), version=settings().version)


@functools.cache
def settings() -> DeliverySettings:
    """The stack's settings."""
    return DeliverySettings.from_environ(os.environ)


@functools.cache
def walker() -> Walker:
    """Create the walker and all that it needs, once per execution environment."""
    wired = wire(settings(), telemetry())
    created = Walker(
        wired.outside,
        telemetry(),
        people_per_second=settings().walk_people_per_second / settings().walk_concurrency,
    )
    settle_memory()
    return created

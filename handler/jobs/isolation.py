"""Isolation: an error fails what it concerns, and nothing beside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from handler.errors import MisconfiguredError, PermanentError, RetryableError, UnavailableError
from handler.jobs.ports import DeliveryTelemetry

Failure = PermanentError | RetryableError
"""Why something is not done: set it aside, or try it again."""

_Result = TypeVar("_Result")


def attempt(call: Callable[[], _Result], telemetry: DeliveryTelemetry) -> _Result | Failure:
    """Return what the call returns, or the failure that it ended in.

    MisconfiguredError passes through: it stops the batch.
    """
    try:
        return call()
    except MisconfiguredError:
        raise
    except (PermanentError, RetryableError) as failure:
        return failure.with_traceback(None)  # one error may stand for many people
    except Exception as error:  # noqa: BLE001 - the one place that catches what nobody foresaw
        telemetry.unexpected_error(error)
        return UnavailableError(f"unexpected {type(error).__name__}; see the log")

"""Isolation: an error fails the messages or people that it concerns, and no others."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from handler.errors import MisconfiguredError, PermanentError, RetryableError, UnavailableError
from handler.jobs.ports import DeliveryTelemetry

Failure = PermanentError | RetryableError
"""Why something failed: set it aside, or retry it."""

_Result = TypeVar("_Result")


def attempt(call: Callable[[], _Result], telemetry: DeliveryTelemetry) -> _Result | Failure:
    """Return the result of a call, or the failure that it raised.

    MisconfiguredError passes through: it stops the batch.
    """
    try:
        return call()
    except MisconfiguredError:
        raise
    except (PermanentError, RetryableError) as failure:
        return failure.with_traceback(None)  # one error may be kept for many people
    except Exception as error:  # noqa: BLE001 - the only place that catches unexpected errors
        telemetry.unexpected_error(error)
        return UnavailableError(f"unexpected {type(error).__name__}; see the log")

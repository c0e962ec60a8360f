"""Isolation: an error fails what it concerns, and nothing beside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from handler.errors import MisconfiguredError, PermanentError, RetryableError, UnavailableError

Failure = PermanentError | RetryableError
"""Why something is not done: set it aside, or try it again."""

_Result = TypeVar("_Result")


class Telemetry(Protocol):
    """Where unforeseen errors are reported."""

    def unexpected_error(self, error: Exception) -> None:
        """Report an error that nobody foresaw."""


def attempt(call: Callable[[], _Result], telemetry: Telemetry) -> _Result | Failure:
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

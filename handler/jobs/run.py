"""Run: what all phases of one delivery share, and how an error fails nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from typing import ParamSpec, TypeVar

import msgspec

from handler.clock import Deadline, Now, Sleep
from handler.domain.attributes import Person
from handler.domain.options import DeliveryOptions
from handler.errors import (
    EventRejectedError,
    Failure,
    MisconfiguredError,
    PermanentError,
    RetryableError,
    UnavailableError,
)
from handler.jobs.ports import (
    Audiences,
    Credentials,
    CustomerIo,
    DeliveryTelemetry,
    Erasures,
    People,
)

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


class Outside(msgspec.Struct, frozen=True):
    """What delivering needs from the outside.

    `executor` runs workspaces side by side; `backoff` gives the seconds before a round, from 1.
    """

    people: People
    audiences: Audiences
    erasures: Erasures
    credentials: Credentials
    customerio: CustomerIo
    telemetry: DeliveryTelemetry
    executor: Executor
    now: Now
    sleep: Sleep
    backoff: Callable[[int], float]
    options: DeliveryOptions

    def attempt(
        self,
        call: Callable[_Arguments, _Result],
        *args: _Arguments.args,
        **kwargs: _Arguments.kwargs,
    ) -> _Result | Failure:
        """Return the result of a call, or the failure that it raised.

        MisconfiguredError passes through: it stops the batch.
        """
        try:
            return call(*args, **kwargs)
        except MisconfiguredError:
            raise
        except (PermanentError, RetryableError) as failure:
            return failure.with_traceback(None)  # one error may be kept for many people
        except Exception as error:  # noqa: BLE001 - the only place that catches unexpected errors
            self.telemetry.unexpected_error(error)
            return UnavailableError(f"unexpected {type(error).__name__}; see the log")


class Delivered(msgspec.Struct):
    """The result of a delivery: everybody is up to date but those in `failures`.

    By person: `persons` has the last post of those who did not fail; `too_old` the places of the
    updates with a join that was ignored; `events_rejected` why Customer.io rejected an event of a
    person whom it accepted.
    """

    failures: dict[str, Failure] = {}
    persons: dict[str, Person] = {}
    too_old: dict[str, Sequence[int]] = {}
    events_rejected: dict[str, EventRejectedError] = {}
    changed: int = 0
    overtaken: int = 0
    version_conflicts: int = 0


class Run(msgspec.Struct, frozen=True):
    """What a run uses, its deadline, and its result so far."""

    outside: Outside
    deadline: Deadline
    result: Delivered = msgspec.field(default_factory=Delivered)

    def fail(self, keys: Iterable[str], failure: Failure) -> None:
        """Record why these people are not up to date."""
        self.result.failures.update(dict.fromkeys(keys, failure))

    def successes(self, results: Mapping[str, _Result | RetryableError]) -> dict[str, _Result]:
        """Record the errors among results by person; return the other results."""
        succeeded: dict[str, _Result] = {}
        for key, result in results.items():
            if isinstance(result, RetryableError):
                self.result.failures[key] = result
            else:
                succeeded[key] = result
        return succeeded

"""Batches: calls to DynamoDB for many items, tried again while time lasts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from typing import Final, TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from handler.clock import AWS_CALL_S, Deadline, Sleep
from handler.concurrency import side_by_side
from handler.errors import UnavailableError

MAX_ROUNDS: Final = 6
"""How often DynamoDB is asked for what it did not get to."""

PASSING: Final = {
    "InternalServerError",
    "ProvisionedThroughputExceeded",
    "RequestLimitExceeded",
    "ServiceUnavailable",
    "Throttling",
    "ThrottlingError",
    "TransactionConflict",
}
"""Codes of errors that may be gone in a moment."""

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class Rounds:
    """How often, and how many at a time."""

    def __init__(
        self, executor: Executor, *, backoff: Callable[[int], float], sleep: Sleep
    ) -> None:
        """Keep what trying again needs; `backoff` gives the seconds before a round, from 1."""
        self._executor = executor
        self._backoff = backoff
        self._sleep = sleep

    def each(self, call: Callable[[_Item], _Result], items: Sequence[_Item]) -> list[_Result]:
        """Call for several items side by side; return the results in order."""
        return side_by_side(self._executor, call, items)

    def count(self, deadline: Deadline) -> Iterator[int]:
        """Count the calls for one batch, each but the first after a wait, while time lasts."""
        for number in range(MAX_ROUNDS):
            wait = self._backoff(number) if number else 0.0
            if not deadline.allows(wait + AWS_CALL_S):
                return
            if wait:
                self._sleep(wait)
            yield number


def batches_of(size: int, items: Sequence[_Item]) -> list[Sequence[_Item]]:
    """Cut items into batches."""
    return [items[start : start + size] for start in range(0, len(items), size)]


def unavailable(error: BotoCoreError | ClientError) -> UnavailableError:
    """Return our error for one of botocore's, whose text may quote what was sent."""
    return UnavailableError(f"DynamoDB: {_code(error) or type(error).__name__}")


def passes(error: BotoCoreError | ClientError) -> bool:
    """Tell whether the same call may work in a moment; a broken connection may."""
    return isinstance(error, BotoCoreError) or _code(error).removesuffix("Exception") in PASSING


def _code(error: BotoCoreError | ClientError) -> str:
    return error.response["Error"]["Code"] if isinstance(error, ClientError) else ""

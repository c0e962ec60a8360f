"""Batches: calls to DynamoDB for many keys, repeated for those it did not process."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from typing import Final, TypeVar

import msgspec
from botocore.exceptions import BotoCoreError, ClientError

from handler.clock import AWS_CALL_S, Deadline, Sleep
from handler.concurrency import side_by_side, slices
from handler.errors import OutOfTimeError, RetryableError, UnavailableError

MAX_ROUNDS: Final = 6
"""Most calls for the same keys."""

TRANSIENT_CODES: Final = {
    "InternalServerError",
    "ProvisionedThroughputExceeded",
    "RequestLimitExceeded",
    "ServiceUnavailable",
    "Throttling",
    "ThrottlingError",
    "TransactionConflict",
}
"""Codes of errors for which a retry may succeed."""

_Key = TypeVar("_Key", bound=Hashable)
_Answer = TypeVar("_Answer")


class Batches(msgspec.Struct, frozen=True):
    """Makes calls; `backoff` gives the seconds before a round, from 1."""

    executor: Executor
    backoff: Callable[[int], float]
    sleep: Sleep

    def ask(
        self,
        call: Callable[[Sequence[_Key]], Mapping[_Key, _Answer]],
        keys: Sequence[_Key],
        *,
        size: int,
        deadline: Deadline,
        to: str,
    ) -> dict[_Key, _Answer | RetryableError]:
        """Call for `size` keys at a time, side by side; return the answer for each key.

        Keys without an answer are asked again. `to` names the purpose, in errors.
        """

        def ask_batch(batch: Sequence[_Key]) -> dict[_Key, _Answer | RetryableError]:
            answers: dict[_Key, _Answer | RetryableError] = {}
            waiting = batch
            failure: RetryableError = OutOfTimeError(f"no time left to {to}")
            for _ in self.rounds(deadline):
                try:
                    answers.update(call(waiting))
                except (BotoCoreError, ClientError) as error:
                    failure = _unavailable(error)
                    if not _is_transient(error):
                        break
                    continue
                waiting = [key for key in waiting if key not in answers]
                if not waiting:
                    break
                failure = UnavailableError(f"DynamoDB was too busy to {to}: throttled")
            return answers | dict.fromkeys(waiting, failure)

        answers: dict[_Key, _Answer | RetryableError] = {}
        for answered in side_by_side(self.executor, ask_batch, slices(keys, size)):
            answers |= answered
        return answers

    def rounds(self, deadline: Deadline) -> Iterator[int]:
        """Yield the number of each round, from the second on after a wait, while time is left."""
        for number in range(MAX_ROUNDS):
            wait = self.backoff(number) if number else 0.0
            if not deadline.allows(wait + AWS_CALL_S):
                return
            if wait:
                self.sleep(wait)
            yield number


def _unavailable(error: BotoCoreError | ClientError) -> UnavailableError:
    """Return our error for one of botocore's, whose text may quote the request."""
    return UnavailableError(f"DynamoDB: {_code(error) or type(error).__name__}")


def _is_transient(error: BotoCoreError | ClientError) -> bool:
    """Tell whether a retry may succeed; after a broken connection it may."""
    return (
        isinstance(error, BotoCoreError)
        or _code(error).removesuffix("Exception") in TRANSIENT_CODES
    )


def _code(error: BotoCoreError | ClientError) -> str:
    return error.response["Error"]["Code"] if isinstance(error, ClientError) else ""

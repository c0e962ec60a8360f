"""Items: the table's items of any kind, read and written in batches, by compare-and-set.

people.py, audiences.py and erasures.py define their content. Results are by key: an item, or a
RetryableError.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from functools import cache
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec
from botocore.exceptions import BotoCoreError, ClientError

from handler.clock import AWS_CALL_S, Deadline, Sleep
from handler.concurrency import side_by_side, slices
from handler.errors import (
    OutOfTimeError,
    RetryableError,
    UnavailableError,
    UnreadableStateError,
    VersionConflictError,
)

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

READ_BATCH: Final = 100  # keys that BatchGetItem takes
WRITE_BATCH: Final = 25  # statements that BatchExecuteStatement takes

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

Item = Mapping[str, Any]
"""An item in DynamoDB's JSON."""

_CONFLICTS: Final = {"ConditionalCheckFailed", "DuplicateItem"}

_Key = TypeVar("_Key", bound=Hashable)
_Answer = TypeVar("_Answer")
_Result = TypeVar("_Result")


class Items(msgspec.Struct, frozen=True):
    """The items of a table. Safe to use from several threads.

    `backoff` gives the seconds before a round of calls for the same keys, from 1.
    """

    dynamodb: DynamoDBClient
    table_name: str
    executor: Executor
    backoff: Callable[[int], float]
    sleep: Sleep

    def read(
        self, keys: Sequence[str], *, deadline: Deadline, **options: Any
    ) -> dict[str, Item | RetryableError | None]:
        """Return each item, None if it does not exist; `options` go to BatchGetItem."""

        def read(keys: Sequence[str]) -> dict[str, Item | None]:
            request: Any = {"Keys": [{"pk": {"S": key}} for key in keys], **options}
            answer = self.dynamodb.batch_get_item(RequestItems={self.table_name: request})
            items = {item["pk"]["S"]: item for item in answer["Responses"][self.table_name]}
            rest: Any = answer["UnprocessedKeys"]
            unread = {key["pk"]["S"] for key in rest[self.table_name]["Keys"]} if rest else set()
            return {key: items.get(key) for key in keys if key not in unread}

        return self.ask(read, keys, size=READ_BATCH, deadline=deadline, to="read the table")

    def statement(
        self,
        key: str,
        version: int,
        attributes: Mapping[str, Any],
        *,
        removed: tuple[str, ...] = (),
    ) -> Any:
        """Return the statement that writes a version of an item: the first inserts it.

        `attributes` are in DynamoDB's JSON; those that are `removed` have only names.
        """
        fields = [{"N": str(version)}, *attributes.values()]
        names = tuple(attributes)
        if version == 1:
            statement = _insert(self.table_name, names)
            return {"Statement": statement, "Parameters": [{"S": key}, *fields]}
        statement = _update(self.table_name, names, removed)
        before = {"N": str(version - 1)}
        return {"Statement": statement, "Parameters": [*fields, {"S": key}, before]}

    def write(
        self, statements: Mapping[str, Any], *, deadline: Deadline
    ) -> dict[str, RetryableError]:
        """Execute a statement for each key; return why some failed.

        VersionConflictError: another invocation wrote that version first.
        """

        def write(keys: Sequence[str]) -> dict[str, RetryableError | None]:
            answers = self.dynamodb.batch_execute_statement(
                Statements=[statements[key] for key in keys]
            )["Responses"]
            codes = [answer.get("Error", {}).get("Code") for answer in answers]
            return {
                key: _failure(code)
                for key, code in zip(keys, codes, strict=True)
                if code not in TRANSIENT_CODES
            }

        written = self.ask(
            write, [*statements], size=WRITE_BATCH, deadline=deadline, to="write the table"
        )
        return {key: failure for key, failure in written.items() if failure is not None}

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
                    # Its text may quote the request.
                    failure = UnavailableError(f"DynamoDB: {_code(error) or type(error).__name__}")
                    if not _is_transient(error):
                        break
                    continue
                waiting = [key for key in waiting if key not in answers]
                if not waiting:
                    return answers
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


def parsed(
    parse: Callable[[Item | None], _Result],
    read: Item | RetryableError | None,
    *,
    kind: str = "an item of the table",
) -> _Result | RetryableError:
    """Return what an item says, or why it was not read; `kind` names it in errors."""
    if isinstance(read, RetryableError):
        return read
    try:
        return parse(read)
    except UnreadableStateError as error:
        return error
    except (KeyError, ValueError):
        return UnreadableStateError(f"{kind} lacks an attribute")


# Names are quoted in PartiQL, as some are keywords of it.


@cache
def _insert(table_name: str, names: tuple[str, ...]) -> str:
    fields = ", ".join(f"'{name}': ?" for name in ("pk", "version", *names))
    return f'INSERT INTO "{table_name}" VALUE {{{fields}}}'


@cache
def _update(table_name: str, names: tuple[str, ...], removed: tuple[str, ...]) -> str:
    written = " ".join(f'SET "{name}"=?' for name in ("version", *names))
    rest = "".join(f' REMOVE "{name}"' for name in removed)
    return f'UPDATE "{table_name}" {written}{rest} WHERE "pk"=? AND "version"=?'


def _failure(code: str | None) -> RetryableError | None:
    """Return the error of a statement by its code; None without a code."""
    if code is None:
        return None
    if code in _CONFLICTS:
        return VersionConflictError("someone else wrote this item first")
    return UnavailableError(f"DynamoDB refused a write: {code}")


def _is_transient(error: BotoCoreError | ClientError) -> bool:
    """Tell whether a retry may succeed; after a broken connection it may."""
    return (
        isinstance(error, BotoCoreError)
        or _code(error).removesuffix("Exception") in TRANSIENT_CODES
    )


def _code(error: BotoCoreError | ClientError) -> str:
    return error.response["Error"]["Code"] if isinstance(error, ClientError) else ""

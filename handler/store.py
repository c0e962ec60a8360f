"""Store: each person's state in DynamoDB, read and written in batches, by compare-and-set.

Keys and states come in from the forwarder. What comes back is said key by key: a state, or the
RetryableError that stood in the way, so that one throttled item takes no other down.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any, Final, TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from handler.clock import AWS_CALL_S, Sleep, TimeLeft
from handler.domain.membership import (
    TOMBSTONE_LIFE_S,
    PersonState,
    identifier_text,
    is_member,
    pack,
    unpack,
)
from handler.errors import (
    OutOfTimeError,
    RetryableError,
    UnavailableError,
    VersionConflictError,
)

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

READ_BATCH: Final = 100  # keys that BatchGetItem takes
WRITE_BATCH: Final = 25  # statements that BatchExecuteStatement takes
MAX_ROUNDS: Final = 6  # of asking again for what DynamoDB did not get to

_CONFLICTS: Final = {"ConditionalCheckFailed", "DuplicateItem"}
_PASSING: Final = {
    "InternalServerError",
    "ProvisionedThroughputExceeded",
    "RequestLimitExceeded",
    "ServiceUnavailable",
    "Throttling",
    "ThrottlingError",
    "TransactionConflict",
}

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class Store:
    """The table of people. Safe to use from several threads."""

    def __init__(
        self,
        dynamodb: DynamoDBClient,
        table_name: str,
        executor: Executor,
        *,
        backoff: Callable[[int], float],
        sleep: Sleep,
    ) -> None:
        """Keep what reading and writing need; `backoff` gives the seconds before a round."""
        self._dynamodb = dynamodb
        self._table = table_name
        self._executor = executor
        self._backoff = backoff
        self._sleep = sleep
        # Quoted, as some of these are words of PartiQL's own; the table's name is the stack's.
        self._insert = (
            f"INSERT INTO \"{table_name}\" VALUE {{'pk': ?, 'version': ?, 'timestamp': ?, "
            "'identifier': ?, 'memberships': ?, 'expires_at': ?}"
        )
        self._update = (
            f'UPDATE "{table_name}" SET "version"=? SET "timestamp"=? SET "identifier"=? '
            'SET "memberships"=? SET "expires_at"=? WHERE "pk"=? AND "version"=?'
        )

    def load(
        self, keys: Sequence[str], *, consistent: bool, time_left: TimeLeft
    ) -> dict[str, PersonState | RetryableError]:
        """Return the state of each person; version 0 for one who is not known yet."""
        read = self._read(keys, time_left, ConsistentRead=consistent)
        return {key: _state(read.get(key)) for key in keys}

    def versions(
        self, keys: Sequence[str], *, time_left: TimeLeft
    ) -> dict[str, int | RetryableError]:
        """Return the version of each person's item, read consistently; 0 for none."""
        read = self._read(
            keys,
            time_left,
            ConsistentRead=True,
            ProjectionExpression="pk, #version",
            ExpressionAttributeNames={"#version": "version"},
        )
        return {key: _version(read.get(key)) for key in keys}

    def save(
        self, states: Mapping[str, PersonState], *, now: float, time_left: TimeLeft
    ) -> dict[str, RetryableError]:
        """Write states that each follow the version before, and return what was not written.

        VersionConflictError: someone else wrote that version first. `now` is in Unix seconds.
        """
        written = self._map(
            lambda batch: self._write(dict(batch), now, time_left),
            _batches(list(states.items()), WRITE_BATCH),
        )
        return {key: error for failures in written for key, error in failures.items()}

    def _map(
        self, call: Callable[[Sequence[_Item]], _Result], batches: Sequence[Sequence[_Item]]
    ) -> Iterable[_Result]:
        # One alone is called here: handing it to a thread and back costs more than it saves.
        return map(call, batches) if len(batches) == 1 else self._executor.map(call, batches)

    # --- reading ---

    def _read(
        self, keys: Sequence[str], time_left: TimeLeft, **how: Any
    ) -> dict[str, Mapping[str, Any] | RetryableError]:
        batches = self._map(
            lambda batch: self._read_batch(batch, time_left, how), _batches(keys, READ_BATCH)
        )
        return {key: item for batch in batches for key, item in batch.items()}

    def _read_batch(
        self, keys: Sequence[str], time_left: TimeLeft, how: Mapping[str, Any]
    ) -> dict[str, Mapping[str, Any] | RetryableError]:
        found: dict[str, Mapping[str, Any] | RetryableError] = {}
        waiting = keys
        trouble: RetryableError = OutOfTimeError("no time left to read people")
        for _ in self._rounds(time_left):
            request: Any = {"Keys": [{"pk": {"S": key}} for key in waiting], **how}
            try:
                answer = self._dynamodb.batch_get_item(RequestItems={self._table: request})
            except (BotoCoreError, ClientError) as error:
                trouble = _unavailable(error)
                if not _passes(error):
                    break
                continue
            found.update((item["pk"]["S"], item) for item in answer["Responses"][self._table])
            unread: Any = answer["UnprocessedKeys"]
            if not unread:
                return found
            waiting = [key["pk"]["S"] for key in unread[self._table]["Keys"]]
            trouble = UnavailableError("DynamoDB leaves people unread: throttled")
        return found | dict.fromkeys(waiting, trouble)

    # --- writing ---

    def _write(
        self, states: Mapping[str, PersonState], now: float, time_left: TimeLeft
    ) -> dict[str, RetryableError]:
        failures: dict[str, RetryableError] = {}
        waiting = dict(states)
        trouble: RetryableError = OutOfTimeError("no time left to write people")
        for _ in self._rounds(time_left):
            try:
                answers = self._dynamodb.batch_execute_statement(
                    Statements=[self._statement(key, state, now) for key, state in waiting.items()]
                )["Responses"]
            except (BotoCoreError, ClientError) as error:
                trouble = _unavailable(error)
                if not _passes(error):
                    break
                continue
            passing: dict[str, PersonState] = {}
            for (key, state), answer in zip(waiting.items(), answers, strict=True):
                code = answer.get("Error", {}).get("Code")
                if code in _CONFLICTS:
                    failures[key] = VersionConflictError("someone else wrote this person first")
                elif code in _PASSING:
                    passing[key] = state
                elif code is not None:
                    failures[key] = UnavailableError(f"DynamoDB refused a write: {code}")
            waiting = passing
            if not waiting:
                break
            trouble = UnavailableError("DynamoDB leaves people unwritten: throttled")
        return failures | dict.fromkeys(waiting, trouble)

    def _rounds(self, time_left: TimeLeft) -> Iterator[int]:
        """Count the calls for one batch, each but the first after a wait, while time lasts."""
        for number in range(MAX_ROUNDS):
            wait = self._backoff(number) if number else 0.0
            if time_left() < wait + AWS_CALL_S:
                return
            if wait:
                self._sleep(wait)
            yield number

    def _statement(self, key: str, state: PersonState, now: float) -> Any:
        if state.identifier is None:
            message = "a person nobody has named cannot be kept"
            raise ValueError(message)
        fields: list[dict[str, Any]] = [
            {"N": str(state.version)},
            {"N": str(state.timestamp)},
            {"S": identifier_text(state.identifier)},
            {"B": pack(state)},
            _expiry(state, now),
        ]
        if state.version == 1:
            return {"Statement": self._insert, "Parameters": [{"S": key}, *fields]}
        before = {"N": str(state.version - 1)}
        return {"Statement": self._update, "Parameters": [*fields, {"S": key}, before]}


def _expiry(state: PersonState, now: float) -> dict[str, Any]:
    # DynamoDB's TTL passes over an item whose attribute is not a number.
    if any(map(is_member, state.memberships.values())):
        return {"NULL": True}
    return {"N": str(int(now + TOMBSTONE_LIFE_S))}


def _state(read: Mapping[str, Any] | RetryableError | None) -> PersonState | RetryableError:
    if read is None:
        return PersonState()
    if isinstance(read, RetryableError):
        return read
    return unpack(
        read["memberships"]["B"],
        version=int(read["version"]["N"]),
        timestamp=int(read["timestamp"]["N"]),
        identifier=read["identifier"]["S"],
    )


def _version(read: Mapping[str, Any] | RetryableError | None) -> int | RetryableError:
    if read is None:
        return 0
    return read if isinstance(read, RetryableError) else int(read["version"]["N"])


def _unavailable(error: BotoCoreError | ClientError) -> UnavailableError:
    # The text may quote what was sent: the code is enough.
    return UnavailableError(f"DynamoDB: {_code(error) or type(error).__name__}")


def _passes(error: BotoCoreError | ClientError) -> bool:
    """Tell whether the same call may work in a moment; a broken connection may."""
    return isinstance(error, BotoCoreError) or _code(error).removesuffix("Exception") in _PASSING


def _code(error: BotoCoreError | ClientError) -> str:
    return error.response["Error"]["Code"] if isinstance(error, ClientError) else ""


def _batches(items: Sequence[_Item], size: int) -> list[Sequence[_Item]]:
    return [items[start : start + size] for start in range(0, len(items), size)]

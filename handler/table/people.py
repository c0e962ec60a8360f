"""People: each person's state in DynamoDB, read and written in batches, by compare-and-set.

Keys and states come in from jobs/deliver.py. Results are given key by key: a state, or the
RetryableError that stood in the way, so that one throttled or unreadable item harms no other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from handler.clock import Deadline, Sleep
from handler.domain.membership import TOMBSTONE_LIFE_S, PersonState, is_member
from handler.domain.state_codec import pack, unpack
from handler.domain.update import Identifier
from handler.errors import (
    OutOfTimeError,
    RetryableError,
    UnavailableError,
    UnreadableStateError,
    VersionConflictError,
)
from handler.table.batches import PASSING, Rounds, batches_of, passes, unavailable
from handler.table.keys import IDENTIFIER_INDEX, is_in_workspace

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

READ_BATCH: Final = 100  # keys that BatchGetItem takes
WRITE_BATCH: Final = 25  # statements that BatchExecuteStatement takes

_CONFLICTS: Final = {"ConditionalCheckFailed", "DuplicateItem"}


class People:
    """The people in the table. Safe to use from several threads."""

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
        self._rounds = Rounds(executor, backoff=backoff, sleep=sleep)
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
        self, keys: Sequence[str], *, consistent: bool, deadline: Deadline
    ) -> dict[str, PersonState | RetryableError]:
        """Return the state of each person; version 0 for one who is not known yet."""
        read = self._read(keys, deadline, ConsistentRead=consistent)
        return {key: _state(read.get(key)) for key in keys}

    def versions(
        self, keys: Sequence[str], *, deadline: Deadline
    ) -> dict[str, int | RetryableError]:
        """Return the version of each person's item, read consistently; 0 for none."""
        read = self._read(
            keys,
            deadline,
            ConsistentRead=True,
            ProjectionExpression="pk, #version",
            ExpressionAttributeNames={"#version": "version"},
        )
        return {key: _version(read.get(key)) for key in keys}

    def save(
        self, states: Mapping[str, PersonState], *, now: float, deadline: Deadline
    ) -> dict[str, RetryableError]:
        """Write states that each follow the version before, and return what was not written.

        VersionConflictError: someone else wrote that version first. `now` is in Unix seconds.
        """
        written = self._rounds.each(
            lambda batch: self._write(dict(batch), now, deadline),
            batches_of(WRITE_BATCH, list(states.items())),
        )
        return {key: error for failures in written for key, error in failures.items()}

    def known_as(
        self, identifiers: Sequence[Identifier], site_id: str, *, deadline: Deadline
    ) -> dict[Identifier, list[str] | RetryableError]:
        """Return the keys of the people of a workspace whose current identifier each is.

        The index lags behind the table, mostly by some milliseconds.
        """
        answers = self._rounds.each(lambda each: self._query(each, deadline), identifiers)
        return {
            identifier: answer
            if isinstance(answer, RetryableError)
            else [key for key in answer if is_in_workspace(key, site_id)]
            for identifier, answer in zip(identifiers, answers, strict=True)
        }

    def formerly_known_as(self, identifier: Identifier) -> Iterator[str]:
        """Yield the keys of the people who had an identifier before, and it is not cleared yet.

        It reads the whole table, as no index has former identifiers. Raises botocore's errors.
        """
        # No filter: `contains` is documented for strings, sets and lists, and the state is binary.
        for page in self._dynamodb.get_paginator("scan").paginate(TableName=self._table):
            for item in page["Items"]:
                state = _state(item)
                if isinstance(state, PersonState) and identifier.text in {
                    former.text for former in state.former
                }:
                    yield item["pk"]["S"]

    def erase(self, key: str) -> None:
        """Delete a person's item, as it is by now. Raises botocore's errors."""
        self._dynamodb.delete_item(TableName=self._table, Key={"pk": {"S": key}})

    # --- reading ---

    def _read(
        self, keys: Sequence[str], deadline: Deadline, **how: Any
    ) -> dict[str, Mapping[str, Any] | RetryableError]:
        batches = self._rounds.each(
            lambda batch: self._read_batch(batch, deadline, how), batches_of(READ_BATCH, keys)
        )
        return {key: item for batch in batches for key, item in batch.items()}

    def _read_batch(
        self, keys: Sequence[str], deadline: Deadline, how: Mapping[str, Any]
    ) -> dict[str, Mapping[str, Any] | RetryableError]:
        found: dict[str, Mapping[str, Any] | RetryableError] = {}
        waiting = keys
        failure: RetryableError = OutOfTimeError("no time left to read people")
        for _ in self._rounds.count(deadline):
            request: Any = {"Keys": [{"pk": {"S": key}} for key in waiting], **how}
            try:
                answer = self._dynamodb.batch_get_item(RequestItems={self._table: request})
            except (BotoCoreError, ClientError) as error:
                failure = unavailable(error)
                if not passes(error):
                    break
                continue
            found.update((item["pk"]["S"], item) for item in answer["Responses"][self._table])
            unread: Any = answer["UnprocessedKeys"]
            if not unread:
                return found
            waiting = [key["pk"]["S"] for key in unread[self._table]["Keys"]]
            failure = UnavailableError("DynamoDB leaves people unread: throttled")
        return found | dict.fromkeys(waiting, failure)

    def _query(self, identifier: Identifier, deadline: Deadline) -> list[str] | RetryableError:
        failure: RetryableError = OutOfTimeError("no time left to look for people")
        for _ in self._rounds.count(deadline):
            try:
                answer = self._dynamodb.query(
                    TableName=self._table,
                    IndexName=IDENTIFIER_INDEX,
                    KeyConditionExpression="identifier = :identifier",
                    ExpressionAttributeValues={":identifier": {"S": identifier.text}},
                )
            except (BotoCoreError, ClientError) as error:
                failure = unavailable(error)
                if not passes(error):
                    break
                continue
            return [item["pk"]["S"] for item in answer["Items"]]
        return failure

    # --- writing ---

    def _write(
        self, states: Mapping[str, PersonState], now: float, deadline: Deadline
    ) -> dict[str, RetryableError]:
        failures: dict[str, RetryableError] = {}
        waiting = dict(states)
        failure: RetryableError = OutOfTimeError("no time left to write people")
        for _ in self._rounds.count(deadline):
            try:
                answers = self._dynamodb.batch_execute_statement(
                    Statements=[self._statement(key, state, now) for key, state in waiting.items()]
                )["Responses"]
            except (BotoCoreError, ClientError) as error:
                failure = unavailable(error)
                if not passes(error):
                    break
                continue
            passing: dict[str, PersonState] = {}
            for (key, state), answer in zip(waiting.items(), answers, strict=True):
                code = answer.get("Error", {}).get("Code")
                if code in _CONFLICTS:
                    failures[key] = VersionConflictError("someone else wrote this person first")
                elif code in PASSING:
                    passing[key] = state
                elif code is not None:
                    failures[key] = UnavailableError(f"DynamoDB refused a write: {code}")
            waiting = passing
            if not waiting:
                break
            failure = UnavailableError("DynamoDB leaves people unwritten: throttled")
        return failures | dict.fromkeys(waiting, failure)

    def _statement(self, key: str, state: PersonState, now: float) -> Any:
        if state.identifier is None:
            message = "a person without an identifier cannot be kept"
            raise ValueError(message)
        fields: list[dict[str, Any]] = [
            {"N": str(state.version)},
            {"N": str(state.timestamp)},
            {"S": state.identifier.text},
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
    try:
        return unpack(
            read["memberships"]["B"],
            version=int(read["version"]["N"]),
            timestamp=int(read["timestamp"]["N"]),
            identifier=read["identifier"]["S"],
        )
    except UnreadableStateError as error:
        return error
    except (KeyError, ValueError):
        return _UNREADABLE


def _version(read: Mapping[str, Any] | RetryableError | None) -> int | RetryableError:
    if read is None:
        return 0
    if isinstance(read, RetryableError):
        return read
    try:
        return int(read["version"]["N"])
    except (KeyError, ValueError):
        return _UNREADABLE


_UNREADABLE: Final = UnreadableStateError("an item of the table lacks an attribute")

"""People: each person's state in DynamoDB, read and written in batches, by compare-and-set.

Keys and states come in from jobs/deliver.py. Results are given key by key: a state, or the
RetryableError that stood in the way, so that one throttled or unreadable item harms no other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any, Final, TypeVar

from handler.clock import Deadline, Sleep
from handler.domain.membership import TOMBSTONE_LIFE_S, PersonState, is_member
from handler.domain.state_codec import pack, unpack
from handler.domain.update import Identifier
from handler.errors import (
    RetryableError,
    UnavailableError,
    UnreadableStateError,
    VersionConflictError,
)
from handler.table.batches import PASSING, Batches
from handler.table.keys import IDENTIFIER_INDEX, is_in_workspace

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

READ_BATCH: Final = 100  # keys that BatchGetItem takes
WRITE_BATCH: Final = 25  # statements that BatchExecuteStatement takes

_Item = Mapping[str, Any]
_Result = TypeVar("_Result")

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
        self._batches = Batches(executor, backoff, sleep)
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
        return self._read(keys, _state, deadline, ConsistentRead=consistent)

    def versions(
        self, keys: Sequence[str], *, deadline: Deadline
    ) -> dict[str, int | RetryableError]:
        """Return the version of each person's item, read consistently; 0 for none."""
        return self._read(
            keys,
            _version,
            deadline,
            ConsistentRead=True,
            ProjectionExpression="pk, #version",
            ExpressionAttributeNames={"#version": "version"},
        )

    def save(
        self, states: Mapping[str, PersonState], *, now: float, deadline: Deadline
    ) -> dict[str, RetryableError]:
        """Write states that each follow the version before, and return what was not written.

        VersionConflictError: someone else wrote that version first. `now` is in Unix seconds.
        """

        def write(keys: Sequence[str]) -> dict[str, RetryableError | None]:
            answers = self._dynamodb.batch_execute_statement(
                Statements=[self._statement(key, states[key], now) for key in keys]
            )["Responses"]
            codes = [answer.get("Error", {}).get("Code") for answer in answers]
            return {
                key: _failure(code)
                for key, code in zip(keys, codes, strict=True)
                if code not in PASSING
            }

        written = self._batches.ask(
            write, [*states], size=WRITE_BATCH, deadline=deadline, to="write people"
        )
        return {key: failure for key, failure in written.items() if failure is not None}

    def known_as(
        self, identifiers: Sequence[Identifier], site_id: str, *, deadline: Deadline
    ) -> dict[Identifier, list[str] | RetryableError]:
        """Return the keys of the people of a workspace whose current identifier each is.

        The index lags behind the table, mostly by some milliseconds.
        """

        def query(single: Sequence[Identifier]) -> dict[Identifier, list[str]]:
            answer = self._dynamodb.query(
                TableName=self._table,
                IndexName=IDENTIFIER_INDEX,
                KeyConditionExpression="identifier = :identifier",
                ExpressionAttributeValues={":identifier": {"S": single[0].text}},
            )
            keys = [item["pk"]["S"] for item in answer["Items"]]
            return {single[0]: [key for key in keys if is_in_workspace(key, site_id)]}

        return self._batches.ask(
            query, identifiers, size=1, deadline=deadline, to="look for people"
        )

    def formerly_known_as(self, identifier: Identifier) -> Iterator[str]:
        """Yield the keys of the people who had an identifier before, and it is not cleared yet.

        It reads the whole table, as no index has former identifiers. Raises botocore's errors.
        """
        # No filter: `contains` is documented for strings, sets and lists, and the state is binary.
        for page in self._dynamodb.get_paginator("scan").paginate(TableName=self._table):
            for item in page["Items"]:
                state = _parsed(_state, item)
                if isinstance(state, PersonState) and identifier.text in {
                    former.text for former in state.former
                }:
                    yield item["pk"]["S"]

    def erase(self, key: str) -> None:
        """Delete a person's item, as it is by now. Raises botocore's errors."""
        self._dynamodb.delete_item(TableName=self._table, Key={"pk": {"S": key}})

    def _read(
        self,
        keys: Sequence[str],
        parse: Callable[[_Item | None], _Result],
        deadline: Deadline,
        **how: Any,
    ) -> dict[str, _Result | RetryableError]:
        def read(keys: Sequence[str]) -> dict[str, _Result | RetryableError]:
            request: Any = {"Keys": [{"pk": {"S": key}} for key in keys], **how}
            answer = self._dynamodb.batch_get_item(RequestItems={self._table: request})
            items = {item["pk"]["S"]: item for item in answer["Responses"][self._table]}
            rest: Any = answer["UnprocessedKeys"]
            unread = {key["pk"]["S"] for key in rest[self._table]["Keys"]} if rest else set()
            return {key: _parsed(parse, items.get(key)) for key in keys if key not in unread}

        return self._batches.ask(read, keys, size=READ_BATCH, deadline=deadline, to="read people")

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


def _failure(code: str | None) -> RetryableError | None:
    """Return why a statement with this error was not carried out; None without an error."""
    if code is None:
        return None
    if code in _CONFLICTS:
        return VersionConflictError("someone else wrote this person first")
    return UnavailableError(f"DynamoDB refused a write: {code}")


def _parsed(
    parse: Callable[[_Item | None], _Result], item: _Item | None
) -> _Result | UnreadableStateError:
    try:
        return parse(item)
    except UnreadableStateError as error:
        return error
    except (KeyError, ValueError):
        return UnreadableStateError("an item of the table lacks an attribute")


def _state(item: _Item | None) -> PersonState:
    if item is None:
        return PersonState()
    return unpack(
        item["memberships"]["B"],
        version=int(item["version"]["N"]),
        timestamp=int(item["timestamp"]["N"]),
        identifier=item["identifier"]["S"],
    )


def _version(item: _Item | None) -> int:
    return 0 if item is None else int(item["version"]["N"])

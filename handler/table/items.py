"""Items: the table's items of any kind, read and written in batches, by compare-and-set.

people.py and audiences.py define their content. Results are by key: an item, or a RetryableError.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from handler.clock import Deadline
from handler.errors import RetryableError, UnavailableError, VersionConflictError
from handler.table.batches import TRANSIENT_CODES, Batches

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

READ_BATCH: Final = 100  # keys that BatchGetItem takes
WRITE_BATCH: Final = 25  # statements that BatchExecuteStatement takes

Item = Mapping[str, Any]
"""An item in DynamoDB's JSON."""

_CONFLICTS: Final = {"ConditionalCheckFailed", "DuplicateItem"}


class Items(msgspec.Struct, frozen=True):
    """The items of a table. Safe to use from several threads."""

    dynamodb: DynamoDBClient
    table_name: str
    batches: Batches

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

        return self.batches.ask(
            read, keys, size=READ_BATCH, deadline=deadline, to="read the table"
        )

    def write(
        self, statements: Mapping[str, Any], *, deadline: Deadline
    ) -> dict[str, RetryableError]:
        """Execute one PartiQL statement for each key; return why some failed.

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

        written = self.batches.ask(
            write, [*statements], size=WRITE_BATCH, deadline=deadline, to="write the table"
        )
        return {key: failure for key, failure in written.items() if failure is not None}


def _failure(code: str | None) -> RetryableError | None:
    """Return the error of a statement by its code; None without a code."""
    if code is None:
        return None
    if code in _CONFLICTS:
        return VersionConflictError("someone else wrote this item first")
    return UnavailableError(f"DynamoDB refused a write: {code}")

"""Suspension: the marks in the table that credentials have been refused for good.

The forwarder sets one for an mParticle account when Customer.io refuses credentials read afresh,
and removes it with the first success; the ingress asks for it. A mark holds for an hour from the
last refusal: were it to outlive the messages that are tried again, no success could remove it.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from botocore.exceptions import BotoCoreError, ClientError

from handler.clock import AWS_CALL_S, TimeLeft

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

HELD_S: Final = 3600
"""Longer than any delay between two tries of a message (19 minutes), in seconds."""


class Marks:
    """The accounts whose credentials are refused. What AWS does not let us do is left undone.

    A mark that is not set or removed costs a suspension later, or one for up to an hour more: no
    change waits for it, and none is lost.
    """

    def __init__(self, dynamodb: DynamoDBClient, table_name: str) -> None:
        """Keep where marks are."""
        self._dynamodb = dynamodb
        self._table = table_name

    @staticmethod
    def key(account_id: int) -> str:
        """Return the key of an account's mark; no person's key is like it."""
        return f"account#{account_id}"

    def set(self, account_ids: Iterable[int], *, now: float, time_left: TimeLeft) -> None:
        """Mark accounts as of now, in Unix seconds."""
        for account_id in account_ids:
            if time_left() < AWS_CALL_S:
                return
            with suppress(BotoCoreError, ClientError):
                self._dynamodb.put_item(
                    TableName=self._table,
                    Item={
                        "pk": {"S": self.key(account_id)},
                        # So that a mark is found by reading versions; see forwarder.py.
                        "version": {"N": "1"},
                        "refused_at": {"N": str(int(now))},
                        "expires_at": {"N": str(int(now) + HELD_S)},
                    },
                )

    def remove(self, account_ids: Iterable[int], *, time_left: TimeLeft) -> None:
        """Remove the marks of accounts."""
        for account_id in account_ids:
            if time_left() < AWS_CALL_S:
                return
            with suppress(BotoCoreError, ClientError):
                self._dynamodb.delete_item(
                    TableName=self._table, Key={"pk": {"S": self.key(account_id)}}
                )

    def holds(self, account_id: int, *, now: float, time_left: TimeLeft) -> bool:
        """Tell whether an account is marked, as far as can be told."""
        if time_left() < AWS_CALL_S:
            return False
        try:
            item = self._dynamodb.get_item(
                TableName=self._table, Key={"pk": {"S": self.key(account_id)}}
            ).get("Item")
        except (BotoCoreError, ClientError):
            return False
        # DynamoDB takes up to some days to remove what has expired.
        return item is not None and now < int(item["expires_at"]["N"])

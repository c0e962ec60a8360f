"""Suspensions: the mParticle accounts whose credentials Customer.io refuses.

The forwarder suspends an account when Customer.io refuses credentials that were just read; the
ingress asks whether one is suspended. A suspension expires by itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import msgspec
from botocore.exceptions import BotoCoreError, ClientError

from handler.clock import AWS_CALL_S, Deadline
from handler.table.keys import account_key

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

LIFE_S: Final = 25 * 60
"""How long a suspension lasts after the last refusal, in seconds: longer than the longest delay
between two tries of a message (19 minutes), so that it lasts while messages are refused."""


class Suspensions(msgspec.Struct, frozen=True):
    """The suspended accounts.

    Best effort: AWS errors are ignored. At worst an account is suspended later. No change is
    delayed or lost.
    """

    dynamodb: DynamoDBClient
    table_name: str

    def suspend(self, account_ids: Iterable[int], *, now: float, deadline: Deadline) -> None:
        """Suspend accounts as of now, in Unix seconds."""
        for account_id in account_ids:
            if not deadline.allows(AWS_CALL_S):
                return
            with suppress(BotoCoreError, ClientError):
                self.dynamodb.put_item(
                    TableName=self.table_name,
                    Item={
                        "pk": {"S": account_key(account_id)},
                        "refused_at": {"N": str(int(now))},
                        "expires_at": {"N": str(int(now) + LIFE_S)},
                    },
                )

    def is_suspended(self, account_id: int, *, now: float, deadline: Deadline) -> bool:
        """Tell whether an account is suspended; False if that cannot be read."""
        if not deadline.allows(AWS_CALL_S):
            return False
        try:
            item = self.dynamodb.get_item(
                TableName=self.table_name, Key={"pk": {"S": account_key(account_id)}}
            ).get("Item")
        except (BotoCoreError, ClientError):
            return False
        # DynamoDB may remove an expired item some days later.
        return item is not None and now < int(item["expires_at"]["N"])

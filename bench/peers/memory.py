"""Memory: what the peers share, for it is the same in all of them: the item, and reading it.

The item is the one that such handlers keep: a map of audience ids under the MPID. Everything goes
one person at a time through boto3's Table resource, whose `get_item` and `put_item` open most
tutorials, the AWS SDK's own developer guide among them. No late message, doubled message or
second writer is thought of: the handlers do less than the function they are compared with.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import boto3

People = Iterator[tuple[str, dict[str, Any]]]


@cache
def table() -> Any:
    """Return the table, made once, as tutorials do at import."""
    return boto3.resource("dynamodb").Table(os.environ["TABLE_NAME"])


def remembered(event: Mapping[str, Any]) -> People:
    """Write what each profile says, and yield the person's id and attributes."""
    for record in event["Records"]:
        message = json.loads(record["body"])
        for profile in message["user_profiles"]:
            identities = {one["type"]: one["value"] for one in profile["user_identities"]}
            item = table().get_item(Key={"mpid": profile["mpid"]}).get("Item")
            audiences = item["audiences"] if item else {}
            for audience in profile["audiences"]:
                if audience["action"] == "add":
                    audiences[str(audience["audience_id"])] = audience["audience_name"]
                elif audience["action"] == "delete":
                    audiences.pop(str(audience["audience_id"]), None)
            table().put_item(Item={"mpid": profile["mpid"], "audiences": audiences})
            membership = ",".join(f"'{one}'" for one in sorted(audiences, key=int))
            yield (
                identities["customer"],
                {"email": identities["email"], "SegmentMembership": membership},
            )

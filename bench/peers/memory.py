"""Memory: the item of a person, which all peers read and write in the same way.

The item is a map of audience ids under the MPID. It is read and written one person at a time with
boto3's Table resource, whose `get_item` and `put_item` open most tutorials, also the developer
guide of the AWS SDK. Late messages, duplicates and concurrent writers are ignored: the peers do
less than the function.
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
    """Return the table, created once, as tutorials do at import."""
    return boto3.resource("dynamodb").Table(os.environ["TABLE_NAME"])


def remembered(event: Mapping[str, Any]) -> People:
    """Store the changes of each profile, and yield the person's id and attributes."""
    for record in event["Records"]:
        message = json.loads(record["body"])
        for profile in message["user_profiles"]:
            identities = {
                identity["type"]: identity["value"] for identity in profile["user_identities"]
            }
            item = table().get_item(Key={"mpid": profile["mpid"]}).get("Item")
            audiences = item["audiences"] if item else {}
            for audience in profile["audiences"]:
                if audience["action"] == "add":
                    audiences[str(audience["audience_id"])] = audience["audience_name"]
                elif audience["action"] == "delete":
                    audiences.pop(str(audience["audience_id"]), None)
            table().put_item(Item={"mpid": profile["mpid"], "audiences": audiences})
            membership = ",".join(f"'{audience}'" for audience in sorted(audiences, key=int))
            yield (
                identities["customer"],
                {"email": identities["email"], "SegmentMembership": membership},
            )

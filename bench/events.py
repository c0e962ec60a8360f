"""Events: SQS events as Lambda passes them to a function, generated from a seed."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from typing import Any, Final

ACCOUNT_ID: Final = 1001
_FIRST_AUDIENCE: Final = 11_000
_AUDIENCES: Final = 400


@dataclass(frozen=True, slots=True)
class Shape:
    """The people and messages of an event. `first` is the number of its first person.

    With `few`, most people enter few audiences. With `lean`, a record has only the fields that the
    function reads, so that an event holds 10,000 records; with all fields of AWS, about 5,000.
    """

    people: int
    people_in_a_message: int = 1
    audiences: range = range(1, 11)
    few: bool = False
    lean: bool = False
    first: int = 0


def make(shape: Shape, *, at_ms: int) -> dict[str, Any]:
    """Return an event in which everybody enters some audiences, the same ones in each event."""
    return {
        "Records": [
            _record(shape, first, at_ms)
            for first in range(shape.first, shape.first + shape.people, shape.people_in_a_message)
        ]
    }


def audiences_of(person: int, shape: Shape) -> list[int]:
    """Return the audiences that a person enters."""
    chance = random.Random(person)  # noqa: S311 - generated from a seed
    weights = [1 / count for count in shape.audiences] if shape.few else None
    (count,) = chance.choices(shape.audiences, weights)
    return chance.sample(range(_FIRST_AUDIENCE, _FIRST_AUDIENCE + _AUDIENCES), count)


def profile(person: int, shape: Shape) -> dict[str, Any]:
    """Return the profile of a person, as mParticle sends it."""
    audiences: list[dict[str, Any]] = [
        {"audience_id": audience, "audience_name": f"Audience {audience}", "action": "add"}
        for audience in audiences_of(person, shape)
    ]
    identities = [("customer", f"customer-{person}"), ("email", f"person-{person}@example.com")]
    if shape.lean:
        del identities[1:]
    else:
        for audience in audiences:
            audience["audience_subscription_settings"] = {}
    return {
        "mpid": str(5_873_904_123_000_000_000 + person),
        "user_identities": [
            {"type": kind, "encoding": "raw", "value": value} for kind, value in identities
        ],
        "audiences": audiences,
    }


def _record(shape: Shape, first: int, at_ms: int) -> dict[str, Any]:
    body = json.dumps(
        {
            "type": "audience_membership_change_request",
            "id": f"5ff2b1c8-0000-4000-8000-{first:012}",
            "timestamp_ms": at_ms,
            "account": {"account_id": ACCOUNT_ID, "account_settings": {}},
            "user_profiles": [
                profile(person, shape)
                for person in range(
                    first, min(first + shape.people_in_a_message, shape.first + shape.people)
                )
            ],
        },
        separators=(",", ":"),
    )
    record = {
        "messageId": f"d23f0824-128b-4f33-8c5c-{first:012}",
        "receiptHandle": f"AQEB{first:012}",
        "body": body,
        "attributes": {"ApproximateReceiveCount": "1"},
    }
    if shape.lean:
        return record
    return {
        **record,
        "receiptHandle": f"AQEB{first:0176}",
        "attributes": {
            "ApproximateReceiveCount": "1",
            "SentTimestamp": str(at_ms),
            "SenderId": "AROAEXAMPLEEXAMPLE:mparticle",
            "ApproximateFirstReceiveTimestamp": str(at_ms + 500),
        },
        "messageAttributes": {},
        "md5OfBody": "0369f6eea4bbe19afad7e90b1c5d5f51",
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:us-east-1:123456789012:audience-forwarder-changes",
        "awsRegion": "us-east-1",
    }

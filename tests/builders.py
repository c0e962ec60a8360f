"""Small makers of the values that tests talk about; each names only what matters."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

from handler.clock import Deadline, Now
from handler.domain.attribute_mapping import NO_ATTRIBUTES, AttributeMapping
from handler.domain.membership import PersonState, stamp
from handler.domain.outcome import ReceivedMessage
from handler.domain.profile import AttributeValue, MembershipChange, Profile
from handler.domain.update import Identifier, Update
from handler.domain.workspace import Workspace

NOW = 1_790_000_000.0
NOW_MS = int(NOW * 1000)
WORKSPACE = Workspace("site-a", "key-a")


def deadline(seconds: float = 60.0, *, now: Now = lambda: NOW) -> Deadline:
    """Return a deadline so many seconds from now, on a clock that stands still."""
    return Deadline(now() + seconds, now)


def audience(audience_id: Any, action: str = "add", **fields: Any) -> dict[str, Any]:
    named = {"audience_id": audience_id, "audience_name": f"Audience {audience_id}"}
    return {**named, "action": action, **fields}


def identity(kind: str, value: Any, encoding: str = "raw") -> dict[str, Any]:
    return {"type": kind, "encoding": encoding, "value": value}


def profile(
    *audiences: dict[str, Any],
    mpid: Any = "-7",
    customer_id: Any = "42",
    email: Any = None,
    **fields: Any,
) -> dict[str, Any]:
    identities = [
        identity(kind, value)
        for kind, value in (("customer", customer_id), ("email", email))
        if value is not None
    ]
    return {
        "mpid": mpid,
        "user_identities": identities,
        "audiences": list(audiences or [audience(11)]),
        **fields,
    }


def body(*profiles: Any, at_ms: Any = NOW_MS, account_id: Any = 1001, **fields: Any) -> str:
    return json.dumps(
        {
            "type": "audience_membership_change_request",
            "id": "5ff2b1c8-0000-4000-8000-000000000001",
            "timestamp_ms": at_ms,
            "account": {"account_id": account_id, "account_settings": {}},
            "user_profiles": list(profiles),
            **fields,
        }
    )


def stream_record(**fields: Any) -> str:
    """Return a record of mParticle's output to a delivery stream."""
    return json.dumps(
        {
            "MembershipChangedTimestamp": str(NOW_MS // 1000),
            "AudienceId": 11,
            "AudienceName": "Audience 11",
            "IsMember": True,
            "UserIdentities": {"CustomerId": "42"},
            **fields,
        }
    )


def failed_record(data: bytes) -> bytes:
    """Return the line that Amazon Data Firehose writes for a record that it could not pass on."""
    content = {
        "attemptsMade": 4,
        "arrivalTimestamp": int(NOW * 1000),
        "errorCode": "Lambda.FunctionError",
        "errorMessage": "The Lambda function was successfully invoked but it returned an error.",
        "attemptEndingTimestamp": int(NOW * 1000),
        "rawData": b64encode(data).decode(),
        "lambdaArn": "arn:aws:lambda:eu-west-1:1:function:f",
    }
    return json.dumps(content).encode() + b"\n"


def erasure(
    *,
    customer_id: Any = "42",
    email: Any = None,
    at_ms: Any = NOW_MS,
    **fields: Any,
) -> str:
    """Return a request to erase a person."""
    identities = {"controller_customer_id": customer_id, "email": email}
    return json.dumps(
        {
            "type": "dsr_processing_request",
            "id": "5ff2b1c8-0000-4000-8000-000000000002",
            "timestamp_ms": at_ms,
            "subject_request_id": "5ff2b1c8-0000-4000-8000-000000000003",
            "subject_request_type": "erasure",
            "submitted_time": at_ms / 1000 - 60 if isinstance(at_ms, int) else None,
            "subject_identities": {
                kind: {"encoding": "raw", "value": value}
                for kind, value in identities.items()
                if value is not None
            },
            "regulation": "gdpr",
            **fields,
        }
    )


def stream_event(*data: bytes | str) -> dict[str, Any]:
    """Return the event in which a delivery stream passes on records with these data."""
    records = [
        {
            "recordId": f"r-{place}",
            "approximateArrivalTimestamp": NOW_MS,
            "data": b64encode(each.encode() if isinstance(each, str) else each).decode(),
        }
        for place, each in enumerate(data)
    ]
    return {"invocationId": "i-1", "records": records}


def message(
    text: str,
    message_id: str = "m-1",
    receive_count: int = 1,
    *,
    retried_since: float | None = None,
) -> ReceivedMessage:
    return ReceivedMessage(
        message_id, text, f"handle-{message_id}", receive_count, message_id, retried_since
    )


def record(**fields: Any) -> dict[str, Any]:
    """Return a record of an SQS event."""
    return {
        "messageId": "m-1",
        "receiptHandle": "handle-m-1",
        "body": "{}",
        "attributes": {"ApproximateReceiveCount": "3"},
        **fields,
    }


def change(audience_id: int, *, joined: bool = True, name: str | None = None) -> MembershipChange:
    return MembershipChange(audience_id, name or f"Audience {audience_id}", joined)


def update(
    *changes: MembershipChange,
    at_ms: int = NOW_MS,
    mpid: int | None = 7,
    customer_id: str | None = "42",
    email: str | None = None,
    shared: dict[str, AttributeValue | None] | None = None,
    one_attribute: bool = False,
    mapping: AttributeMapping = NO_ATTRIBUTES,
) -> Update:
    profile = profile_of(*changes, mpid=mpid, customer_id=customer_id, email=email, shared=shared)
    return Update.of(
        profile, at_ms=at_ms, one_attribute_per_audience=one_attribute, mapping=mapping
    )


def profile_of(
    *changes: MembershipChange,
    mpid: int | None = 7,
    customer_id: str | None = "42",
    email: str | None = None,
    shared: dict[str, AttributeValue | None] | None = None,
) -> Profile:
    return Profile(mpid, customer_id, email, changes, shared or {})


def state(
    *member_of: int,
    left: tuple[int, ...] = (),
    at_ms: int = NOW_MS,
    version: int = 1,
    **fields: Any,
) -> PersonState:
    memberships = {key: stamp(at_ms, removed=False) for key in member_of}
    memberships |= {key: stamp(at_ms, removed=True) for key in left}
    kept: dict[str, Any] = {
        "timestamp": int(at_ms / 1000),
        "identifier": Identifier(is_id=True, set_at_ms=at_ms, value="42"),
        **fields,
    }
    return PersonState(version=version, memberships=memberships, **kept)

"""Messages for end-to-end tests, each of somebody new."""

import json
import time
from typing import Any
from uuid import uuid4


def somebody() -> str:
    """Return a customer id that nobody has had."""
    return f"somebody-{uuid4()}"


def address() -> str:
    """Return an email that nobody has had."""
    return f"{somebody()}@example.com"


def new_mpid() -> int:
    """Return the id of a profile that mParticle has not had."""
    return uuid4().int % 2**63


def join(customer_id: str, audience_id: int = 30001) -> str:
    """Return a message that somebody has entered an audience."""
    identity = {"type": "customer", "encoding": "raw", "value": customer_id}
    return _message({"user_identities": [identity]}, audience_id, "add")


def of_profile(mpid: int, email: str, audience_id: int = 30001, action: str = "add") -> str:
    """Return a message that a profile with this email has entered, or left, an audience."""
    identity = {"type": "email", "encoding": "raw", "value": email}
    return _message({"mpid": mpid, "user_identities": [identity]}, audience_id, action)


def _message(profile: dict[str, Any], audience_id: int, action: str) -> str:
    name = f"Tested {audience_id}"
    audience = {"audience_id": audience_id, "audience_name": name, "action": action}
    return json.dumps(
        {
            "type": "audience_membership_change_request",
            "id": str(uuid4()),
            "timestamp_ms": int(time.time() * 1000),
            "account": {"account_id": 1001},
            "user_profiles": [profile | {"audiences": [audience]}],
        }
    )


def subscription(audience_id: int, action: str, at_ms: int | None = None) -> str:
    """Return a message that mParticle added or removed an audience, now or at a time."""
    return json.dumps(
        {
            "type": "audience_subscription_request",
            "id": str(uuid4()),
            "timestamp_ms": at_ms or int(time.time() * 1000),
            "account": {"account_id": 1001},
            "audience_id": audience_id,
            "audience_name": f"Tested {audience_id}",
            "action": action,
        }
    )


def connection_check(account_id: int = 1001) -> str:
    """Return a message of nobody."""
    return json.dumps(
        {
            "type": "audience_membership_change_request",
            "id": str(uuid4()),
            "timestamp_ms": int(time.time() * 1000),
            "account": {"account_id": account_id},
        }
    )


def memberships(stack, identifier):
    """Return what Customer.io has as somebody's SegmentMembership; None for nobody."""
    for person in stack.customerio.people():
        if identifier in person.identifiers.values():
            return person.attributes["SegmentMembership"]
    return None

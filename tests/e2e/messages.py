"""Messages for end-to-end tests, each of somebody new."""

import json
import time
from uuid import uuid4


def somebody() -> str:
    """Return a customer id that nobody has had."""
    return f"somebody-{uuid4()}"


def join(customer_id: str, audience_id: int = 30001) -> str:
    """Return a message that somebody has entered an audience."""
    return json.dumps(
        {
            "type": "audience_membership_change_request",
            "id": str(uuid4()),
            "timestamp_ms": int(time.time() * 1000),
            "account": {"account_id": 1001},
            "user_profiles": [
                {
                    "user_identities": [
                        {"type": "customer", "encoding": "raw", "value": customer_id}
                    ],
                    "audiences": [
                        {"audience_id": audience_id, "audience_name": "Tested", "action": "add"}
                    ],
                }
            ],
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


def memberships(stack, customer_id):
    """Return what Customer.io has as somebody's SegmentMembership; None for nobody."""
    for person in stack.customerio.people():
        if person.identifiers.get("id") == customer_id:
            return person.attributes["SegmentMembership"]
    return None

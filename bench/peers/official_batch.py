"""Official batch: uses `batch` of `customerio`, Customer.io's official client.

`batch` sends its operations to the v2 API in one request and ignores the body of the answer, so it
does not see that Customer.io refuses a person with a 207. A request has as many people as always
stay below the API's limit of 500 kB. The client waits for each request before the next.
"""

from __future__ import annotations

from typing import Any

from bench.peers.memory import remembered
from bench.peers.one_by_one import customerio

PEOPLE_IN_A_REQUEST = 1000


def lambda_handler(event: dict[str, Any], _context: object) -> None:
    """Forward one SQS batch."""
    people = [
        {
            "type": "person",
            "action": "identify",
            "identifiers": {"id": customer_id},
            "attributes": attributes,
        }
        for customer_id, attributes in remembered(event)
    ]
    for start in range(0, len(people), PEOPLE_IN_A_REQUEST):
        customerio().batch(people[start : start + PEOPLE_IN_A_REQUEST])

"""Official batch: the same with `customerio`, Customer.io's official client, and its `batch`.

`batch` sends its operations to the v2 API in one request and does not look at the answer's body: a
person whom Customer.io refuses with a 207 goes unnoticed. Its requests carry as many people as are
surely below the 500 kB that the API takes, and follow each other, as the client waits for each.
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

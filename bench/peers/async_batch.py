"""Async batch: uses async-customerio and its v2 batch call, as its README shows them.

The client is created in an `async with`, so each event opens new connections. A request has as
many people as always stay below the 500 KB that the README names. The requests run concurrently.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

from async_customerio import AsyncCustomerIO
from async_customerio.track.v2 import Actions

from bench.peers.memory import remembered

PEOPLE_IN_A_REQUEST = 1000


def lambda_handler(event: dict[str, Any], _context: object) -> None:
    """Forward one SQS batch."""
    asyncio.run(forward(event))


async def forward(event: dict[str, Any]) -> None:
    """Forward one SQS batch."""
    people = [
        {
            "type": "person",
            "action": Actions.identify.value,
            "identifiers": {"id": customer_id},
            "attributes": attributes,
        }
        for customer_id, attributes in remembered(event)
    ]
    async with AsyncCustomerIO(
        site_id=os.environ["SITE_ID"],
        api_key=os.environ["API_KEY"],
        host=os.environ["TRACK_API_HOST"],
        port=int(os.environ["TRACK_API_PORT"]),
    ) as cio:
        await asyncio.gather(
            *(
                cio.v2.send_batch(people[start : start + PEOPLE_IN_A_REQUEST])
                for start in range(0, len(people), PEOPLE_IN_A_REQUEST)
            )
        )

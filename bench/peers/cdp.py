"""CDP: uses customerio-cdp-analytics, Customer.io's client for its Data Pipelines.

`analytics.identify` puts people on a queue, and a thread of the package sends them. `flush` waits
for the thread, as Lambda would freeze it with people still on the queue. By default a request has
100 people; `upload_size` raises that to as many as the package takes. It logs people whom it could
not send, and forgets them.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any

from customerio.analytics import Client

from bench.peers.memory import remembered


@cache
def analytics() -> Client:
    """Return the client, created once."""
    return Client(os.environ["API_KEY"], host=os.environ["TRACK_API_URL"], upload_size=1000)


def lambda_handler(event: dict[str, Any], _context: object) -> None:
    """Forward one SQS batch."""
    for customer_id, attributes in remembered(event):
        analytics().identify(user_id=customer_id, traits=attributes)
    analytics().flush()

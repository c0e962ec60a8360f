"""CDP: the same with customerio-cdp-analytics, Customer.io's client for its Data Pipelines.

`analytics.identify` puts people on a queue that a thread of the package empties, and `flush` waits
for that, without which Lambda would freeze the thread with people still on the queue. The package
sends 100 people in a request unless told otherwise; told so here, it sends as many as it takes.
What it could not send it logs and forgets.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any

from customerio.analytics import Client

from bench.peers.memory import remembered


@cache
def analytics() -> Client:
    """Return the client, made once."""
    return Client(os.environ["API_KEY"], host=os.environ["TRACK_API_URL"], upload_size=1000)


def lambda_handler(event: dict[str, Any], _context: object) -> None:
    """Forward one SQS batch."""
    for customer_id, attributes in remembered(event):
        analytics().identify(user_id=customer_id, traits=attributes)
    analytics().flush()

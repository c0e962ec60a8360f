"""One by one: the handler of most blog posts, with Customer.io's official client.

For each profile: GetItem, PutItem, and one `identify`, as the README of the package `customerio`
shows it. The client keeps its connection between calls and between invocations, which is the
package's default since version 1.5.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any

# The README has `from customerio import CustomerIO`. Two packages of Customer.io install the same
# folder, each with its own __init__.py, so this import is the only one that works with both.
from customerio.track import CustomerIO

from bench.peers.memory import remembered


@cache
def customerio() -> CustomerIO:
    """Return the client, created once."""
    return CustomerIO(
        os.environ["SITE_ID"],
        os.environ["API_KEY"],
        host=os.environ["TRACK_API_HOST"],
        port=int(os.environ["TRACK_API_PORT"]),
    )


def lambda_handler(event: dict[str, Any], _context: object) -> None:
    """Forward one SQS batch."""
    for customer_id, attributes in remembered(event):
        customerio().identify(id=customer_id, **attributes)

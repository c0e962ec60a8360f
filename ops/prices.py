"""Prices: what work costs in AWS, at the list prices of docs/cost.md. Pure."""

from __future__ import annotations

from typing import Final

SQS_REQUEST: Final = 0.50e-6
"""Dollars for a request of up to 64 KB, with a message group."""

WRITE_UNIT: Final = 0.625e-6
READ_UNIT: Final = 0.125e-6

_LAMBDA_PERSON: Final = 0.45 / 1000 * 0.0000133334  # 0.45 s for 1,000 people on 1 GB


def of_deliveries(people: int) -> float:
    """Return the dollars that it costs to deliver people whom the table knows, without a queue."""
    return people * (WRITE_UNIT + 1.5 * READ_UNIT + _LAMBDA_PERSON)


def of_changes(count: int, *, messages: int) -> float:
    """Return the dollars that changes cost at most: each is of a person new to the table."""
    # Each message is sent, received and, with nine others, deleted.
    queue = messages * 2.1 * SQS_REQUEST
    return queue + count * (2 * WRITE_UNIT + 1.5 * READ_UNIT + _LAMBDA_PERSON)

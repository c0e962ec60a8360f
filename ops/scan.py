"""Scan: reads all people in the table, in parallel and in bounded memory; what that costs is known
before.

A scan is no snapshot: changes that arrive meanwhile may or may not be in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from handler.concurrency import side_by_side
from handler.table.people import Page
from ops import prices
from ops.stack import NO_DEADLINE
from ops.table import opened

if TYPE_CHECKING:
    from ops.stack import Aws, Stack

SEGMENTS: Final = 4
"""Pages that are read side by side, and how many are in memory. One core decodes no more."""

ITEMS_PER_S: Final = 8_000
"""How many people in ten audiences each are exported in a second, cautiously; see docs/cost.md."""

_READ_UNIT_BYTES: Final = 8_192  # at half the price, as the reads are eventually consistent


@dataclass(frozen=True, slots=True)
class Estimate:
    """What reading the whole table takes. DynamoDB counts items and bytes every six hours."""

    items: int
    bytes: int
    seconds: float
    read_units: float
    dollars: float


def estimate(aws: Aws, stack: Stack) -> Estimate:
    """Return what a scan of the table takes now."""
    table = aws.dynamodb.describe_table(TableName=stack.table_name)["Table"]
    read_units = table["TableSizeBytes"] / _READ_UNIT_BYTES
    return Estimate(
        items=table["ItemCount"],
        bytes=table["TableSizeBytes"],
        seconds=table["ItemCount"] / ITEMS_PER_S,
        read_units=read_units,
        dollars=read_units * prices.READ_UNIT,
    )


def pages(aws: Aws, stack: Stack) -> Iterator[Page]:
    """Yield the people of the whole table, page by page. Raises RetryableError."""
    with opened(aws, stack) as table, ThreadPoolExecutor(SEGMENTS) as threads:
        segments = [
            table.people.pages(segment, SEGMENTS, deadline=NO_DEADLINE)
            for segment in range(SEGMENTS)
        ]
        while segments:
            read = side_by_side(threads, lambda pages: next(pages, None), segments)
            yield from filter(None, read)
            segments = [pages for pages, page in zip(segments, read, strict=True) if page]

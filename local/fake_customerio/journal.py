"""Journal: the requests received and how each was answered, the last 10,000 of them."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace

from local.fake_customerio.faults import FaultKind

KEPT = 10_000


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """One request to the Track API."""

    time: float
    """When it arrived, in seconds since 1970."""
    method: str
    path: str
    site_id: str
    """Empty where the credentials were refused."""
    people: int
    refused: int
    reason: str
    """Why the first of those, or the whole request, was refused."""
    status: int | None
    """None where the connection was broken instead of an answer."""
    fault: FaultKind | None
    duration: float
    """Seconds from arrival to answer."""
    number: int = 0
    """By order of answering, from 1 since the last reset."""


class Journal:
    """The latest requests, oldest first."""

    def __init__(self) -> None:
        """Start empty."""
        self.records: deque[RequestRecord] = deque(maxlen=KEPT)
        self.total = 0

    def add(self, record: RequestRecord) -> None:
        """Keep one more request and give it its number."""
        self.total += 1
        self.records.append(replace(record, number=self.total))

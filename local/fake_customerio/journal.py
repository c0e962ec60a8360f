"""Journal: the last 10,000 requests, and how each was answered.

Bodies are kept too, of the latest requests, up to 32 MB.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace

from local.fake_customerio.faults import FaultKind

MAX_REQUESTS = 10_000
MAX_BYTES = 32_000_000


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """One request to the Track API."""

    time: float
    """When it arrived, in seconds since 1970."""
    method: str
    path: str
    site_id: str
    """Empty if the credentials were refused."""
    entities: int
    refused: int
    reason: str
    """Why the first of the refused entities, or the whole request, was refused."""
    status: int | None
    """None if the connection broke before the answer."""
    fault: FaultKind | None
    duration: float
    """Seconds from arrival to answer."""
    number: int = 0
    """In the order of answers, from 1 after a reset."""


class Journal:
    """The latest requests, oldest first."""

    def __init__(self) -> None:
        """Start empty."""
        self.records: deque[RequestRecord] = deque(maxlen=MAX_REQUESTS)
        self.total = 0
        self._bodies: deque[tuple[RequestRecord, bytes]] = deque(maxlen=MAX_REQUESTS)
        self._size = 0

    def add(self, record: RequestRecord, body: bytes) -> None:
        """Keep a request, and number it."""
        self.total += 1
        record = replace(record, number=self.total)
        self.records.append(record)
        if len(self._bodies) == MAX_REQUESTS:
            self._size -= len(self._bodies.popleft()[1])
        self._bodies.append((record, body))
        self._size += len(body)
        while self._size > MAX_BYTES:
            self._size -= len(self._bodies.popleft()[1])

    def naming(self, text: str) -> list[tuple[RequestRecord, bytes]]:
        """Return the requests whose body contains a text, oldest first."""
        encoded = text.encode()
        return [(record, body) for record, body in self._bodies if encoded in body]

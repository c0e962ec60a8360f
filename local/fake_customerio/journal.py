"""Journal: the requests received and how each was answered, the last 10,000 of them.

Of the latest, as many as 32 MB hold, the bodies are kept as well.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace

from local.fake_customerio.faults import FaultKind

KEPT = 10_000
KEPT_BYTES = 32_000_000


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
        self._bodies: deque[tuple[RequestRecord, bytes]] = deque(maxlen=KEPT)
        self._size = 0

    def add(self, record: RequestRecord, body: bytes) -> None:
        """Keep one more request and give it its number."""
        self.total += 1
        record = replace(record, number=self.total)
        self.records.append(record)
        if len(self._bodies) == KEPT:
            self._size -= len(self._bodies.popleft()[1])
        self._bodies.append((record, body))
        self._size += len(body)
        while self._size > KEPT_BYTES:
            self._size -= len(self._bodies.popleft()[1])

    def naming(self, text: str) -> list[tuple[RequestRecord, bytes]]:
        """Return the requests with a text in their body, oldest first."""
        wanted = text.encode()
        return [(record, body) for record, body in self._bodies if wanted in body]

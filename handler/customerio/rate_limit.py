"""Rate limit: when the next request may go to a workspace.

A token bucket for each workspace, by site id. It neither waits nor sends: client.py does.
"""

from __future__ import annotations

import threading
from typing import Final

from handler.clock import Now
from handler.domain.workspace import MAX_WORKSPACES

BURST_S: Final = 0.5
"""A workspace that got no requests for a while gets this many seconds' worth at once."""


class RateLimit:
    """So many requests a second for each workspace. Safe to use from several threads."""

    def __init__(self, per_second: float, *, now: Now) -> None:
        self._per_second = per_second
        self._burst = max(1.0, per_second * BURST_S)
        self._now = now
        self._lock = threading.Lock()
        self._buckets: dict[str, tuple[float, float]] = {}

    def reserve(self, site_id: str, *, within: float) -> float | None:
        """Reserve a request; return how long to wait before it is sent, in seconds.

        None if that is more than `within`; then nothing is reserved.
        """
        with self._lock:
            now = self._now()
            left, at = self._buckets.pop(site_id, (self._burst, now))
            # Unix time, as other clocks may stop while Lambda freezes the environment; but it may
            # be set back.
            tokens = min(self._burst, left + max(0.0, now - at) * self._per_second)
            wait = max(0.0, (1 - tokens) / self._per_second)
            fits = wait <= within
            self._buckets[site_id] = (tokens - fits, now)
            if len(self._buckets) > MAX_WORKSPACES:
                least_recent = next(iter(self._buckets))
                del self._buckets[least_recent]
            return wait if fits else None

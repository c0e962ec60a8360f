"""Circuit breaker: which workspaces are paused, because a delivery to them failed.

In an outage, each execution environment sends one request per pause. Otherwise every batch would
read and write the table and then send five requests. client.py sends.
"""

from __future__ import annotations

import threading
from typing import Final

import msgspec

from handler.clock import Draw, Now
from handler.domain.workspace import MAX_WORKSPACES, Workspace
from handler.errors import RetryableError

FIRST_PAUSE_S: Final = 15.0
LONGEST_PAUSE_S: Final = 240.0
LONGEST_RETRY_AFTER_S: Final = 900.0
"""A longer `Retry-After` is cut: messages are retried every 15 minutes in the end."""


class _Circuit(msgspec.Struct):
    """A workspace to which the last deliveries failed; `failures` is their number."""

    error: RetryableError
    failures: int
    opened_at: float
    closed_at: float
    is_probed: bool = False

    def is_open(self, now: float) -> bool:
        # If the clock was set back, the pause is over.
        return self.is_probed or self.opened_at <= now < self.closed_at


class CircuitBreaker:
    """The workspaces that seem to be down. Safe to use from several threads.

    A workspace with new credentials is another one, which is not paused.
    """

    def __init__(self, *, now: Now, draw: Draw) -> None:
        self._now = now
        self._draw = draw
        self._lock = threading.Lock()
        self._circuits: dict[Workspace, _Circuit] = {}

    def paused(self, workspace: Workspace) -> RetryableError | None:
        """Return why nothing may be sent to a workspace for now; None if something may."""
        with self._lock:
            circuit = self._circuits.get(workspace)
            return circuit.error if circuit and circuit.is_open(self._now()) else None

    def needs_probe(self, workspace: Workspace) -> bool:
        """Tell whether a pause of a workspace is over, and no delivery succeeded since."""
        with self._lock:
            circuit = self._circuits.get(workspace)
            return circuit is not None and not circuit.is_open(self._now())

    def begin(self, workspace: Workspace) -> bool:
        """Begin a delivery; return whether it is the first one after a pause, a probe.

        Raises the error that `paused` returns, also while another delivery is the probe.
        """
        with self._lock:
            circuit = self._circuits.get(workspace)
            if circuit is None:
                return False
            if circuit.is_open(self._now()):
                raise circuit.error.with_traceback(None)
            circuit.is_probed = True
            return True

    def close(self, workspace: Workspace) -> None:
        """Record that Customer.io answers again."""
        with self._lock:
            self._circuits.pop(workspace, None)

    def end(
        self, workspace: Workspace, failure: RetryableError | None, *, retry_after: float = 0.0
    ) -> None:
        """End a delivery; a failure pauses the workspace, longer each time in a row.

        It is at least `retry_after` seconds, of which `LONGEST_RETRY_AFTER_S` count at most.
        """
        with self._lock:
            circuit = self._circuits.get(workspace)
            if failure is None:
                if circuit is not None:
                    circuit.is_probed = False
                return
            failures = circuit.failures if circuit else 0
            pause = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(failures, 10))
            shortest = min(LONGEST_RETRY_AFTER_S, retry_after)
            now = self._now()
            self._circuits.pop(workspace, None)
            self._circuits[workspace] = _Circuit(
                # A copy, as the traceback of the original keeps the request in memory.
                error=type(failure)(*failure.args),
                failures=failures + 1,
                opened_at=now,
                # Half of it is jitter, so that not all environments probe at the same time.
                closed_at=now + max(shortest, self._draw(pause / 2, pause)),
            )
            if len(self._circuits) > MAX_WORKSPACES:
                least_recent = next(iter(self._circuits))
                del self._circuits[least_recent]

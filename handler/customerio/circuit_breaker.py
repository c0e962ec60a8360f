"""Circuit breaker: which workspaces are paused, because a delivery to them failed.

An outage then costs each execution environment one request a pause, instead of five tries, and all
the reading and writing before them, for every batch. Nothing here sends: client.py does.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Final

from handler.clock import Draw, Now
from handler.domain.workspace import MAX_WORKSPACES, Workspace
from handler.errors import RetryableError

FIRST_PAUSE_S: Final = 15.0
LONGEST_PAUSE_S: Final = 240.0
LONGEST_ASKED_S: Final = 900.0
"""What is believed of `Retry-After`: messages are retried every 15 minutes in the end."""


@dataclass(slots=True)
class _Circuit:
    """A workspace to which the last so many deliveries failed."""

    error: RetryableError
    failures: int
    opened_at: float
    closed_at: float
    is_probed: bool = False

    def is_open(self, now: float) -> bool:
        # The clock may be set back: then the pause is over.
        return self.is_probed or self.opened_at <= now < self.closed_at


class CircuitBreaker:
    """The workspaces that are down, as far as we know. Safe to use from several threads.

    Other credentials make another workspace, which is not paused.
    """

    def __init__(self, *, now: Now, draw: Draw) -> None:
        """Begin with no workspace paused."""
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

        Raises what `paused` returns; also while another delivery probes.
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
        """Note that Customer.io answers again."""
        with self._lock:
            self._circuits.pop(workspace, None)

    def end(
        self, workspace: Workspace, failure: RetryableError | None, *, asked_to_wait: float = 0.0
    ) -> None:
        """End a delivery; a failure pauses the workspace, longer each time in a row.

        The pause is as long as Customer.io asked for, in seconds, up to `LONGEST_ASKED_S`.
        """
        with self._lock:
            circuit = self._circuits.get(workspace)
            if failure is not None:
                self._open(workspace, failure, circuit.failures if circuit else 0, asked_to_wait)
            elif circuit is not None:
                circuit.is_probed = False

    def _open(
        self, workspace: Workspace, failure: RetryableError, failures: int, asked_to_wait: float
    ) -> None:
        pause = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(failures, 10))
        asked = min(LONGEST_ASKED_S, asked_to_wait)
        now = self._now()
        self._circuits.pop(workspace, None)
        self._circuits[workspace] = _Circuit(
            # A copy, as the traceback of the original keeps all that was sent in memory.
            error=type(failure)(*failure.args),
            failures=failures + 1,
            opened_at=now,
            # Half of it is jitter, so that not all environments probe at the same time.
            closed_at=now + max(asked, self._draw(pause / 2, pause)),
        )
        if len(self._circuits) > MAX_WORKSPACES:
            least_recent = next(iter(self._circuits))
            del self._circuits[least_recent]

"""Report: the numbers of one invocation, for telemetry."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Report:
    """What one invocation did.

    `unreadable`: messages that could not be read, and so have no profiles to count;
    `oldest_change_s`: age of the oldest change delivered, in seconds.
    """

    records: int = 0
    profiles: int = 0
    unreadable: int = 0
    people_changed: int = 0
    people_delivered: int = 0
    people_overtaken: int = 0
    version_conflicts: int = 0
    oldest_change_s: float | None = None


@dataclass(frozen=True, slots=True)
class StreamReport:
    """What one invocation of the stream's function did.

    `unreadable`: what could not be read, and so went to the dead-letter queue. `failed`: records
    that are not on a queue, at least in part; `reason`: why, empty if only the dead-letter queue
    did not take them.
    """

    records: int
    changes: int
    messages: int
    unreadable: int
    failed: int
    reason: str

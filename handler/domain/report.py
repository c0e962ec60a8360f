"""Report: the numbers of one invocation, for telemetry."""

from __future__ import annotations

import msgspec


class Report(msgspec.Struct):
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


class StreamReport(msgspec.Struct, frozen=True):
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

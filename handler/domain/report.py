"""Report: the numbers of one batch, for telemetry."""

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

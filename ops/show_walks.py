"""Show walks: walks over the table, as text and tables for a person."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.table import Table

from ops import show
from ops.walks import Estimate, WalkStatus


def estimate(estimated: Estimate) -> str:
    """Say what a walk takes at most."""
    return (
        f"The table has about {estimated.people:,} people, as DynamoDB counted in the last six "
        f"hours. If all are delivered, a walk takes {show.duration(estimated.seconds)}, "
        f"{estimated.read_units:,.0f} read units and "
        f"{estimated.write_units:,.0f} write units: {show.dollars(estimated.dollars)}."
    )


def estimate_of(estimated: Estimate) -> str:
    """Say what it takes to deliver people whom the operator has named."""
    return (
        f"Items of these people in the table: {estimated.people:,}. Delivering them takes "
        f"{show.duration(estimated.seconds)}, {estimated.read_units:,.0f} read units and "
        f"{estimated.write_units:,.0f} write units: {show.dollars(estimated.dollars)}."
    )


def missing(names: Sequence[str], *, of: int, reveal: bool) -> str:
    """Say how many of the named people are not in the table, or who they are."""
    said = f"Not in the table: {len(names):,} of {of:,} named people"
    return f"{said}: {', '.join(names)}" if reveal else f"{said}. `--reveal` names them."


def walk(status: WalkStatus, now: float) -> str:
    """Say how a walk stands."""
    segments = "no segment has begun yet"
    if status.segments:
        segments = f"{status.segments_done} of {status.segments} segments are done"
        if status.is_running and status.segments_done == status.segments:
            segments += ", and the walk is about to end"
    if status.segments_failed:
        segments += f", {status.segments_failed} failed"
    lines = [
        f"{status.name}: {status.status}, started {show.since(status.started_at, now)}",
        f"  {_purpose(status.walk, now)}",
        f"  {segments}",
    ]
    if status.status == "SUCCEEDED":
        counts = (
            f"{status.read:,} read, {status.delivered:,} delivered, {status.skipped:,} skipped"
        )
        lines.append(f"  people: {counts}")
    if status.reason:
        lines.append(f"  {status.reason}")
    return "\n".join(lines)


def _purpose(walk: Mapping[str, Any], now: float) -> str:
    """Say what a walk is for, and whom it concerns. Its input may be of somebody else."""
    parts = ["a removed audience" if walk.get("kind") == "removal" else "a resync"]
    if (audience_id := walk.get("audience_id")) is not None:
        parts.append(f"audience {audience_id} {walk.get('audience_name', '')}".rstrip())
    if since := walk.get("since"):
        parts.append(f"people to whom something was sent since {show.since(since, now)}")
    site_id = walk.get("site_id")
    parts.append(f"workspace {site_id}" if site_id else "all workspaces")
    return ", ".join(parts)


def listed(statuses: Iterable[WalkStatus], now: float) -> Table:
    """Return a table of walks."""
    return show.table(
        "Walks, the newest first",
        *("walk", "status", "started", "segments done", "people delivered"),
        rows=(
            (
                status.name,
                status.status,
                show.since(status.started_at, now),
                f"{status.segments_done} of {status.segments}",
                f"{status.delivered:,}" if status.status == "SUCCEEDED" else "",
            )
            for status in statuses
        ),
    )

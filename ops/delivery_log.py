"""Delivery log: the deliveries of single people that the forwarder logged.

It logs them one by one only at the level DEBUG, as `person.delivered`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from ops.logs import read_log

if TYPE_CHECKING:
    from mypy_boto3_logs.client import CloudWatchLogsClient

_LINES_READ: Final = 100


@dataclass(frozen=True, slots=True)
class Delivery:
    """A delivery of a person, in Unix seconds: when, and the timestamp that Customer.io got."""

    at: float
    sent_timestamp: int


def last_delivery(
    logs: CloudWatchLogsClient,
    group: str,
    person: str,
    *,
    since: float,
    on_lines: Callable[[int], None] = lambda _: None,
) -> Delivery | None:
    """Return a person's newest delivery that the log has; None if it has none.

    `person` is the hash in the key of their item. Raises botocore's ClientError.
    """
    log = read_log(logs, group, [f'"{person}"'], since=since, most=_LINES_READ, on_lines=on_lines)
    found = (_delivery(line) for line in log.lines)
    return max((each for each in found if each), key=lambda each: each.at, default=None)


def _delivery(line: str) -> Delivery | None:
    """Return the delivery that a line tells of; None for other lines."""
    logged = read_line(line)
    if logged.get("message") != "person.delivered":
        return None
    return Delivery(logged["at"], int(logged["sent_timestamp"]))


def read_line(line: str) -> Mapping[str, Any]:
    """Return the fields of a line of ours, and `at`, its time in Unix seconds; else nothing."""
    try:
        logged = json.loads(line)
        at = datetime.strptime(logged["timestamp"], "%Y-%m-%d %H:%M:%S,%f%z").timestamp()
    except (ValueError, TypeError, KeyError):
        return {}
    return {**logged, "at": at}

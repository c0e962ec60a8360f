"""Logs: the lines of a function's log in CloudWatch that contain a term.

status.py and checks.py read what the lines mean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mypy_boto3_logs.client import CloudWatchLogsClient

MOST_LINES: Final = 10_000
"""Limit on the lines that are read for each term, as an operator waits for them."""


@dataclass(frozen=True, slots=True)
class Log:
    """The lines that contain a term: all since `complete_since`, in Unix seconds."""

    lines: Sequence[str]
    complete_since: float


def read_log(
    logs: CloudWatchLogsClient,
    group: str,
    terms: Iterable[str],
    *,
    since: float,
    most: int = MOST_LINES,
    on_lines: Callable[[int], None] = lambda _: None,
) -> Log:
    """Return the lines that contain one of the terms, the newest first: about `most` for each.

    A term is a filter pattern of CloudWatch Logs; `since` is in Unix seconds. `on_lines` is called
    with the number of lines of each page. Raises botocore's ClientError.
    """
    lines: dict[tuple[object, ...], str] = {}  # a line that contains two terms, once
    complete_since = since
    for term in terms:
        count = 0
        pages = logs.get_paginator("filter_log_events").paginate(
            logGroupName=group,
            startTime=int(since * 1000),
            filterPattern=term,
            startFromHead=False,
        )
        for page in pages:
            events = page["events"]
            lines |= {
                (event["logStreamName"], event["timestamp"], event["message"]): event["message"]
                for event in events
            }
            on_lines(len(events))
            count += len(events)
            if count >= most and "nextToken" in page:
                oldest = min(event["timestamp"] for event in events)
                complete_since = max(complete_since, oldest / 1000)
                break
    return Log(list(lines.values()), complete_since)

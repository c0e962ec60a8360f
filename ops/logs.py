"""Logs: the lines of a function's log in CloudWatch that hold a term.

What the lines mean is for status.py and checks.py to say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mypy_boto3_logs.client import CloudWatchLogsClient

MOST_LINES: Final = 10_000
"""Lines that are read for each term: more would keep an operator waiting."""


@dataclass(frozen=True, slots=True)
class Log:
    """Lines of a log: all that hold a term, from `complete_since` on, in Unix seconds."""

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
    """Return the lines with any of the terms, the newest first: about `most` for each term.

    A term is a filter pattern of CloudWatch Logs; `since` is in Unix seconds. `on_lines` gets the
    number of lines of each page that is read. Raises botocore's ClientError.
    """
    found: dict[tuple[object, ...], str] = {}  # each once, also where two terms are in it
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
            found |= {
                (one["logStreamName"], one["timestamp"], one["message"]): one["message"]
                for one in events
            }
            on_lines(len(events))
            count += len(events)
            if count >= most and "nextToken" in page:
                oldest = min(one["timestamp"] for one in events)
                complete_since = max(complete_since, oldest / 1000)
                break
    return Log(list(found.values()), complete_since)

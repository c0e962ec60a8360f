"""Status: how deep and old the queues are, what rings, and what went wrong lately, and why."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ops.stack import Aws, Stack

_MOST_LINES: Final = 10_000  # of the log that are read for each of the terms
_TERMS: Final = ("WARNING", "ERROR")  # what such lines hold, whoever wrote them
_RAISED: Final = re.compile(r"\[ERROR\] (\w+): ([^\n\r]*)")


@dataclass(frozen=True, slots=True)
class Depth:
    """How much is on a queue, by SQS's estimate; `oldest_s` None where nobody knows."""

    waiting: int
    hidden: int
    """Taken by the function or by somebody who looks, or put off after a failure."""
    oldest_s: float | None


@dataclass(frozen=True, slots=True)
class Trouble:
    """One kind of line that the function logged."""

    event: str
    error_type: str
    reason: str
    count: int


@dataclass(frozen=True, slots=True)
class Status:
    """The stack at a glance."""

    stack: str
    queue: Depth
    dead_letters: Depth
    mapping: str
    ringing: tuple[str, ...]
    troubles: tuple[Trouble, ...]

    @property
    def is_well(self) -> bool:
        """Tell whether nobody is needed."""
        dead = self.dead_letters
        return not (dead.waiting or dead.hidden or self.ringing) and self.mapping == "Enabled"

    @property
    def next_steps(self) -> list[str]:
        """Tell what to do now, each with its section of docs/operations.md."""
        events = {trouble.event for trouble in self.troubles}
        steps = {
            "`ops check` has the command that enables the mapping; see: Changes wait too long": (
                self.mapping != "Enabled"
            ),
            "`ops check` tries the credentials; see: Credentials are refused": (
                "credentials.refused" in events
            ),
            "`ops check` finds what is not in order; see: The function fails": (
                "invocation.failed" in events
            ),
            "wait, or mend what the reasons say; see: Changes are retried": (
                "message.retried" in events and "credentials.refused" not in events
            ),
            "`ops dlq list` tells what was set aside; see: Dead letters are waiting": (
                self.dead_letters.waiting + self.dead_letters.hidden > 0
            ),
        }
        return [step for step, is_due in steps.items() if is_due]


def look(aws: Aws, stack: Stack, *, since: timedelta) -> Status:
    """Return how the stack is, with what went wrong `since` so long ago."""
    mappings = aws.functions.list_event_source_mappings(FunctionName=stack.function_name)
    states = [one.get("State", "") for one in mappings["EventSourceMappings"]]
    return Status(
        stack=stack.status,
        queue=_depth(aws, stack.queue_url),
        dead_letters=_depth(aws, stack.dead_letter_queue_url),
        mapping=" ".join(states) or "none",
        ringing=_ringing(aws, stack),
        troubles=tuple(troubles(_lines(aws, stack, since))),
    )


def troubles(lines: Iterable[str]) -> list[Trouble]:
    """Return what went wrong in lines of the log, alike together, the most frequent first."""
    counts = Counter(found for line in lines if (found := _trouble(line)))
    return [Trouble(*told, count) for told, count in counts.most_common()]


def _trouble(line: str) -> tuple[str, str, str] | None:
    try:
        told = json.loads(line)
    except ValueError:
        raised = _RAISED.search(line)
        return ("invocation.failed", raised[1], raised[2]) if raised else None
    if not isinstance(told, Mapping) or told.get("level") not in {*_TERMS, "CRITICAL"}:
        return None
    kind = told.get("error_type") or told.get("error") or told.get("status") or ""
    return str(told.get("message", "")), str(kind), str(told.get("reason", ""))


def _lines(aws: Aws, stack: Stack, since: timedelta) -> Iterable[str]:
    start = int((datetime.now(UTC) - since).timestamp() * 1000)
    found: dict[tuple[object, ...], str] = {}  # each once, also where both terms are in it
    for term in _TERMS:
        pages = aws.logs.get_paginator("filter_log_events").paginate(
            logGroupName=stack.log_group,
            startTime=start,
            filterPattern=term,
            PaginationConfig={"MaxItems": _MOST_LINES},
        )
        for page in pages:
            found |= {
                (event["logStreamName"], event["timestamp"], event["message"]): event["message"]
                for event in page["events"]
            }
    return found.values()


def _ringing(aws: Aws, stack: Stack) -> tuple[str, ...]:
    if not stack.alarm_names:
        return ()
    alarms = aws.cloudwatch.describe_alarms(AlarmNames=list(stack.alarm_names), StateValue="ALARM")
    told = [(one["AlarmName"], one.get("AlarmDescription", "")) for one in alarms["MetricAlarms"]]
    return tuple(f"{name.removeprefix(stack.name + '-')}: {why}" for name, why in told)


def _depth(aws: Aws, url: str) -> Depth:
    counts = aws.sqs.get_queue_attributes(
        QueueUrl=url,
        AttributeNames=[
            "ApproximateNumberOfMessages",
            "ApproximateNumberOfMessagesDelayed",
            "ApproximateNumberOfMessagesNotVisible",
        ],
    )["Attributes"]
    waiting = int(counts["ApproximateNumberOfMessages"])
    hidden = sum(map(int, counts.values())) - waiting
    return Depth(waiting, hidden, _oldest(aws, url.rpartition("/")[2]) if waiting else None)


def _oldest(aws: Aws, queue_name: str) -> float | None:
    # SQS itself does not tell; CloudWatch does, a minute or two late.
    now = datetime.now(UTC)
    points = aws.cloudwatch.get_metric_statistics(
        Namespace="AWS/SQS",
        MetricName="ApproximateAgeOfOldestMessage",
        Dimensions=[{"Name": "QueueName", "Value": queue_name}],
        StartTime=now - timedelta(minutes=10),
        EndTime=now,
        Period=60,
        Statistics=["Maximum"],
    )["Datapoints"]
    newest = max(points, key=lambda point: point["Timestamp"], default=None)
    return newest["Maximum"] if newest else None

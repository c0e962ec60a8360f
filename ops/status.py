"""Status: how deep and old the queues are, what rings, and what went wrong lately, and why."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, Literal

from handler import settings
from handler.errors import UnusableCredentialsError
from ops import mapping
from ops.logs import read_log
from ops.stack import READY

if TYPE_CHECKING:
    from ops.stack import Aws, Stack

Function = Literal["forwarder", "ingress"]

_LEVELS: Final = ("WARNING", "ERROR")
# What lines of trouble hold: ours, Lambda's own, and the end of a traceback that an emulator logs
# line by line.
_TERMS: Final = (*_LEVELS, '"Task timed out"', '"Runtime exited"', '"handler.errors."')
_RAISED: Final = re.compile(r"(?:\[ERROR\] |^handler\.errors\.)([\w.]+)(?:: ([^\n\r]*))?")
_UNUSABLE: Final = UnusableCredentialsError.__name__
_NOT_WELL: Final = {
    "firehose.refused",
    "invocation.failed",
    "secret.unread",
}
_TIMED_OUT: Final = re.compile(r"Task timed out after [\d.]+ seconds")
_EXITED: Final = re.compile(r"Runtime exited[^\n\r]*")


@dataclass(frozen=True, slots=True)
class Depth:
    """How much is on a queue, by SQS's estimate; `oldest_s` None where nobody knows."""

    waiting: int
    hidden: int
    """Received by the function or by somebody who looks, or waiting for the next try."""
    oldest_s: float | None

    @property
    def count(self) -> int:
        """Return how many messages there are."""
        return self.waiting + self.hidden


@dataclass(frozen=True, slots=True)
class Trouble:
    """One kind of line that a function, or Lambda of it, logged."""

    function: Function
    event: str
    error_type: str
    reason: str
    count: int


@dataclass(frozen=True, slots=True)
class Invocations:
    """How often Lambda ran a function, about. What failed is tried again: by SQS, or mParticle."""

    count: int
    failed: int


@dataclass(frozen=True, slots=True)
class Status:
    """The stack at a glance; `troubles` as of `logged_since`, in Unix seconds."""

    stack: str
    version: str
    queue: Depth
    retry_queue: Depth
    dead_letters: Depth
    mappings: Mapping[str, str]
    """The state of each queue's event source mapping."""
    forwarder: Invocations
    ingress: Invocations | None
    ringing: tuple[str, ...]
    troubles: tuple[Trouble, ...]
    logged_since: float
    is_cut_off: bool
    """Whether what was logged before is more than is read."""

    @property
    def is_well(self) -> bool:
        """Tell whether nobody is needed. Retries alone need nobody yet."""
        dead = self.dead_letters
        return (
            self.is_ready
            and self.is_enabled
            and not (dead.count or self.ringing or self.failed)
            and not any(one.event in _NOT_WELL for one in self.troubles)
            and not self.has_bad_credentials
        )

    @property
    def is_enabled(self) -> bool:
        """Tell whether the function receives messages from each queue."""
        return set(self.mappings.values()) == {"Enabled"}

    @property
    def is_ready(self) -> bool:
        """Tell whether the stack is as a template says."""
        return self.stack in READY

    @property
    def failed(self) -> int:
        """Return how many invocations failed, of either function."""
        return self.forwarder.failed + (self.ingress.failed if self.ingress else 0)

    @property
    def has_bad_credentials(self) -> bool:
        """Tell whether Customer.io refused credentials, or an entry of the secret is unusable."""
        return any(
            one.event == "credentials.refused" or one.error_type == _UNUSABLE
            for one in self.troubles
        )

    @property
    def next_steps(self) -> list[str]:
        """Tell what to do now, each with its section of docs/operations.md."""
        events = {one.event for one in self.troubles if one.function == "forwarder"}
        of_ingress = {one.event for one in self.troubles if one.function == "ingress"}
        steps = {
            "`make deploy` brings the stack up to date; see: The stack is not ready": (
                not self.is_ready
            ),
            "`ops mapping enable` has messages received again; see: Changes wait too long": (
                not self.is_enabled
            ),
            "`ops check` tries the credentials; see: Credentials are refused": (
                self.has_bad_credentials
            ),
            "`ops check` tries the secrets; see: A secret cannot be read": (
                "secret.unread" in events | of_ingress
            ),
            "`ops check` finds what is not in order; see: The function fails": (
                "invocation.failed" in events or self.forwarder.failed > 0
            ),
            "`ops check` looks at the ingress too; see: The ingress fails": (
                "invocation.failed" in of_ingress
                or (self.ingress is not None and self.ingress.failed > 0)
            ),
            "was mParticle's token changed? see: mParticle is not let in": (
                "firehose.refused" in of_ingress
            ),
            "wait, or fix what the reasons say; see: Changes are retried": (
                ("message.retried" in events or self.retry_queue.count > 0)
                and not self.has_bad_credentials
            ),
            "`ops check` names the audiences; see: Audience names have dots": (
                "audience.dot_in_name" in events
            ),
            "`ops dlq list` tells what was set aside; see: Dead letters are waiting": (
                self.dead_letters.count > 0
            ),
        }
        return [step for step, is_due in steps.items() if is_due]


def look(aws: Aws, stack: Stack, *, since: timedelta, on_lines: Callable[[int], None]) -> Status:
    """Return how the stack is, with what went wrong `since` so long ago.

    `on_lines` is told how many lines of the logs have been read, again and again.
    """
    start = (datetime.now(UTC) - since).timestamp()
    groups: dict[Function, str] = {"forwarder": stack.log_group}
    if stack.ingress:
        groups["ingress"] = stack.ingress.log_group
    logs = {
        function: read_log(aws.logs, group, _TERMS, since=start, on_lines=on_lines)
        for function, group in groups.items()
    }
    found = [one for function, log in logs.items() for one in troubles(function, log.lines)]
    logged_since = max(log.complete_since for log in logs.values())
    return Status(
        stack=stack.status,
        version=_version(aws, stack),
        queue=_depth(aws, stack.queue_url),
        retry_queue=_depth(aws, stack.retry_queue_url),
        dead_letters=_depth(aws, stack.dead_letter_queue_url),
        mappings=mapping.states(aws, stack),
        forwarder=_invocations(aws, stack.function_name, since),
        ingress=_invocations(aws, stack.ingress.function_name, since) if stack.ingress else None,
        ringing=_ringing(aws, stack),
        troubles=tuple(sorted(found, key=lambda one: -one.count)),
        logged_since=logged_since,
        is_cut_off=logged_since > start,
    )


def _version(aws: Aws, stack: Stack) -> str:
    found = aws.functions.get_function_configuration(FunctionName=stack.function_name)
    return settings.version(found["Environment"]["Variables"])


def troubles(function: Function, lines: Iterable[str]) -> list[Trouble]:
    """Return what went wrong in lines of a log, alike together, the most frequent first."""
    counts = Counter(found for line in lines if (found := _trouble(line)))
    return [Trouble(function, *told, count) for told, count in counts.most_common()]


def _trouble(line: str) -> tuple[str, str, str] | None:
    try:
        told = json.loads(line)
    except ValueError:
        failure = _failure(line)
        return ("invocation.failed", *failure) if failure else None
    if not isinstance(told, Mapping) or told.get("level") not in _LEVELS:
        return None
    kind = told.get("error_type") or told.get("error") or told.get("status") or ""
    return str(told.get("message", "")), str(kind), str(told.get("reason", ""))


def _failure(line: str) -> tuple[str, str] | None:
    """Return the kind and the reason of an invocation's end, in Lambda's own words."""
    if timed_out := _TIMED_OUT.search(line):
        return "Timeout", timed_out[0]
    if exited := _EXITED.search(line):
        return "Crash", exited[0]
    raised = _RAISED.search(line)
    return (raised[1], raised[2] or "") if raised else None


def _invocations(aws: Aws, function_name: str, since: timedelta) -> Invocations:
    now = datetime.now(UTC)
    minutes = int(since.total_seconds() // 60)

    def total(name: str) -> int:
        points = aws.cloudwatch.get_metric_statistics(
            Namespace="AWS/Lambda",
            MetricName=name,
            Dimensions=[{"Name": "FunctionName", "Value": function_name}],
            StartTime=now - since,
            EndTime=now,
            Period=60 * (minutes // 1000 + 1),  # CloudWatch gives at most 1,440 at a time
            Statistics=["Sum"],
        )["Datapoints"]
        return int(sum(point["Sum"] for point in points))

    return Invocations(total("Invocations"), total("Errors"))


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

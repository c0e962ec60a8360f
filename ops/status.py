"""Status: the depth and age of the queues, the alarms that fire, recent errors and reasons."""

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
from ops import mapping, streams
from ops.logs import read_log
from ops.queues import Depth, depth
from ops.stack import READY

if TYPE_CHECKING:
    from ops.stack import AudienceStream, Aws, Stack

Function = Literal["forwarder", "walker", "ingress", "stream"]

_LEVELS: Final = ("WARNING", "ERROR")
# Terms in lines of errors: the functions' own, Lambda's, and the last line of a traceback, as an
# emulator logs tracebacks line by line.
_TERMS: Final = (*_LEVELS, '"Task timed out"', '"Runtime exited"', '"handler.errors."')
_RAISED: Final = re.compile(r"(?:\[ERROR\] |^handler\.errors\.)([\w.]+)(?:: ([^\n\r]*))?")
_UNUSABLE: Final = UnusableCredentialsError.__name__
_UNHEALTHY_EVENTS: Final = {
    "firehose.refused",
    "invocation.failed",
    "secret.unread",
    "stream.transformed",  # logged as a warning if records failed
}
_TIMED_OUT: Final = re.compile(r"Task timed out after [\d.]+ seconds")
_EXITED: Final = re.compile(r"Runtime exited[^\n\r]*")


@dataclass(frozen=True, slots=True)
class LoggedError:
    """Warnings or errors of one kind that a function, or Lambda about it, logged."""

    function: Function
    event: str
    error_type: str
    reason: str
    count: int


@dataclass(frozen=True, slots=True)
class Invocations:
    """About how often Lambda ran a function. SQS or mParticle retries those that failed."""

    count: int
    failed: int


@dataclass(frozen=True, slots=True)
class StreamStatus:
    """The audience stream; `failed_objects` are those that the last day has brought."""

    state: str
    failed_objects: int
    function: Invocations

    @property
    def is_active(self) -> bool:
        """Tell whether the stream takes records."""
        return self.state == streams.ACTIVE


@dataclass(frozen=True, slots=True)
class Status:
    """The stack at a glance; `errors` since `logged_since`, in Unix seconds."""

    stack: str
    version: str
    queue: Depth
    retry_queue: Depth
    dead_letters: Depth
    mappings: Mapping[str, str]
    """The state of each queue's event source mapping."""
    forwarder: Invocations
    walker: Invocations
    ingress: Invocations | None
    stream: StreamStatus | None
    firing_alarms: tuple[str, ...]
    errors: tuple[LoggedError, ...]
    logged_since: float
    is_cut_off: bool
    """Whether there are earlier lines that were not read, as there are too many."""

    @property
    def is_healthy(self) -> bool:
        """Tell whether nobody has to act. Retries alone need no action yet."""
        return (
            self.is_ready
            and self.is_enabled
            and not (self.dead_letters.count or self.firing_alarms or self.failed)
            and not any(error.event in _UNHEALTHY_EVENTS for error in self.errors)
            and not self.has_bad_credentials
            and (self.stream is None or self.stream.is_active)
        )

    @property
    def is_enabled(self) -> bool:
        """Tell whether the function receives messages from each queue."""
        return set(self.mappings.values()) == {"Enabled"}

    @property
    def is_ready(self) -> bool:
        """Tell whether the stack is deployed completely."""
        return self.stack in READY

    @property
    def failed(self) -> int:
        """Return how many invocations of the functions failed."""
        stream = self.stream and self.stream.function
        functions = (self.forwarder, self.walker, self.ingress, stream)
        return sum(function.failed for function in functions if function)

    @property
    def has_bad_credentials(self) -> bool:
        """Tell whether Customer.io refuses credentials, or an entry of the secret is unusable."""
        return any(
            error.event == "credentials.refused" or error.error_type == _UNUSABLE
            for error in self.errors
        )

    @property
    def next_steps(self) -> list[str]:
        """Return what to do now, each with its section of docs/operations.md."""
        events, of_ingress = self._events_of("forwarder"), self._events_of("ingress")
        of_walker, of_stream = self._events_of("walker"), self._events_of("stream")
        steps = {
            "`make deploy` brings the stack up to date; see: The stack is not ready": (
                not self.is_ready
            ),
            "`ops mapping enable` lets messages in again; see: Changes wait too long": (
                not self.is_enabled
            ),
            "`ops check` tests the credentials; see: Credentials are refused": (
                self.has_bad_credentials
            ),
            "`ops check` reads the secrets; see: A secret cannot be read": (
                "secret.unread" in events | of_ingress
            ),
            "`ops check` finds the cause; see: The function fails": (
                "invocation.failed" in events or self.forwarder.failed > 0
            ),
            "`ops check` finds why steps fail; see: A walk makes no progress": (
                "invocation.failed" in of_walker or self.walker.failed > 0
            ),
            "`ops check` checks the ingress too; see: The ingress fails": (
                "invocation.failed" in of_ingress
                or (self.ingress is not None and self.ingress.failed > 0)
            ),
            "was mParticle's token changed? see: mParticle is not let in": (
                "firehose.refused" in of_ingress
            ),
            "wait, or fix the cause that the reasons name; see: Changes are retried": (
                ("message.retried" in events or self.retry_queue.count > 0)
                and not self.has_bad_credentials
            ),
            "`ops check` names the audiences; see: Audience names have dots": (
                "audience.dot_in_name" in events
            ),
            "new audiences have no names; see: The catalogue of audiences is full": (
                "catalogue.full" in events
            ),
            "fix the cause that the reasons name; see: Records of the stream fail": (
                bool(of_stream & {"invocation.failed", "stream.transformed"})
                or (self.stream is not None and self.stream.function.failed > 0)
            ),
            "`ops stream replay` sends failed records again; see: To replay the stream": (
                self.stream is not None and self.stream.failed_objects > 0
            ),
            "`ops dlq list` shows what was set aside; see: Dead letters are waiting": (
                self.dead_letters.count > 0
            ),
        }
        return [step for step, is_due in steps.items() if is_due]

    def _events_of(self, function: Function) -> set[str]:
        """Return the names of the log events that tell of errors of a function."""
        return {error.event for error in self.errors if error.function == function}


def look(aws: Aws, stack: Stack, *, since: timedelta, on_lines: Callable[[int], None]) -> Status:
    """Return the status of the stack, with the errors logged during the last `since`.

    `on_lines` is called with the number of log lines of each page that is read.
    """
    start = (datetime.now(UTC) - since).timestamp()
    groups: dict[Function, str] = {
        "forwarder": stack.log_group,
        "walker": stack.walker_log_group,
    }
    if stack.ingress:
        groups["ingress"] = stack.ingress.log_group
    if stack.stream:
        groups["stream"] = stack.stream.log_group
    logs = {
        function: read_log(aws.logs, group, _TERMS, since=start, on_lines=on_lines)
        for function, group in groups.items()
    }
    errors = [error for name, log in logs.items() for error in logged_errors(name, log.lines)]
    logged_since = max(log.complete_since for log in logs.values())
    return Status(
        stack=stack.status,
        version=_version(aws, stack),
        queue=depth(aws, stack.queue_url),
        retry_queue=depth(aws, stack.retry_queue_url),
        dead_letters=depth(aws, stack.dead_letter_queue_url),
        mappings=mapping.states(aws, stack),
        forwarder=_invocations(aws, stack.function_name, since),
        walker=_invocations(aws, stack.walker_name, since),
        ingress=_invocations(aws, stack.ingress.function_name, since) if stack.ingress else None,
        stream=_stream(aws, stack.stream, since) if stack.stream else None,
        firing_alarms=_firing_alarms(aws, stack),
        errors=tuple(sorted(errors, key=lambda error: -error.count)),
        logged_since=logged_since,
        is_cut_off=logged_since > start,
    )


def _version(aws: Aws, stack: Stack) -> str:
    function = aws.functions.get_function_configuration(FunctionName=stack.function_name)
    return settings.version(function["Environment"]["Variables"])


def logged_errors(function: Function, lines: Iterable[str]) -> list[LoggedError]:
    """Return the warnings and errors in lines of a log, counted, the most frequent first."""
    counts = Counter(error for line in lines if (error := _read_line(line)))
    return [LoggedError(function, *error, count) for error, count in counts.most_common()]


def _read_line(line: str) -> tuple[str, str, str] | None:
    """Return event, error type and reason of a warning or an error; None for other lines."""
    try:
        logged = json.loads(line)
    except ValueError:
        failure = _failure(line)
        return ("invocation.failed", *failure) if failure else None
    if not isinstance(logged, Mapping) or logged.get("level") not in _LEVELS:
        return None
    error_type = logged.get("error_type") or logged.get("error") or logged.get("status") or ""
    return str(logged.get("message", "")), str(error_type), str(logged.get("reason", ""))


def _failure(line: str) -> tuple[str, str] | None:
    """Return the error type and the reason in a line that Lambda logs if an invocation fails."""
    if timed_out := _TIMED_OUT.search(line):
        return "Timeout", timed_out[0]
    if exited := _EXITED.search(line):
        return "Crash", exited[0]
    raised = _RAISED.search(line)
    return (raised[1], raised[2] or "") if raised else None


def _stream(aws: Aws, stream: AudienceStream, since: timedelta) -> StreamStatus:
    return StreamStatus(
        state=streams.status(aws, stream),
        failed_objects=streams.failed_objects(aws, stream),
        function=_invocations(aws, stream.function_name, since),
    )


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
            Period=60 * (minutes // 1000 + 1),  # CloudWatch returns at most 1,440 points
            Statistics=["Sum"],
        )["Datapoints"]
        return int(sum(point["Sum"] for point in points))

    return Invocations(total("Invocations"), total("Errors"))


def _firing_alarms(aws: Aws, stack: Stack) -> tuple[str, ...]:
    if not stack.alarm_names:
        return ()
    alarms = aws.cloudwatch.describe_alarms(AlarmNames=list(stack.alarm_names), StateValue="ALARM")
    return tuple(
        f"{alarm['AlarmName'].removeprefix(stack.name + '-')}: {alarm.get('AlarmDescription', '')}"
        for alarm in alarms["MetricAlarms"]
    )

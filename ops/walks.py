"""Walks: starts, follows, stops and redrives walks over the table, and delivers single people.

A walk is an execution of the stack's state machine; its name finds it again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from handler.concurrency import slices
from handler.domain.walk import Walk, WalkStep
from handler.errors import UnavailableError
from ops import prices

if TYPE_CHECKING:
    from ops.stack import Aws, Stack

PEOPLE_PER_S: Final = 2_200
"""About how many people an invocation of the walker delivers in a second; see docs/cost.md."""

KEYS_AT_A_TIME: Final = 500
"""Single people that one invocation of the walker delivers: some seconds of work."""

_READ_UNIT_BYTES: Final = 4_096
_RUNNING: Final = "RUNNING"
_SHOWN: Final = 20


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a walk takes at most: if it delivers everybody. DynamoDB counts every six hours."""

    people: int
    seconds: float
    read_units: float
    write_units: float
    dollars: float


@dataclass(frozen=True, slots=True)
class WalkStatus:
    """How far a walk is; its counts of people are known at its end.

    `started_at` in Unix seconds; `reason` why it failed or was stopped.
    """

    name: str
    status: str
    started_at: float
    walk: Any
    segments: int = 0
    segments_done: int = 0
    segments_failed: int = 0
    read: int = 0
    delivered: int = 0
    skipped: int = 0
    reason: str = ""

    @property
    def is_running(self) -> bool:
        """Tell whether it is on its way."""
        return self.status == _RUNNING

    @property
    def is_in_order(self) -> bool:
        """Tell whether nobody has to act."""
        return self.is_running or (self.status == "SUCCEEDED" and not self.skipped)


def estimate(aws: Aws, stack: Stack, *, concurrency: int, people_per_second: int) -> Estimate:
    """Return what a walk takes if it delivers everybody."""
    table = aws.dynamodb.describe_table(TableName=stack.table_name)["Table"]
    people = table["ItemCount"]
    scanned = table["TableSizeBytes"] / _READ_UNIT_BYTES
    return Estimate(
        people=people,
        seconds=people / min(people_per_second, PEOPLE_PER_S * concurrency),
        read_units=scanned + 1.5 * people,
        write_units=people,
        dollars=scanned * prices.READ_UNIT + prices.of_deliveries(people),
    )


def estimate_of(people: int, *, concurrency: int, people_per_second: int) -> Estimate:
    """Return what it takes to deliver so many people without a walk, by one invocation at a time.

    An invocation has its share of the rate of a walk.
    """
    return Estimate(
        people=people,
        seconds=people / min(people_per_second / concurrency, PEOPLE_PER_S),
        read_units=1.5 * people,
        write_units=people,
        dollars=prices.of_deliveries(people),
    )


def start(aws: Aws, stack: Stack, walk: Walk, name: str) -> None:
    """Start a walk under a name. Raises botocore's ClientError."""
    aws.step_functions.start_execution(
        stateMachineArn=stack.walks_arn, name=name, input=msgspec.json.encode(walk).decode()
    )


def status(aws: Aws, stack: Stack, name: str) -> WalkStatus:
    """Return how far a walk is. Raises botocore's ClientError if there is none of this name."""
    described = aws.step_functions.describe_execution(executionArn=_arn(stack, name))
    counts = json.loads(described.get("output") or "[]")
    segments, done, failed = _segments(aws, described["executionArn"])
    return WalkStatus(
        name,
        described["status"],
        described["startDate"].timestamp(),
        json.loads(described["input"]),
        segments=segments,
        segments_done=done,
        segments_failed=failed,
        read=sum(each["read"] for each in counts),
        delivered=sum(each["delivered"] for each in counts),
        skipped=sum(each["skipped"] for each in counts),
        reason=": ".join(filter(None, (described.get("error"), described.get("cause")))),
    )


def recent(aws: Aws, stack: Stack) -> list[WalkStatus]:
    """Return the walks that ran last, the newest first."""
    listed = aws.step_functions.list_executions(
        stateMachineArn=stack.walks_arn, maxResults=_SHOWN
    )["executions"]
    return [status(aws, stack, each["name"]) for each in listed]


def stop(aws: Aws, stack: Stack, name: str) -> None:
    """Stop a walk; a redrive goes on from there."""
    aws.step_functions.stop_execution(executionArn=_arn(stack, name), error="StoppedByOperator")


def redrive(aws: Aws, stack: Stack, name: str) -> None:
    """Let a walk go on that failed or was stopped, in the segments that are not done."""
    aws.step_functions.redrive_execution(executionArn=_arn(stack, name))


def deliver(
    aws: Aws, stack: Stack, keys: Sequence[str], *, on_people: Callable[[int], None]
) -> WalkStep:
    """Deliver single people again, by the keys of their items; return the counts.

    `on_people` gets how many more are done. Raises UnavailableError if some could not be
    delivered; others may have been.
    """
    done = WalkStep(Walk(kind="resync"), done=True)
    for part in slices(keys, KEYS_AT_A_TIME):
        step = WalkStep(done.walk, keys=part)
        answer = aws.walker.invoke(
            FunctionName=stack.walker_name, Payload=msgspec.json.encode(step)
        )
        content = json.loads(answer["Payload"].read())
        if answer.get("FunctionError"):
            error = content.get("errorType", "an error")
            raise UnavailableError(f"the walker failed: {error}: {content.get('errorMessage')}")
        after = msgspec.convert(content, WalkStep)
        done = msgspec.structs.replace(
            done,
            read=done.read + after.read,
            delivered=done.delivered + after.delivered,
            skipped=done.skipped + after.skipped,
        )
        on_people(len(part))
    return done


def _segments(aws: Aws, execution_arn: str) -> tuple[int, int, int]:
    """Return how many segments there are, are done, and failed."""
    runs = aws.step_functions.list_map_runs(executionArn=execution_arn)["mapRuns"]
    if not runs:
        return 0, 0, 0
    counts = aws.step_functions.describe_map_run(mapRunArn=runs[0]["mapRunArn"])["itemCounts"]
    return counts["total"], counts["succeeded"], counts["failed"]


def _arn(stack: Stack, name: str) -> str:
    return f"{stack.walks_arn.replace(':stateMachine:', ':execution:')}:{name}"

"""Walks that are started, followed, stopped and redriven, and people who are delivered alone."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from handler.domain.walk import Walk
from handler.errors import UnavailableError
from ops import walks
from tests.unit.ops.builders import STACK, StepFunctions

MACHINE = "arn:aws:states:us-east-1:1:stateMachine:s-walks"
WALKED = replace(STACK, walks_arn=MACHINE, walker_name="walker")


class Functions:
    """The walker: it delivers all but the last of the people whom it is given."""

    def __init__(self) -> None:
        self.steps: list[Any] = []
        self.error: str | None = None

    def invoke(self, *, FunctionName: str, Payload: bytes) -> Any:  # noqa: N803 - AWS's names
        step = json.loads(Payload)
        self.steps.append((FunctionName, step))
        if self.error:
            content: Any = {"errorType": self.error, "errorMessage": "slow down"}
            return {
                "FunctionError": "Unhandled",
                "Payload": io.BytesIO(json.dumps(content).encode()),
            }
        read = len(step["keys"])
        step |= {"read": read, "delivered": read - 1, "skipped": 1, "done": True}
        return {"Payload": io.BytesIO(json.dumps(step).encode())}


@pytest.fixture
def aws() -> Any:
    return SimpleNamespace(step_functions=StepFunctions(MACHINE), walker=Functions())


def test_a_walk_is_followed_by_its_name(aws) -> None:
    walks.start(aws, WALKED, Walk(kind="resync", since=5), "resync-1")

    begun = walks.status(aws, WALKED, "resync-1")
    aws.step_functions.end("resync-1", [(10, 8, 0), (5, 1, 1)])
    ended = walks.status(aws, WALKED, "resync-1")

    assert (begun.status, begun.is_in_order, begun.walk["since"]) == ("RUNNING", True, 5)
    assert (ended.segments, ended.segments_done) == (2, 2)
    assert (ended.read, ended.delivered, ended.skipped) == (15, 9, 1)
    assert not ended.is_in_order  # as somebody was skipped


def test_a_stopped_walk_goes_on_after_a_redrive(aws) -> None:
    walks.start(aws, WALKED, Walk(kind="resync"), "resync-1")

    walks.stop(aws, WALKED, "resync-1")
    stopped = walks.status(aws, WALKED, "resync-1")
    walks.redrive(aws, WALKED, "resync-1")

    assert (stopped.status, stopped.reason) == ("ABORTED", "StoppedByOperator")
    assert not stopped.is_in_order
    assert [each.status for each in walks.recent(aws, WALKED)] == ["RUNNING"]


def test_single_people_are_delivered_some_at_a_time(aws) -> None:
    keys = [f"site-a#{number}" for number in range(walks.KEYS_AT_A_TIME + 2)]

    counts: list[int] = []
    done = walks.deliver(aws, WALKED, keys, on_people=counts.append)

    assert [len(step["keys"]) for _, step in aws.walker.steps] == [walks.KEYS_AT_A_TIME, 2]
    assert counts == [walks.KEYS_AT_A_TIME, 2]
    assert {name for name, _ in aws.walker.steps} == {"walker"}
    assert (done.read, done.delivered, done.skipped) == (len(keys), len(keys) - 2, 2)


def test_an_error_of_the_walker_has_its_kind(aws) -> None:
    aws.walker.error = "ThrottledError"

    with pytest.raises(UnavailableError, match="the walker failed: ThrottledError: slow down"):
        walks.deliver(aws, WALKED, ["site-a#1"], on_people=lambda _: None)


@pytest.mark.parametrize(
    ("concurrency", "people_per_second", "seconds"), [(2, 2000, 1), (2, 10, 200), (1, 9999, 1)]
)
def test_people_delivered_without_a_walk_take_the_rate_of_one_invocation(
    concurrency, people_per_second, seconds
) -> None:
    estimated = walks.estimate_of(
        1000, concurrency=concurrency, people_per_second=people_per_second
    )

    assert estimated.seconds == pytest.approx(seconds, abs=0.6)

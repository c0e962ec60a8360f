"""Starting walks: once for each name, and every error can be retried."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from botocore.exceptions import ClientError, ConnectTimeoutError

from handler.domain.walk import Walk
from handler.errors import OutOfTimeError, UnavailableError
from handler.walks import Walks
from tests.builders import deadline

WALK = Walk(kind="removal", site_id="site-a", audience_id=11, removed_at_ms=5)


class Machine:
    """A state machine that answers a start with an error, if it has one."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.started: list[dict[str, Any]] = []
        self.clients = 0

    def client(self) -> Machine:
        self.clients += 1
        return self

    def start_execution(self, **arguments: Any) -> None:
        if self.error:
            raise self.error
        self.started.append(arguments)


def refusal(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "no"}}, "StartExecution")


def test_an_execution_has_the_name_of_its_walk_and_the_walk_as_input() -> None:
    machine = Machine()

    Walks(machine.client, "arn").start(WALK, deadline=deadline())

    (started,) = machine.started
    assert (started["stateMachineArn"], started["name"]) == ("arn", WALK.name)
    assert msgspec.json.decode(started["input"], type=Walk) == WALK


def test_a_client_is_not_asked_for_before_the_first_walk() -> None:
    machine = Machine()
    walks = Walks(machine.client, "arn")
    assert machine.clients == 0

    walks.start(WALK, deadline=deadline())

    assert machine.clients == 1


def test_a_walk_that_was_started_before_is_started() -> None:
    machine = Machine(refusal("ExecutionAlreadyExists"))

    Walks(machine.client, "arn").start(WALK, deadline=deadline())


@pytest.mark.parametrize(
    "error", [refusal("AccessDeniedException"), ConnectTimeoutError(endpoint_url="https://states")]
)
def test_any_other_error_is_one_to_retry(error) -> None:
    walks = Walks(Machine(error).client, "arn")

    with pytest.raises(UnavailableError, match="a walk cannot be started"):
        walks.start(WALK, deadline=deadline())


def test_without_time_nothing_is_started() -> None:
    machine = Machine()

    with pytest.raises(OutOfTimeError):
        Walks(machine.client, "arn").start(WALK, deadline=deadline(1))

    assert machine.clients == 0

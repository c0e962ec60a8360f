"""What is put on the queue, and what SQS did not take."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any
from unittest.mock import Mock

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from hypothesis import given
from hypothesis import strategies as st

from handler.errors import OutOfTimeError, UnavailableError
from handler.sender import Sender
from tests.builders import deadline
from tests.stand_ins.aws import ScriptedSqs, taken
from tests.stand_ins.executors import AtOnce

SIZES = st.lists(st.integers(0, 300_000), max_size=30)


def sender(sqs, slept=None, executor=None) -> Sender:
    return Sender(
        sqs,
        executor or AtOnce(),
        queue_url="q",
        draw=lambda _, high: high,
        sleep=(slept if slept is not None else []).append,
    )


def refused(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code}}, "SendMessageBatch")


def test_all_messages_are_in_the_group_of_a_sender_that_has_one() -> None:
    sqs = ScriptedSqs()

    replace(sender(sqs), group="g").send(["a", "b"], account_id=1, deadline=deadline(30.0))

    (request,) = sqs.requests
    assert [entry["MessageGroupId"] for entry in request["Entries"]] == ["g", "g"]


@given(SIZES)
def test_bodies_go_in_requests_that_sqs_takes_in_order(sizes) -> None:
    sqs = ScriptedSqs()

    sender(sqs).send(["x" * size for size in sizes], account_id=1001, deadline=deadline(30.0))

    assert [len(body) for request in sqs.bodies for body in request] == sizes
    assert all(len(request) <= 10 for request in sqs.bodies)
    assert all(len(request) == 1 or sum(map(len, request)) <= 256_000 for request in sqs.bodies)


def test_bodies_that_sqs_did_not_take_are_sent_again_and_no_others() -> None:
    sqs = ScriptedSqs(
        [lambda entries: taken(entries, "1"), EndpointConnectionError(endpoint_url="q")]
    )
    slept: list[float] = []

    sender(sqs, slept).send(["a", "b", "c"], account_id=1001, deadline=deadline(30.0))

    assert sqs.bodies == [["a", "b", "c"], ["b"], ["b"]]
    assert slept == [0.1, 0.2]


def test_the_bodies_that_sqs_never_took_are_named_with_the_reason() -> None:
    sqs = ScriptedSqs([lambda entries: taken(entries, "1"), *[refused("InternalError")] * 3])

    unsent = sender(sqs).try_to_send(["a", "b", "c"], account_id=1, deadline=deadline(30.0))

    assert unsent.bodies == ["b"]
    assert "did not take 1 of 3 messages: InternalError" in str(unsent.error)


def test_a_sender_with_more_rounds_sends_more_often() -> None:
    sqs = ScriptedSqs([refused("InternalError")] * 7)
    slept: list[float] = []

    replace(sender(sqs, slept), rounds=8).send(["a"], account_id=1, deadline=deadline(30.0))

    assert len(sqs.bodies) == 8
    assert sum(slept) < 13


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (lambda entries: taken(entries, "0"), "InternalError"),
        (lambda _: {}, "not said"),
        (refused("RequestThrottled"), "RequestThrottled"),
        (EndpointConnectionError(endpoint_url="https://hush"), "EndpointConnectionError"),
    ],
)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_body_that_is_never_taken_is_an_error_wherever_it_is(answer, code, place) -> None:
    # Three requests to a round, one of which is never answered as it should be.
    answers = [taken, taken, taken, answer, answer, answer]
    answers[place] = answer
    sqs = ScriptedSqs(answers)

    with pytest.raises(UnavailableError, match=code) as caught:
        sender(sqs).send(["x" * 25_000] * 30, account_id=1001, deadline=deadline(30.0))

    assert "hush" not in str(caught.value)
    assert len(sqs.bodies) > 4


@pytest.mark.parametrize(
    "code",
    [
        "AccessDenied",
        "AWS.SimpleQueueService.BatchRequestTooLong",
        "AWS.SimpleQueueService.NonExistentQueue",
    ],
)
@pytest.mark.parametrize("place", [0, 2])
def test_what_sending_again_does_not_help_is_an_error_at_once(code, place) -> None:
    answers: list[Any] = [refused("RequestThrottled")] * 3
    answers[place] = refused(code)
    sqs = ScriptedSqs(answers)
    slept: list[float] = []

    with pytest.raises(UnavailableError, match=f"30 of 30 messages: {code}"):
        sender(sqs, slept).send(["x" * 25_000] * 30, account_id=1001, deadline=deadline(30.0))

    assert len(sqs.bodies) == 3
    assert slept == []


class MeetingSqs(ScriptedSqs):
    """Answers no request before as many as are expected are there; tells their threads."""

    def __init__(self, expected: int) -> None:
        super().__init__()
        self.meeting = threading.Barrier(expected, timeout=30)
        self.threads: list[int] = []

    def send_message_batch(self, **request: Any) -> dict[str, Any]:
        self.threads.append(threading.get_ident())
        self.meeting.wait()
        return super().send_message_batch(**request)


def test_requests_are_sent_side_by_side() -> None:
    sqs = MeetingSqs(4)

    with ThreadPoolExecutor(4) as executor:
        sender(sqs, executor=executor).send(
            ["x" * 250_000] * 8, account_id=1001, deadline=deadline(30.0)
        )

    assert len(sqs.bodies) == 8


def test_one_request_needs_no_thread() -> None:
    sqs = MeetingSqs(1)

    sender(sqs, executor=Mock(spec=[])).send(["a", "b"], account_id=1001, deadline=deadline(30.0))

    assert sqs.threads == [threading.get_ident()]


def test_what_one_of_several_requests_left_is_sent_again_and_no_other() -> None:
    sqs = ScriptedSqs([taken, EndpointConnectionError(endpoint_url="q")])
    bodies = [letter * 250_000 for letter in "abc"]

    sender(sqs).send(bodies, account_id=1001, deadline=deadline(30.0))

    assert sqs.bodies == [[body] for body in [*bodies, bodies[1]]]


def test_time_that_runs_out_in_the_middle_is_an_error() -> None:
    sqs = ScriptedSqs()
    times = iter([0.0, 0.0, 0.0, 26.1, 26.1])
    soon = deadline(30.0, now=times.__next__)

    with pytest.raises(OutOfTimeError):
        sender(sqs).send(["x" * 250_000] * 3, account_id=1001, deadline=soon)

    assert len(sqs.bodies) == 2


def test_no_request_is_sent_without_time_for_its_answer() -> None:
    sqs = ScriptedSqs()

    with pytest.raises(OutOfTimeError):
        sender(sqs).send(["a"], account_id=1001, deadline=deadline(3.9))

    assert sqs.bodies == []


def test_nothing_to_send_is_sent_at_once() -> None:
    sqs = ScriptedSqs()

    sender(sqs).send([], account_id=1001, deadline=deadline(0.0))

    assert sqs.bodies == []

"""What is read of an SQS event, and what SQS is told."""

from __future__ import annotations

import threading
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, cast
from unittest.mock import Mock

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from hypothesis import given
from hypothesis import strategies as st

from handler import queue
from handler.domain.outcome import DeadLetter, ReceivedMessage
from handler.errors import (
    MisconfiguredError,
    NoIdentityError,
    OutOfTimeError,
    UnavailableError,
)
from tests.builders import message


def record(**fields: Any) -> dict[str, Any]:
    return {
        "messageId": "m-1",
        "receiptHandle": "handle-m-1",
        "body": "{}",
        "attributes": {"ApproximateReceiveCount": "3"},
        **fields,
    }


def test_messages_are_read_from_the_event() -> None:
    assert queue.messages({"Records": [record()]}) == [message("{}", receive_count=3)]


@pytest.mark.parametrize(
    "event", [{}, {"Records": 7}, {"Records": [{}]}, {"Records": [record(attributes={})]}]
)
def test_any_other_event_is_a_misconfiguration(event) -> None:
    with pytest.raises(MisconfiguredError, match="not an SQS event"):
        queue.messages(event)


def test_the_answer_names_the_failed_messages() -> None:
    assert queue.partial_batch_response(["a", "b"]) == {
        "batchItemFailures": [{"itemIdentifier": "a"}, {"itemIdentifier": "b"}]
    }
    assert queue.partial_batch_response([]) == {"batchItemFailures": []}


@pytest.mark.parametrize(
    ("receives", "seconds"), [(1, 30), (2, 60), (3, 120), (5, 480), (6, 900), (1000, 900)]
)
def test_the_delay_doubles_from_half_a_minute_to_a_quarter_of_an_hour(receives, seconds) -> None:
    assert queue.retry_delay(receives, lambda low, high: (low + high) / 2) == seconds


@given(st.integers(1, 1000), st.floats(0, 1))
def test_the_delay_is_jittered_by_a_quarter_either_way(receives, chance) -> None:
    def middle(low, high):
        return (low + high) / 2

    delay = queue.retry_delay(receives, lambda low, high: low + chance * (high - low))

    expected = queue.retry_delay(receives, middle)
    assert 0.75 * expected - 1 <= delay <= 1.25 * expected


if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient


class RecordingSqs:
    def __init__(self) -> None:
        self.requests: list[list[dict[str, Any]]] = []

    def change_message_visibility_batch(self, **request: Any) -> dict[str, Any]:
        self.requests.append(request["Entries"])
        return {}

    def send_message_batch(self, **request: Any) -> dict[str, Any]:
        self.requests.append(request["Entries"])
        return {"Failed": [{"Id": "0"}]}


@pytest.fixture
def sqs():
    return RecordingSqs()


@pytest.fixture
def told(sqs):
    with ThreadPoolExecutor(1) as executor:
        yield queue.Queue(
            sqs, executor, queue_url="q", dead_letter_queue_url="d", draw=lambda low, _: low
        )


def test_each_message_is_delayed_by_how_often_it_was_received(sqs, told) -> None:
    messages = [ReceivedMessage("m", "", "h", receives) for receives in (1, 2)]

    told.delay(messages, time_left=lambda: 60.0)

    ((first, second),) = sqs.requests
    assert (first["VisibilityTimeout"], second["VisibilityTimeout"]) == (22, 45)
    assert first["ReceiptHandle"] == "h"


SIZES = st.lists(st.integers(0, 300_000), max_size=30)


@given(SIZES)
def test_letters_go_in_requests_that_sqs_takes_and_none_is_lost(sizes) -> None:
    sqs = RecordingSqs()
    letters = [DeadLetter("x" * size, NoIdentityError("none"), "m", 1) for size in sizes]
    with ThreadPoolExecutor(1) as executor:
        told = queue.Queue(
            cast("SQSClient", sqs),
            executor,
            queue_url="q",
            dead_letter_queue_url="d",
            draw=lambda low, _: low,
        )

        lost = told.set_aside(letters, time_left=lambda: 60.0)

    sent = [[len(entry["MessageBody"]) for entry in request] for request in sqs.requests]
    assert [size for request in sent for size in request] == sizes
    assert all(len(request) <= 10 for request in sent)
    assert all(len(request) == 1 or sum(request) < 256_000 for request in sent)
    assert [len(letter.body) for letter in lost] == [request[0] for request in sent]


class ScriptedSqs:
    """Takes what it is told to take; each answer is a function of the request's entries."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.sent: list[list[str]] = []

    def send_message_batch(self, *, QueueUrl: str, Entries: Any) -> dict[str, Any]:  # noqa: N803
        self.sent.append([entry["MessageBody"] for entry in Entries])
        answer = self.answers.pop(0) if self.answers else taken
        if isinstance(answer, Exception):
            raise answer
        return cast("dict[str, Any]", answer(Entries))


def taken(entries: Any, *failed: str) -> dict[str, Any]:
    return {
        "Successful": [{"Id": one["Id"]} for one in entries if one["Id"] not in failed],
        "Failed": [{"Id": place, "Code": "InternalError"} for place in failed],
    }


class AtOnce(Executor):
    """Does what it is given before it returns, one thing after the other."""

    def submit(self, do: Any, /, *args: Any, **fields: Any) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(do(*args, **fields))
        return done


def entrance(sqs, slept=None, executor=None) -> queue.Entrance:
    return queue.Entrance(
        sqs,
        executor or AtOnce(),
        queue_url="q",
        draw=lambda _, high: high,
        sleep=(slept if slept is not None else []).append,
    )


def refused(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code}}, "SendMessageBatch")


@given(SIZES)
def test_bodies_go_in_requests_that_sqs_takes_in_order(sizes) -> None:
    sqs = ScriptedSqs()

    entrance(sqs).enqueue(["x" * size for size in sizes], time_left=lambda: 30.0)

    assert [len(body) for request in sqs.sent for body in request] == sizes
    assert all(len(request) <= 10 for request in sqs.sent)
    assert all(len(request) == 1 or sum(map(len, request)) <= 256_000 for request in sqs.sent)


def test_bodies_that_sqs_did_not_take_are_sent_again_and_no_others() -> None:
    sqs = ScriptedSqs(
        lambda entries: taken(entries, "1"), EndpointConnectionError(endpoint_url="q")
    )
    slept: list[float] = []

    entrance(sqs, slept).enqueue(["a", "b", "c"], time_left=lambda: 30.0)

    assert sqs.sent == [["a", "b", "c"], ["b"], ["b"]]
    assert slept == [0.1, 0.2]


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
    sqs = ScriptedSqs(*answers)

    with pytest.raises(UnavailableError, match=code) as caught:
        entrance(sqs).enqueue(["x" * 25_000] * 30, time_left=lambda: 30.0)

    assert "hush" not in str(caught.value)
    assert len(sqs.sent) > 4


@pytest.mark.parametrize(
    "code",
    [
        "AccessDenied",
        "AWS.SimpleQueueService.BatchRequestTooLong",
        "AWS.SimpleQueueService.NonExistentQueue",
    ],
)
@pytest.mark.parametrize("place", [0, 2])
def test_what_cannot_pass_is_an_error_at_once(code, place) -> None:
    answers: list[Any] = [refused("RequestThrottled")] * 3
    answers[place] = refused(code)
    sqs = ScriptedSqs(*answers)
    slept: list[float] = []

    with pytest.raises(UnavailableError, match=f"30 of 30 messages: {code}"):
        entrance(sqs, slept).enqueue(["x" * 25_000] * 30, time_left=lambda: 30.0)

    assert len(sqs.sent) == 3
    assert slept == []


class MeetingSqs(ScriptedSqs):
    """Answers no request before as many as are expected are there; tells their threads."""

    def __init__(self, expected: int, *answers: Any) -> None:
        super().__init__(*answers)
        self.meeting = threading.Barrier(expected, timeout=30)
        self.threads: list[int] = []

    def send_message_batch(self, **request: Any) -> dict[str, Any]:
        self.threads.append(threading.get_ident())
        self.meeting.wait()
        return super().send_message_batch(**request)


def test_requests_are_sent_side_by_side() -> None:
    sqs = MeetingSqs(4)

    with ThreadPoolExecutor(4) as executor:
        entrance(sqs, executor=executor).enqueue(["x" * 250_000] * 8, time_left=lambda: 30.0)

    assert len(sqs.sent) == 8


def test_one_request_needs_no_thread() -> None:
    sqs = MeetingSqs(1)

    entrance(sqs, executor=Mock(spec=[])).enqueue(["a", "b"], time_left=lambda: 30.0)

    assert sqs.threads == [threading.get_ident()]


def test_what_one_of_several_requests_left_is_sent_again_and_no_other() -> None:
    sqs = ScriptedSqs(taken, EndpointConnectionError(endpoint_url="q"))
    bodies = [letter * 250_000 for letter in "abc"]

    entrance(sqs).enqueue(bodies, time_left=lambda: 30.0)

    assert sqs.sent == [[body] for body in [*bodies, bodies[1]]]


def test_time_that_runs_out_in_the_middle_is_an_error() -> None:
    sqs = ScriptedSqs()
    left = iter([30.0, 30.0, 3.9, 3.9])

    with pytest.raises(OutOfTimeError):
        entrance(sqs).enqueue(["x" * 250_000] * 3, time_left=left.__next__)

    assert len(sqs.sent) == 2


def test_no_request_is_sent_without_time_for_its_answer() -> None:
    sqs = ScriptedSqs()

    with pytest.raises(OutOfTimeError):
        entrance(sqs).enqueue(["a"], time_left=lambda: 3.9)

    assert sqs.sent == []


def test_nothing_to_send_is_sent_at_once() -> None:
    sqs = ScriptedSqs()

    entrance(sqs).enqueue([], time_left=lambda: 0.0)

    assert sqs.sent == []

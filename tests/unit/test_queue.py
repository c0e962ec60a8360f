"""What is read of an SQS event, and what SQS is told."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler import queue
from handler.domain.outcome import DeadLetter, ReceivedMessage
from handler.errors import (
    MisconfiguredError,
    NoIdentityError,
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

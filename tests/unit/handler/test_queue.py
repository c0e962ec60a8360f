"""What is read of an SQS event, and what SQS is told."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler import queue
from handler.domain.message import read_message
from handler.domain.outcome import DeadLetter, MessageOutcome
from handler.errors import MisconfiguredError, NoIdentityError, UnavailableError
from tests.builders import NOW, NOW_MS, body, deadline, message, profile, record
from tests.stand_ins.aws import ScriptedSqs, taken

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

RETRY_URL = "https://sqs.eu-west-1.amazonaws.com/123456789012/retries"


def test_messages_are_read_from_the_event() -> None:
    assert queue.messages({"Records": [record()]}, retry_queue_url=RETRY_URL) == [
        message("{}", receive_count=3)
    ]


@pytest.mark.parametrize(
    "event", [{}, {"Records": 7}, {"Records": [{}]}, {"Records": [record(attributes={})]}]
)
def test_any_other_event_is_a_misconfiguration(event) -> None:
    with pytest.raises(MisconfiguredError, match="not an SQS event"):
        queue.messages(event, retry_queue_url=RETRY_URL)


def test_a_message_of_the_retry_queue_knows_its_first_id_and_when_its_retries_began() -> None:
    texts = {"SourceMessageId": "m-0"}
    event = record(
        eventSourceARN="arn:aws:sqs:eu-west-1:123456789012:retries",
        attributes={"ApproximateReceiveCount": "3", "SentTimestamp": str(NOW_MS)},
        messageAttributes={name: {"stringValue": text} for name, text in texts.items()},
    )

    (received,) = queue.messages({"Records": [event]}, retry_queue_url=RETRY_URL)

    assert (received.id, received.source_id) == ("m-1", "m-0")
    assert (received.on_retry_queue, received.retried_since) == (True, NOW)


def test_what_somebody_else_put_on_the_retry_queue_is_retried_from_when_it_was_sent() -> None:
    event = record(
        eventSourceARN="arn:aws:sqs:eu-west-1:123456789012:retries",
        attributes={"ApproximateReceiveCount": "1", "SentTimestamp": str(NOW_MS)},
    )

    (received,) = queue.messages({"Records": [event]}, retry_queue_url=RETRY_URL)

    assert (received.source_id, received.retried_since) == ("m-1", NOW)


def test_the_attributes_of_the_retry_queue_mean_nothing_on_the_source_queue() -> None:
    texts = {"SourceMessageId": "m-0"}
    event = record(
        eventSourceARN="arn:aws:sqs:eu-west-1:123456789012:changes",
        messageAttributes={name: {"stringValue": text} for name, text in texts.items()},
    )

    (received,) = queue.messages({"Records": [event]}, retry_queue_url=RETRY_URL)

    assert (received.source_id, received.on_retry_queue) == ("m-1", False)


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


def queue_of(sqs: ScriptedSqs, executor: ThreadPoolExecutor) -> queue.Queue:
    return queue.Queue(
        cast("SQSClient", sqs),
        executor,
        queue_url="source",
        retry_queue_url=RETRY_URL,
        dead_letter_queue_url="dlq",
        draw=lambda low, _: low,
    )


def all_but_the_first(entries: list[dict[str, Any]]) -> dict[str, Any]:
    return taken(entries, entries[0]["Id"])


@pytest.fixture
def sqs():
    return ScriptedSqs(itertools.repeat(all_but_the_first))


@pytest.fixture
def queues(sqs):
    with ThreadPoolExecutor(1) as executor:
        yield queue_of(sqs, executor)


PLENTY: Any = {"deadline": deadline()}


def test_each_message_is_delayed_on_its_queue_by_how_often_it_was_tried(sqs, queues) -> None:
    source = [message("", receive_count=receives) for receives in (1, 2)]
    retried = [message("", receive_count=1, retried_since=NOW)]

    queues.delay([*source, *retried], **PLENTY)

    assert {
        request["QueueUrl"]: [entry["VisibilityTimeout"] for entry in request["Entries"]]
        for request in sqs.requests
    } == {"source": [22, 45], RETRY_URL: [45]}


def outcome(text="{}", message_id="m-1", account_id=1001) -> MessageOutcome:
    opened = read_message(body(profile(), account_id=account_id), now=NOW)
    return MessageOutcome(
        message(text, message_id), opened=opened, retry=UnavailableError("Customer.io: 503")
    )


def test_a_message_moves_to_the_retry_queue_with_what_it_needs_there(sqs, queues) -> None:
    outcomes = [outcome(message_id="m-0"), outcome('{"x": 1}')]

    assert queues.move_to_retry(outcomes, **PLENTY) == {"m-1"}

    (request,) = sqs.requests
    entry = request["Entries"][1]
    assert (request["QueueUrl"], entry["MessageBody"]) == (RETRY_URL, '{"x": 1}')
    assert (entry["DelaySeconds"], entry["MessageGroupId"]) == (22, "1001")
    assert {name: text["StringValue"] for name, text in entry["MessageAttributes"].items()} == {
        "SourceMessageId": "m-1",
        "RetryReason": "UnavailableError: Customer.io: 503",
    }


def test_nothing_moves_without_time(sqs, queues) -> None:
    assert queues.move_to_retry([outcome()], deadline=deadline(1.0)) == set()
    assert sqs.requests == []


def letter(body: str = "{}") -> DeadLetter:
    return DeadLetter(body, NoIdentityError("none"), MessageOutcome(message(body)), 1)


SIZES = st.lists(st.integers(0, 300_000), max_size=30)


@given(SIZES)
def test_letters_go_in_requests_that_sqs_takes_and_none_is_lost(sizes) -> None:
    sqs = ScriptedSqs(itertools.repeat(all_but_the_first))
    letters = [letter("x" * size) for size in sizes]
    with ThreadPoolExecutor(1) as executor:
        results = list(queue_of(sqs, executor).set_aside(letters, **PLENTY))

    sent = [[len(entry["MessageBody"]) for entry in each["Entries"]] for each in sqs.requests]
    assert [size for request in sent for size in request] == sizes
    assert all(len(request) <= 10 for request in sent)
    assert all(len(request) == 1 or sum(request) < 256_000 for request in sent)
    lost = [letter for letter, arrived in results if not arrived]
    assert [letter for letter, _ in results] == letters
    assert [len(letter.body) for letter in lost] == [request[0] for request in sent]


def test_letters_are_taken_one_request_at_a_time(queues) -> None:
    taken = []

    def letters():
        for number in range(30):
            taken.append(number)
            yield letter()

    next(iter(queues.set_aside(letters(), **PLENTY)))

    assert len(taken) == 11  # the request, and the one that did not fit it

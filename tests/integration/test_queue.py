"""Setting aside and delaying, on the emulator's SQS."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from handler.domain.outcome import DeadLetter, MessageOutcome, ReceivedMessage
from handler.errors import MalformedMessageError, NoIdentityError
from handler.queue import Queue
from tests.builders import deadline, message

PLENTY = {"deadline": deadline()}


@pytest.fixture
def urls(sqs):
    return [sqs.create_queue(QueueName=f"{name}-{uuid.uuid4()}")["QueueUrl"] for name in "qrd"]


@pytest.fixture
def queue(sqs, urls):
    with ThreadPoolExecutor(2) as executor:
        yield Queue(
            sqs,
            executor,
            queue_url=urls[0],
            retry_queue_url=urls[1],
            dead_letter_queue_url=urls[2],
            draw=lambda low, high: (low + high) / 2,
        )


def receive_all(sqs, url) -> list[Any]:
    found: list[Any] = []
    while some := sqs.receive_message(
        QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"]
    ).get("Messages"):
        found += some
    return found


def letter(body="{}", error=None, source="m-1") -> DeadLetter:
    outcome = MessageOutcome(message(body, source))
    return DeadLetter(body, error or NoIdentityError("$.user_identities: none"), outcome, 1)


def arrived(queue, letters) -> list[bool]:
    return [is_there for _, is_there in queue.set_aside(letters, **PLENTY)]


def test_a_letter_arrives_with_its_reason(sqs, urls, queue) -> None:
    assert arrived(queue, [letter('{"é": 1}')]) == [True]

    (received,) = receive_all(sqs, urls[2])
    assert received["Body"] == '{"é": 1}'
    assert {
        name: value["StringValue"] for name, value in received["MessageAttributes"].items()
    } == {
        "ErrorType": "NoIdentity",
        "ErrorMessage": "$.user_identities: none",
        "SourceMessageId": "m-1",
    }


def test_many_letters_and_large_ones_all_arrive(sqs, urls, queue) -> None:
    letters = [letter("x" * 100_000, source=f"m-{n}") for n in range(7)]
    letters += [letter(source=f"n-{n}") for n in range(25)]

    assert all(arrived(queue, letters))

    sources = {
        one["MessageAttributes"]["SourceMessageId"]["StringValue"]
        for one in receive_all(sqs, urls[2])
    }
    assert sources == {one.outcome.message.source_id for one in letters}


def test_letters_that_sqs_does_not_take_are_reported(sqs, urls, queue) -> None:
    sqs.delete_queue(QueueUrl=urls[2])
    lost = [letter(), letter(error=MalformedMessageError("$: no"))]

    assert arrived(queue, lost) == [False, False]


def test_nothing_is_sent_without_time(sqs, urls, queue) -> None:
    results = list(queue.set_aside([letter()], deadline=deadline(1.0)))

    assert [arrived for _, arrived in results] == [False]
    assert receive_all(sqs, urls[2]) == []


def received(sqs, url) -> list[ReceivedMessage]:
    return [
        ReceivedMessage(one["MessageId"], one["Body"], one["ReceiptHandle"], 1, one["MessageId"])
        for one in receive_all(sqs, url)
    ]


def hidden(sqs, url) -> int:
    name = "ApproximateNumberOfMessagesNotVisible"
    answer = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=[name])
    return int(answer["Attributes"][name])


def test_delayed_messages_are_taken_by_sqs_ten_at_a_time(sqs, urls, queue) -> None:
    for n in range(12):
        sqs.send_message(QueueUrl=urls[0], MessageBody=str(n))
    answers = []
    sqs.meta.events.register(
        "after-call.sqs.ChangeMessageVisibilityBatch", lambda parsed, **_: answers.append(parsed)
    )

    queue.delay(received(sqs, urls[0]), **PLENTY)

    assert sorted(len(answer["Successful"]) for answer in answers) == [2, 10]
    assert hidden(sqs, urls[0]) == 12


def test_errors_of_sqs_while_delaying_are_ignored(sqs, urls, queue) -> None:
    queue.delay([ReceivedMessage("m", "b", "no such handle", 1, "m")], **PLENTY)
    sqs.delete_queue(QueueUrl=urls[0])

    queue.delay([ReceivedMessage("m", "b", "no such handle", 1, "m")], **PLENTY)
    queue.delay([ReceivedMessage("m", "b", "no such handle", 1, "m")], deadline=deadline(0.0))

"""Sending, on the emulator's SQS."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from handler.sender import Sender
from tests.builders import deadline

PLENTY = {"deadline": deadline()}


@pytest.fixture
def url(sqs):
    return sqs.create_queue(QueueName=f"q-{uuid.uuid4()}")["QueueUrl"]


def test_messages_arrive_each_in_the_group_of_its_account(sqs, url) -> None:
    with ThreadPoolExecutor(2) as executor:
        sender = Sender(
            sqs, executor, queue_url=url, draw=lambda low, _: low, sleep=lambda _: None
        )
        sender.send(["x" * 200_000, "y" * 200_000], account_id=1001, **PLENTY)
        sender.send(["z"], account_id=None, **PLENTY)

    received = []
    while some := sqs.receive_message(
        QueueUrl=url, MaxNumberOfMessages=10, MessageSystemAttributeNames=["MessageGroupId"]
    ).get("Messages"):
        received += some
    groups = {(one["Body"][0], one["Attributes"]["MessageGroupId"]) for one in received}
    assert groups == {("x", "1001"), ("y", "1001"), ("z", "none")}

"""How many calls a batch takes: what makes it fast and cheap, counted, and not timed."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import boto3
import pytest
import urllib3

from handler.customerio.client import TrackApi
from handler.table.table import open_table
from local.fake_customerio.process import FakeCustomerio
from tests.builders import NOW, WORKSPACE, audience, body, deadline, message, profile
from tests.stand_ins import forwarder as stand_ins
from tests.stand_ins.ports import RecordingTelemetry

PEOPLE = 1000


@pytest.fixture
def fake():
    with FakeCustomerio.start({WORKSPACE.site_id: WORKSPACE.api_key}) as running:
        yield running


@pytest.fixture
def calls():
    return Counter()


@pytest.fixture
def forwarder(aws, fake, calls, table):
    with (
        closing(boto3.client("dynamodb", **aws.client_options)) as dynamodb,
        urllib3.PoolManager(maxsize=4) as pool,
        ThreadPoolExecutor(4) as threads,
    ):

        def count(request, **_):
            name = request.headers["X-Amz-Target"].decode().rpartition(".")[2]
            to_verify = b"ProjectionExpression" in request.body
            calls[f"{name} to verify" if to_verify else name] += 1

        dynamodb.meta.events.register("before-send.dynamodb", count)
        telemetry = RecordingTelemetry()
        opened = open_table(
            dynamodb,
            table,
            threads,
            backoff=lambda _: 0.0,
            now=lambda: NOW,
            sleep=lambda _: None,
        )
        yield stand_ins.forwarder(
            people=opened.people,
            audiences=opened.audiences,
            customerio=TrackApi(
                pool,
                threads,
                telemetry,
                draw=lambda low, _: low,
                sleep=lambda _: None,
                now=lambda: NOW,
                requests_per_second=1000,
                url=fake.url,
            ),
            telemetry=telemetry,
        )


def batch():
    """Everybody, in a message each, in a few audiences each."""
    return [
        message(
            body(
                profile(
                    *(audience(11_000 + number) for number in range(person % 5 + 1)),
                    mpid=person + 1,
                    customer_id=f"customer-{person}",
                    email=f"person-{person}@example.com",
                ),
            ),
            message_id=f"m-{person}",
        )
        for person in range(PEOPLE)
    ]


def test_a_thousand_people_take_sixty_calls_and_one_request(forwarder, fake, calls) -> None:
    failed = forwarder.process(batch(), deadline=deadline())

    assert failed == []
    assert calls == {
        "BatchGetItem": 10,
        "BatchExecuteStatement": 40,
        "BatchGetItem to verify": 10,
    }
    assert len(fake.requests()) == 1
    assert len(fake.people()) == PEOPLE


def test_nothing_is_written_when_nothing_changed(forwarder, fake, calls) -> None:
    forwarder.process(batch(), deadline=deadline())
    calls.clear()

    failed = forwarder.process(batch(), deadline=deadline())

    assert failed == []
    assert calls == {"BatchGetItem": 10, "BatchGetItem to verify": 10}


def test_a_megabyte_of_people_takes_three_requests(forwarder, fake) -> None:
    # 120 audiences make an entity of about 1,080 bytes, and a request holds 500,000.
    many = [audience(11_000 + number) for number in range(120)]
    people = [
        message(body(profile(*many, mpid=person + 1, customer_id=f"customer-{person}")))
        for person in range(PEOPLE)
    ]

    failed = forwarder.process(people, deadline=deadline())

    assert failed == []
    assert len(fake.requests()) == 3

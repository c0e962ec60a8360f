"""How many calls a batch takes: what makes it fast and cheap, counted, and not timed."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from threading import Lock
from typing import Any

import boto3
import msgspec
import pytest
import urllib3

from handler.customerio.client import TrackApi
from handler.domain.options import DeliveryOptions
from handler.domain.walk import Walk, WalkStep
from handler.jobs.walk import Walker
from handler.table.audiences import TTL_S
from handler.table.table import open_table
from tests.builders import (
    NOW,
    NOW_MS,
    WORKSPACE,
    audience,
    body,
    deadline,
    erasure,
    message,
    profile,
)
from tests.stand_ins import forwarder as stand_ins
from tests.stand_ins.ports import RecordingTelemetry

PEOPLE = 199
"""One more, and the catalogue would take a third call of a hundred keys."""


@pytest.fixture
def calls():
    return Counter()


class Clock:
    """A clock that is set by hand."""

    now = NOW


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def opened(aws, calls, table, clock):
    """The table, with its calls counted."""
    with (
        closing(boto3.client("dynamodb", **aws.client_options)) as dynamodb,
        ThreadPoolExecutor(4) as threads,
    ):
        counting = Lock()

        def count(request, **_):
            name = request.headers["X-Amz-Target"].decode().rpartition(".")[2]
            to_verify = b"ProjectionExpression" in request.body
            with counting:  # calls come from several threads
                calls[f"{name} to verify" if to_verify else name] += 1

        dynamodb.meta.events.register("before-send.dynamodb", count)
        yield open_table(
            dynamodb,
            table,
            threads,
            backoff=lambda _: 0.0,
            now=lambda: clock.now,
            sleep=lambda _: None,
        )


@pytest.fixture(params=[False, True], ids=["one list", "one attribute per audience"])
def one_attribute(request) -> bool:
    return bool(request.param)


@pytest.fixture
def forwarder(opened, fake, one_attribute):
    telemetry = RecordingTelemetry()
    with urllib3.PoolManager(maxsize=4) as pool, ThreadPoolExecutor(4) as threads:
        yield stand_ins.forwarder(
            people=opened.people,
            audiences=opened.audiences,
            erasures=opened.erasures,
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
            options=DeliveryOptions(one_attribute_per_audience=one_attribute),
        )


def batch(*, people=PEOPLE, named="Audience", at_ms=NOW_MS):
    """Everybody, in a message each, in a few audiences each."""
    return [
        message(
            body(
                profile(
                    *(
                        audience(11_000 + number, audience_name=f"{named} {number}")
                        for number in range(person % 5 + 1)
                    ),
                    mpid=person + 1,
                    customer_id=f"customer-{person}",
                    email=f"person-{person}@example.com",
                ),
                at_ms=at_ms,
            ),
            message_id=f"m-{person}",
        )
        for person in range(people)
    ]


READ, WRITTEN, VERIFIED = 2, 8, 2
"""Calls for everybody, without those for catalogues."""

ERASURES = 2
"""Reads of the erasures of new people."""


def test_in_the_steady_state_audiences_cost_no_call(forwarder, fake, calls) -> None:
    forwarder.process(batch(at_ms=NOW_MS - 1000), deadline=deadline())
    calls.clear()

    failed = forwarder.process(batch(), deadline=deadline())

    assert failed == []
    assert calls == {
        "BatchGetItem": READ,
        "BatchExecuteStatement": WRITTEN,
        "BatchGetItem to verify": VERIFIED,
    }
    assert len(fake.people()) == PEOPLE


def test_a_first_delivery_reads_the_catalogue_along_and_writes_it_once(forwarder, calls) -> None:
    failed = forwarder.process(batch(), deadline=deadline())

    assert failed == []
    assert calls == {
        "BatchGetItem": READ + ERASURES,
        "BatchExecuteStatement": WRITTEN + 1,
        "BatchGetItem to verify": VERIFIED,
    }


def test_new_names_in_a_batch_are_one_write(forwarder, calls) -> None:
    forwarder.process(batch(at_ms=NOW_MS - 1000), deadline=deadline())
    calls.clear()

    forwarder.process(batch(named="Renamed"), deadline=deadline())

    assert calls["BatchExecuteStatement"] == WRITTEN + 1


def test_a_catalogue_that_was_read_over_a_minute_ago_is_read_along(
    forwarder, calls, clock
) -> None:
    forwarder.process(batch(at_ms=NOW_MS - 1000), deadline=deadline())
    calls.clear()
    clock.now += TTL_S + 1

    forwarder.process(batch(), deadline=deadline())

    assert calls["BatchGetItem"] == READ


def test_nothing_is_written_when_nothing_changed(forwarder, calls) -> None:
    forwarder.process(batch(), deadline=deadline())
    calls.clear()

    failed = forwarder.process(batch(), deadline=deadline())

    assert failed == []
    assert calls == {"BatchGetItem": READ, "BatchGetItem to verify": VERIFIED}


def test_an_erasure_takes_nine_calls_and_five_when_it_is_done_again(forwarder, calls) -> None:
    forwarder.process(batch()[:1], deadline=deadline())
    request = message(erasure(customer_id="customer-0", email="person-0@example.com"))

    for number in (9, 5):
        calls.clear()
        forwarder.process([request], deadline=deadline())
        assert calls.total() == number


@pytest.mark.parametrize("one_attribute", [False], indirect=True)
def test_a_batch_of_people_takes_one_request(forwarder, fake) -> None:
    forwarder.process(batch(people=999), deadline=deadline())

    assert len(fake.people()) == 999
    assert len(fake.requests()) == 1


@pytest.mark.parametrize("one_attribute", [False], indirect=True)
def test_a_megabyte_of_people_takes_three_requests(forwarder, fake) -> None:
    # 120 audiences make an entity of about 1,080 bytes, and a request holds 500,000.
    many = [audience(11_000 + number) for number in range(120)]
    people = [
        message(body(profile(*many, mpid=person + 1, customer_id=f"customer-{person}")))
        for person in range(999)
    ]

    failed = forwarder.process(people, deadline=deadline())

    assert failed == []
    assert len(fake.requests()) == 3


# --- walks over the table ---

SCANNED = 1
"""Calls to read everybody: a page has up to 1 MB."""
REMOVAL = Walk(
    kind="removal", site_id=WORKSPACE.site_id, audience_id=11_000, removed_at_ms=NOW_MS + 1000
)


@pytest.fixture
def walker(forwarder):
    telemetry: Any = RecordingTelemetry()
    return Walker(forwarder.outside, telemetry, people_per_second=1000)


def test_a_walk_that_changes_everybody_scans_and_delivers_them(forwarder, walker, calls) -> None:
    forwarder.process(batch(), deadline=deadline())
    calls.clear()

    done = walker.take(WalkStep(REMOVAL), deadline=deadline(900))

    assert (done.done, done.delivered) == (True, PEOPLE)
    assert calls == {
        "Scan": SCANNED,
        "BatchGetItem": READ,
        "BatchExecuteStatement": WRITTEN,
        "BatchGetItem to verify": VERIFIED,
    }


def test_a_walk_that_concerns_nobody_only_scans(forwarder, walker, calls) -> None:
    forwarder.process(batch(), deadline=deadline())
    calls.clear()
    walk = msgspec.structs.replace(REMOVAL, audience_id=1)

    done = walker.take(WalkStep(walk), deadline=deadline(900))

    assert (done.done, done.read, done.delivered) == (True, PEOPLE, 0)
    assert calls == {"Scan": SCANNED}

"""What is acknowledged is on the queue."""

from __future__ import annotations

import json

import pytest

from handler.errors import MalformedMessageError, UnavailableError, UnsupportedMessageError
from tests.builders import profile
from tests.firehose_shapes import SHAPES, misfits
from tests.ingress_house import IngressHouse
from tests.unit.test_firehose import REGISTRATION, SUBSCRIPTION, change


@pytest.fixture
def house() -> IngressHouse:
    return IngressHouse()


def test_a_change_is_on_the_queue_before_it_is_acknowledged(house) -> None:
    told = house.receive(change(profile()))

    assert [json.loads(body) for body in house.sender.bodies] == [change(profile())]
    assert misfits(told, SHAPES["audience_membership_change_response"]) == []
    assert told["suspend_subscription"] is False


def test_what_is_not_on_the_queue_is_not_acknowledged(house) -> None:
    house.sender.error = UnavailableError("the queue did not take 1 of 3 messages")

    with pytest.raises(UnavailableError):
        house.receive(change(profile()))


@pytest.mark.parametrize("request_", [REGISTRATION, change(), change(user_profiles=None)])
def test_what_brings_nothing_is_answered_without_a_message(house, request_) -> None:
    told = house.receive(request_)

    assert misfits(told, SHAPES[told["type"]]) == []
    assert house.sender.bodies == []


def test_a_subscription_goes_on_the_queue(house) -> None:
    told = house.receive(SUBSCRIPTION)

    assert misfits(told, SHAPES["audience_subscription_response"]) == []
    assert [json.loads(body)["audience_id"] for body in house.sender.bodies] == [7]


def test_each_answer_has_an_id_of_its_own(house) -> None:
    assert house.receive(change())["id"] != house.receive(change())["id"]


@pytest.mark.parametrize(
    ("request_", "error", "named"),
    [
        ({"type": "event_processing_request"}, UnsupportedMessageError, "event_processing"),
        ("no object", MalformedMessageError, "expected object"),
        (None, MalformedMessageError, "expected object"),
    ],
)
def test_what_is_not_for_us_is_an_error_that_says_what_it_is(
    house, request_, error, named
) -> None:
    with pytest.raises(error, match=named):
        house.receive(request_)


def test_audiences_of_a_suspended_account_are_suspended_and_what_came_is_kept(house) -> None:
    house.suspensions.accounts = {1001}

    assert house.receive(change(profile()))["suspend_subscription"] is True
    assert len(house.sender.bodies) == 1
    assert house.receive(change(account={"account_id": 1002}))["suspend_subscription"] is False
    assert house.receive(change(account=None))["suspend_subscription"] is False


@pytest.mark.xfail(strict=True, reason="these are errors that mParticle repeats in vain")
@pytest.mark.parametrize("request_", ["text", None, [], {"type": "event_processing_request"}])
def test_what_the_forwarder_sets_aside_is_on_the_queue_and_acknowledged(house, request_) -> None:
    house.receive(request_)

    assert [json.loads(body) for body in house.sender.bodies] == [request_]

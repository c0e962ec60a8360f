"""What is acknowledged is on the queue."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.domain.dead_letter import whole_body
from handler.domain.firehose import MAX_MESSAGE_BYTES
from handler.errors import MalformedMessageError, UnavailableError
from handler.sender import Sender
from tests.builders import audience, deadline, profile
from tests.firehose import ERASURE, REGISTRATION, SHAPES, SUBSCRIPTION, change, misfits
from tests.stand_ins.aws import ScriptedSqs
from tests.stand_ins.ingress import IngressHouse


@pytest.fixture
def house() -> IngressHouse:
    return IngressHouse()


def test_a_change_is_on_the_queue_before_it_is_acknowledged(house) -> None:
    told = house.receive(change(profile()))

    assert [json.loads(body)["user_profiles"] for body in house.sender.bodies] == [[profile()]]
    assert misfits(told, SHAPES["audience_membership_change_response"]) == []
    assert told["suspend_subscription"] is False


def test_an_erasure_is_on_the_queue_before_it_is_acknowledged(house) -> None:
    told = house.receive(ERASURE)

    (queued,) = map(json.loads, house.sender.bodies)
    assert queued["subject_identities"] == ERASURE["subject_identities"]
    assert misfits(told, SHAPES["dsr_processing_response"]) == []


def test_an_erasure_that_is_not_on_the_queue_is_not_acknowledged(house) -> None:
    house.sender.error = UnavailableError("the queue did not take 1 of 1 messages")

    with pytest.raises(UnavailableError):
        house.receive(ERASURE)


def test_shared_user_attributes_go_on_the_queue_as_they_came(house) -> None:
    attributes = [
        {"key": "ltv", "value": "7", "action": "upsert"},
        {"key": "Plans", "list_value": ["gold", "é"], "action": "upsert"},
        {"key": "Churned", "action": "delete"},
        {},
    ]
    told = profile(audience(11, "attribute_update", user_attributes=attributes))

    house.receive(change(told))

    assert [json.loads(body)["user_profiles"] for body in house.sender.bodies] == [[told]]


def test_what_is_not_on_the_queue_is_not_acknowledged(house) -> None:
    house.sender.error = UnavailableError("the queue did not take 1 of 3 messages")

    with pytest.raises(UnavailableError):
        house.receive(change(profile()))


@pytest.mark.parametrize("request_", [REGISTRATION, change(), change(user_profiles=None)])
def test_a_request_without_changes_is_answered_and_nothing_is_enqueued(house, request_) -> None:
    told = house.receive(request_)

    assert misfits(told, SHAPES[told["type"]]) == []
    assert house.sender.bodies == []


def test_a_subscription_goes_on_the_queue(house) -> None:
    told = house.receive(SUBSCRIPTION)

    assert misfits(told, SHAPES["audience_subscription_response"]) == []
    assert [json.loads(body)["id"] for body in house.sender.bodies] == ["s"]


def test_each_answer_has_an_id_of_its_own(house) -> None:
    assert house.receive(change())["id"] != house.receive(change())["id"]


def test_audiences_of_a_suspended_account_are_suspended_and_what_came_is_kept(house) -> None:
    house.suspensions.suspended = [1001]

    assert house.receive(change(profile()))["suspend_subscription"] is True
    assert len(house.sender.bodies) == 1
    assert house.receive(change(account={"account_id": 1002}))["suspend_subscription"] is False
    assert house.receive(change(account=None))["suspend_subscription"] is False


@pytest.mark.parametrize("request_", ["text", None, [], {"type": "event_processing_request"}])
def test_what_the_forwarder_sets_aside_is_on_the_queue_and_acknowledged(house, request_) -> None:
    answer = house.receive(request_)

    assert house.sender.bodies == [whole_body(json.dumps(request_))]
    assert "suspend_subscription" not in answer
    assert json.loads(house.log.getvalue())["type"] == "other"


DEEP = "[" * 200_000


def test_a_request_that_cannot_be_written_again_is_an_error(house) -> None:
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]

    with pytest.raises(MalformedMessageError, match="nested too deeply"):
        house.receive(deep)

    assert house.sender.bodies == []


TOO_LARGE = "x" * MAX_MESSAGE_BYTES


def test_a_profile_that_sqs_cannot_hold_is_an_error_and_the_others_are_on_the_queue(house) -> None:
    with pytest.raises(MalformedMessageError, match=r"user_profiles\[0\]: over the 1048576 bytes"):
        house.receive(change(profile(note=TOO_LARGE), profile(customer_id="43")))

    (body,) = house.sender.bodies
    assert json.loads(body)["user_profiles"] == [profile(customer_id="43")]


@pytest.mark.parametrize("body", ["{", "not JSON", DEEP, "'quoted'"])
def test_a_body_that_is_no_json_is_on_the_queue_as_it_came(house, body) -> None:
    house.receive_body(body.encode())

    assert house.sender.bodies == [body]


@given(st.binary() | st.text().map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_body_is_on_the_queue_or_an_error(body) -> None:
    house = IngressHouse()

    try:
        house.receive_body(body)
    except MalformedMessageError:
        assert house.sender.bodies == []
    else:
        (sent,) = house.sender.bodies
        assert all(
            character in "\t\n\r" or "\x20" <= character <= "\U0010ffff" for character in sent
        )
        assert not re.search("[\ud800-\udfff\ufffe\uffff]", sent)


@pytest.mark.parametrize(
    ("account", "group"),
    [({"account_id": 1001}, "1001"), ({"account_id": "-7"}, "-7"), ({}, "none"), (None, "none")],
)
def test_messages_of_an_account_are_a_group_of_the_queue(house, account, group) -> None:
    sqs: Any = ScriptedSqs()
    executor: Any = None
    sender = Sender(sqs, executor, queue_url="q", draw=lambda low, _: low, sleep=lambda _: None)
    profiles = [profile(note="x" * 40_000)] * 3

    msgspec.structs.replace(house.receiver, sender=sender).receive(
        change(*profiles, account=account), deadline=deadline(30.0)
    )

    assert [
        entry["MessageGroupId"] for request in sqs.requests for entry in request["Entries"]
    ] == [group] * 3

"""What the stack and a workspace's entry in the secret let a delivery do."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from handler.domain.attribute_mapping import NO_ATTRIBUTES, mapping_of
from handler.domain.options import DeliveryOptions
from handler.errors import PersonRejectedError
from tests.builders import NOW_MS, WORKSPACE, audience, body, identity, profile
from tests.stand_ins.forwarder import House

LTV = mapping_of({"ltv": "lifetime_value"})
UPDATE_ONLY = DeliveryOptions(create_people=False)


def attribute(key, value=None, action="upsert", **fields):
    return {"key": key, "value": value, "action": action, **fields}


def shared(*attributes, **who):
    return profile(audience(11, user_attributes=[*attributes, {}]), **who)


# --- which options are in force ---


@pytest.mark.parametrize(
    ("option", "of_stack", "of_workspace"),
    [
        ("create_people", True, False),
        ("create_people", False, True),
        ("membership_events", True, False),
        ("membership_events", False, True),
        ("attribute_mapping", LTV, NO_ATTRIBUTES),
        ("attribute_mapping", NO_ATTRIBUTES, LTV),
        ("on_erasure", "delete", "none"),
        ("on_erasure", "none", "suppress"),
    ],
)
def test_what_a_workspace_says_has_precedence(option, of_stack, of_workspace) -> None:
    stack = DeliveryOptions(clear_on_exit=True, **{option: of_stack})

    with_own = stack.of(replace(WORKSPACE, **{option: of_workspace}))

    assert with_own == DeliveryOptions(clear_on_exit=True, **{option: of_workspace})
    assert stack.of(WORKSPACE) == stack


def test_two_accounts_of_one_stack_have_options_of_their_own() -> None:
    house = House()
    other = replace(WORKSPACE, site_id="site-b", create_people=False, attribute_mapping=LTV)
    house.credentials.accounts = {1: WORKSPACE, 2: other}

    house.process(
        *(
            body(shared(attribute("ltv", "7"), mpid=n, customer_id=str(n)), account_id=n)
            for n in (1, 2)
        )
    )

    first, second = sorted(house.customerio.posted, key=lambda each: each.identifier.value)
    assert (first.update_only, second.update_only) == (False, True)
    assert "lifetime_value" not in first.attributes
    assert second.attributes["lifetime_value"] == "7"


# --- people who are not created ---


def test_nobody_is_created_and_whoever_is_there_later_gets_all_that_is_known() -> None:
    house = House(delivery_options=UPDATE_ONLY)

    assert house.process(body(profile(audience(11)), at_ms=NOW_MS - 1)) == []
    assert house.customerio.people == {}
    house.customerio.people["42"] = {}
    house.process(body(profile(audience(12))))

    assert house.customerio.people == {"42": {"SegmentMembership": "'11','12'"}}


def test_nobody_is_created_under_a_new_identifier_either() -> None:
    house = House(delivery_options=UPDATE_ONLY)
    before = {"customer_id": None, "email": "ann@example.com"}

    house.process(body(profile(audience(11), **before), at_ms=NOW_MS - 1))
    house.process(body(profile(audience(11), email="new@example.com")))

    posted = [(each.identifier.text, each.update_only) for each in house.customerio.posted]
    # The introduction, the person, and the clearing of the former email among them.
    assert [text for text, _ in posted].count("id:42") == 2
    assert all(update_only for _, update_only in posted)


@pytest.mark.parametrize("create_people", [True, False])
def test_no_event_is_sent_that_could_create_its_person(create_people) -> None:
    options = DeliveryOptions(create_people=create_people, membership_events=True)
    house = House(delivery_options=options)

    house.process(body(profile(audience(11))))

    (posted,) = house.customerio.posted
    assert bool(posted.events) is create_people


# --- shared user attributes ---


def test_a_mapped_attribute_is_set_then_overtaken_then_cleared() -> None:
    house = House(delivery_options=DeliveryOptions(attribute_mapping=LTV))

    def lifetime_value(*attributes, at_ms):
        house.process(body(shared(*attributes), at_ms=at_ms))
        return house.customerio.people["42"]["lifetime_value"]

    assert lifetime_value(attribute("ltv", "7"), at_ms=NOW_MS - 30) == "7"
    assert lifetime_value(attribute("ltv", "9"), at_ms=NOW_MS - 20) == "9"
    assert lifetime_value(attribute("ltv", "8"), at_ms=NOW_MS - 25) == "9"
    assert lifetime_value(attribute("ltv", list_value=["a", "b"]), at_ms=NOW_MS - 10) == ["a", "b"]
    assert lifetime_value(attribute("ltv", action="delete"), at_ms=NOW_MS - 5) is None
    assert lifetime_value(attribute("ltv", "9"), at_ms=NOW_MS - 20) is None


def test_shared_attributes_stay_with_a_profile_that_is_set_aside() -> None:
    house = House(delivery_options=DeliveryOptions(attribute_mapping=LTV))
    told = shared(attribute("ltv", "7"), attribute("Plan", list_value=["gold"]))
    house.customerio.answers["42"] = PersonRejectedError("attributes: invalid")

    house.process(body(told))
    (letter,) = house.queue.letters
    house.customerio.answers.clear()
    house.process(letter.body)

    assert json.loads(letter.body)["user_profiles"] == [told]
    assert house.customerio.people["42"]["lifetime_value"] == "7"


def test_the_customer_id_is_the_identity_that_the_stack_says() -> None:
    house = House(delivery_options=DeliveryOptions(customer_id_type="other2"))
    sent = profile() | {"user_identities": [identity("customer", "7"), identity("other2", "42")]}

    assert house.process(body(sent)) == []

    assert house.customerio.posted[-1].identifier.value == "42"

"""What is shown of people without `--reveal`."""

import json

import pytest

from ops.masking import masked, masked_entity, summary
from tests.builders import NOW, NOW_MS, audience, body, identity, profile, stream_record

PERSONAL = ("-77", "customer-7", "ann@example.com", "Ann", "secret")


def test_a_summary_has_types_times_and_audiences_and_nobody_s_data() -> None:
    attributes = [{"key": "$FirstName", "value": "Ann", "action": "upsert"}]
    text = body(
        profile(
            audience(11, user_attributes=attributes),
            audience(12, "delete"),
            mpid=-77,
            customer_id="customer-7",
            email="ann@example.com",
            new_field="secret",
        ),
        account_settings="secret",
    )

    shown = summary(text, now=NOW, customer_id_type="customer")

    assert not any(value in json.dumps(shown) for value in PERSONAL)
    assert isinstance(shown, dict)
    assert (shown["timestamp_ms"], shown["account_id"]) == (NOW_MS, 1001)
    assert shown["type"] == "audience_membership_change_request"
    assert shown["profiles"] == [
        {
            "identified by": ["customer id", "email", "MPID"],
            "attributes": ["$FirstName"],
            "audiences": [
                {"audience_id": 11, "audience_name": "Audience 11", "action": "add"},
                {"audience_id": 12, "audience_name": "Audience 12", "action": "delete"},
            ],
        }
    ]


def test_a_subscription_is_summed_up_by_its_audience() -> None:
    said = {"audience_id": 11, "audience_name": "VIP", "action": "remove"}

    shown = summary(
        body(type="audience_subscription_request", **said), now=NOW, customer_id_type="customer"
    )

    assert isinstance(shown, dict)
    assert shown["audience"] == said
    assert shown["profiles"] == []


def test_a_profile_that_the_function_refuses_is_summed_up_by_the_reason() -> None:
    hashed = identity("email", "ann@example.com", encoding="sha256")

    shown = summary(
        body(profile(customer_id="42"), {"user_identities": [hashed]}),
        now=NOW,
        customer_id_type="customer",
    )

    assert isinstance(shown, dict)
    assert shown["profiles"][0]["identified by"] == ["customer id", "MPID"]
    assert shown["profiles"][1].startswith("rejected (NoIdentity: $.user_identities")
    assert "--reveal" in shown["profiles"][1]


@pytest.mark.parametrize(
    "text",
    [
        "ann@example.com",
        '["ann@example.com"]',
        '{"id": "ann@example.com", "type": "ann@example.com", "timestamp": "ann@example.com"}',
        '{"id": "a',
        "[" * 9000,
    ],
)
def test_a_text_that_is_not_a_message_is_not_shown(text) -> None:
    shown = summary(text, now=NOW, customer_id_type="customer")

    assert isinstance(shown, str)
    assert shown.startswith(f"{len(text)} characters, rejected")
    assert "ann@example.com" not in shown


def test_an_entity_shows_audiences_and_masks_all_other_values() -> None:
    lists = {"SegmentMembership": "'11','-12'", "SegmentMembership 2": None, "first_name": None}
    entity = {
        "type": "person",
        "action": "identify",
        "timestamp": 7,
        "identifiers": {"id": "customer-7"},
        "attributes": {**lists, "email": "ann@example.com"},
    }

    assert masked_entity(entity) == {
        **entity,
        "identifiers": {"id": "•" * 10},
        "attributes": {**lists, "email": masked("ann@example.com")},
    }
    assert masked("ann@example.com") == "•" * 12


def test_the_customer_id_is_the_identity_that_the_stack_says() -> None:
    sent = profile(customer_id=None)
    sent["user_identities"] = [identity("other2", "42")]

    shown = summary(body(sent), now=NOW, customer_id_type="other2")

    assert isinstance(shown, dict)
    assert "customer id" in shown["profiles"][0]["identified by"]


def test_a_record_of_the_stream_is_shown_as_a_profile() -> None:
    sent = json.loads(stream_record())

    shown = summary(
        body(sent, type="audience_stream_record"), now=NOW, customer_id_type="customer"
    )

    assert isinstance(shown, dict)
    assert shown["profiles"][0]["identified by"] == ["customer id"]
    assert shown["profiles"][0]["audiences"][0]["audience_id"] == 11

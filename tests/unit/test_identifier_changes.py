"""People whose identifier changes: nobody stays in an audience under the one they had before."""

from __future__ import annotations

import pytest

from tests.builders import NOW_MS, audience, body, profile
from tests.unit.test_forwarder import House


@pytest.fixture
def house() -> House:
    return House(one_attribute=True)


@pytest.mark.parametrize(
    ("before", "after", "former"),
    [
        (
            {"customer_id": None, "email": "old@example.com"},
            {"customer_id": None, "email": "new@example.com"},
            "old@example.com",
        ),
        (
            {"customer_id": None, "email": "old@example.com"},
            {"customer_id": "42"},
            "old@example.com",
        ),
        ({"customer_id": "41"}, {"customer_id": "42"}, "41"),
    ],
)
def test_whoever_changes_their_identifier_leaves_all_audiences_under_the_old_one(
    house, before, after, former
) -> None:
    house.process(body(profile(audience(11), **before), at_ms=NOW_MS - 10))

    house.process(body(profile(audience(11, "delete"), **after)))

    assert house.customerio.people[former]["SegmentMembership"] == ""
    assert house.customerio.people[former].get("In Audience 11") is not True


def test_an_email_that_was_swapped_shows_the_audiences_of_who_has_it_now(house) -> None:
    for mpid, email, audience_id, at_ms in [
        (1, "ann@example.com", 11, NOW_MS - 40),
        (2, "bo@example.com", 12, NOW_MS - 30),
        (1, "bo@example.com", 13, NOW_MS - 20),
        (2, "ann@example.com", 14, NOW_MS - 10),
    ]:
        who = {"mpid": mpid, "customer_id": None, "email": email}
        house.process(body(profile(audience(audience_id), **who), at_ms=at_ms))
        house.now += 1

    house.process(body(profile(audience(15), mpid=1, customer_id="1", email="cy@example.com")))

    assert house.customerio.people["ann@example.com"]["SegmentMembership"] == "'12','14'"
    assert house.customerio.people["bo@example.com"]["SegmentMembership"] == ""

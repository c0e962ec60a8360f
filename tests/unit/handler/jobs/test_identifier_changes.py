"""People whose identifier changes: nobody stays in an audience under the one they had before."""

from __future__ import annotations

import pytest

from handler.domain.versions import FORMER_LIFE_S
from handler.domain.workspace import Workspace
from handler.errors import PersonRejectedError, UnavailableError
from handler.jobs.deliver import deliver
from handler.jobs.post import PersonUpdates
from tests.builders import NOW, NOW_MS, WORKSPACE, audience, body, deadline, profile
from tests.stand_ins.forwarder import House


def known_as(**who):
    return {"customer_id": None, **who}


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


def test_an_identifier_that_changes_with_an_attribute_update_is_cleared_of_all_attributes(
    house,
) -> None:
    before = {"customer_id": None, "email": "old@example.com"}
    after = {"customer_id": None, "email": "new@example.com"}
    house.process(body(profile(audience(11), **before), at_ms=NOW_MS - 10))

    house.process(body(profile(audience(11, "attribute_update"), **after)))

    assert house.customerio.people["old@example.com"]["In Audience 11"] is None


def test_a_successor_is_only_updated_as_it_may_be_of_an_account_that_creates_nobody(house) -> None:
    for mpid, email, before_ms in [(1, "ann@example.com", 30), (2, "ann@example.com", 20)]:
        who = {"mpid": mpid, "customer_id": None, "email": email}
        house.process(body(profile(audience(11), **who), at_ms=NOW_MS - before_ms))
        house.now += 1
    house.customerio.posted.clear()

    house.process(body(profile(audience(11), mpid=1, customer_id=None, email="new@example.com")))

    successor = [p for p in house.customerio.posted if p.identifier.value == "ann@example.com"]
    assert successor
    assert all(person.update_only for person in successor)


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


def kept(house):
    (state,) = house.people.items.values()
    return state


def test_a_former_identifier_is_cleared_and_kept_while_somebody_may_still_post_under_it(
    house,
) -> None:
    house.process(body(profile(**known_as(email="old@example.com")), at_ms=NOW_MS - 10))
    for later in (0, FORMER_LIFE_S - 1):
        house.now = NOW + later
        house.customerio.people["old@example.com"] = {"SegmentMembership": "'11'"}

        house.process(body(profile(**known_as(email="new@example.com"))))

        assert house.customerio.people["old@example.com"]["SegmentMembership"] == ""
        assert [former.text for former in kept(house).former] == ["email:old@example.com"]


def test_after_that_a_former_identifier_is_cleared_once_more_and_forgotten(house) -> None:
    house.process(body(profile(**known_as(email="old@example.com")), at_ms=NOW_MS - 10))
    house.process(body(profile(**known_as(email="new@example.com"))))
    house.customerio.people["old@example.com"] = {"SegmentMembership": "'11'"}
    house.now += FORMER_LIFE_S

    house.process(body(profile(**known_as(email="new@example.com"))))

    assert house.customerio.people["old@example.com"]["SegmentMembership"] == ""
    assert kept(house).former == {}
    assert kept(house).identifier.text == "email:new@example.com"


@pytest.mark.parametrize("now", [{"customer_id": "42"}, known_as(email="new@example.com")])
def test_who_is_created_by_a_slow_post_under_a_former_identifier_is_cleared_by_its_retry(
    house, now
) -> None:
    first = body(profile(audience(11), **known_as(email="old@example.com")), at_ms=NOW_MS - 10)
    house.customerio.answers["old@example.com"] = UnavailableError("timeout")
    house.process(first)
    house.customerio.answers.clear()
    house.process(body(profile(audience(11), **now)))
    house.customerio.people["old@example.com"] = {"SegmentMembership": "'11'"}

    assert house.process_retried(first) == []

    assert house.customerio.people["old@example.com"]["SegmentMembership"] == ""


def test_a_walk_clears_who_is_created_under_a_former_identifier_by_a_step_that_died(house) -> None:
    house.process(
        body(profile(audience(11), **known_as(email="old@example.com")), at_ms=NOW_MS - 10)
    )
    house.process(body(profile(audience(11), customer_id="42")))
    house.customerio.people["old@example.com"] = {
        "SegmentMembership": "'11'",
        "In Audience 11": True,
    }
    (key,) = house.people.items

    deliver(
        house.forwarder.outside,
        [PersonUpdates(key, WORKSPACE, all_audiences=True)],
        deadline=deadline(),
    )

    assert house.customerio.people["old@example.com"]["SegmentMembership"] == ""
    assert house.customerio.people["old@example.com"]["In Audience 11"] is None


def test_clearing_a_former_identifier_creates_nobody(house) -> None:
    house.customerio.refuses = lambda _: UnavailableError("503")
    house.process(body(profile(**known_as(email="old@example.com")), at_ms=NOW_MS - 10))
    house.customerio.refuses = lambda _: None

    house.process(body(profile(**known_as(email="new@example.com"))))

    assert set(house.customerio.people) == {"new@example.com"}
    (cleared,) = [one for one in house.customerio.posted if one.update_only]
    assert cleared.identifier.value == "old@example.com"


def test_until_a_former_identifier_is_cleared_it_is_kept_and_the_message_retried(house) -> None:
    house.process(body(profile(**known_as(email="old@example.com")), at_ms=NOW_MS - 10))
    house.customerio.answers["old@example.com"] = UnavailableError("503")
    change = body(profile(audience(12), **known_as(email="new@example.com")))

    house.process(change)

    assert house.queue.moved == ["m-0"]
    assert [former.text for former in kept(house).former] == ["email:old@example.com"]

    house.customerio.answers.clear()
    assert house.process_retried(change) == []
    assert house.customerio.people["old@example.com"]["SegmentMembership"] == ""


def test_a_refused_clearing_is_set_aside_with_its_reason(house) -> None:
    house.process(body(profile(**known_as(email="old@example.com")), at_ms=NOW_MS - 10))
    house.customerio.answers["old@example.com"] = PersonRejectedError("email: invalid")

    house.process(body(profile(**known_as(email="new@example.com"))))

    assert house.set_aside() == [("m-0", "RejectedByCustomerIo", 1)]
    assert [former.text for former in kept(house).former] == ["email:old@example.com"]


def test_from_email_to_id_the_first_post_carries_the_former_email(house) -> None:
    house.process(body(profile(**known_as(email="old@example.com")), at_ms=NOW_MS - 10))
    house.customerio.posted.clear()

    house.process(body(profile(audience(12), customer_id="42")))

    assert house.customerio.posted[0].identifier.text == "id:42"
    assert house.customerio.posted[0].attributes["email"] == "old@example.com"


def test_from_email_to_id_with_another_email_the_former_one_goes_first(house) -> None:
    house.process(body(profile(**known_as(email="old@example.com")), at_ms=NOW_MS - 10))
    house.customerio.posted.clear()

    house.process(body(profile(audience(12), customer_id="42", email="new@example.com")))

    first, second = house.customerio.posted[:2]
    assert first.identifier == second.identifier
    assert int(NOW) < first.timestamp < second.timestamp
    assert first.attributes == {"email": "old@example.com"}
    assert second.attributes["email"] == "new@example.com"


def test_the_former_email_does_not_go_first_if_somebody_else_has_it_now(house) -> None:
    """Or Customer.io gives the id to the person who shows their audiences."""
    old = known_as(email="old@example.com")
    house.process(body(profile(audience(11), mpid=1, **old), at_ms=NOW_MS - 30))
    house.process(body(profile(audience(12), mpid=2, **old), at_ms=NOW_MS - 20))
    house.customerio.posted.clear()

    house.process(body(profile(mpid=1, customer_id="42", email="new@example.com")))

    emails = [p.attributes.get("email") for p in house.customerio.posted if p.identifier.is_id]
    assert emails == ["new@example.com"]
    assert house.customerio.people["old@example.com"]["SegmentMembership"] == "'12'"


def test_the_former_email_goes_first_while_the_message_with_the_newest_is_retried(house) -> None:
    """Or Customer.io makes a second person, and keeps the email from it for ever."""
    old = {"email": "old@example.com"}
    house.process(body(profile(**known_as(**old)), at_ms=NOW_MS - 30))
    house.customerio.answers["42"] = UnavailableError("503")
    house.process(body(profile(customer_id="42", **old), at_ms=NOW_MS - 20))
    house.customerio.answers.clear()
    house.customerio.posted.clear()

    house.process(body(profile(audience(12), customer_id="42"), at_ms=NOW_MS - 10))

    assert house.customerio.posted[0].identifier.text == "id:42"
    assert house.customerio.posted[0].attributes["email"] == "old@example.com"


def test_a_rejected_post_that_joins_id_and_email_still_clears_the_former_email(house) -> None:
    house.process(body(profile(**known_as(email="old@example.com")), at_ms=NOW_MS - 10))
    house.customerio.answers["42"] = PersonRejectedError("suppressed")
    left = profile(audience(11, "delete"), customer_id="42", email="new@example.com")

    house.process(body(left))

    assert house.customerio.people["old@example.com"]["SegmentMembership"] == ""
    assert house.set_aside() == [("m-0", "RejectedByCustomerIo", 1)]


def test_a_successor_whose_own_message_is_too_old_is_set_aside_for_it(house) -> None:
    shared = known_as(email="family@example.com")
    house.process(body(profile(audience(12), mpid=2, **shared), at_ms=NOW_MS - 30))
    house.process(body(profile(audience(12), mpid=1, **shared), at_ms=NOW_MS - 20))
    long_ago = NOW_MS - 33 * 86_400_000

    house.process(
        body(profile(audience(11), mpid=2, **shared), at_ms=long_ago),
        body(profile(mpid=1, **known_as(email="own@example.com")), at_ms=NOW_MS - 10),
    )

    assert house.set_aside() == [("m-0", "TooOld", 1)]


def test_an_identifier_that_comes_back_is_not_cleared(house) -> None:
    for email, audience_id, at_ms in [
        ("ann@example.com", 11, NOW_MS - 30),
        ("bo@example.com", 12, NOW_MS - 20),
        ("ann@example.com", 13, NOW_MS - 10),
    ]:
        house.process(body(profile(audience(audience_id), **known_as(email=email)), at_ms=at_ms))
        house.now += 1

    assert house.customerio.people["ann@example.com"]["SegmentMembership"] == "'11','12','13'"
    assert house.customerio.people["bo@example.com"]["SegmentMembership"] == ""


def test_an_identifier_that_somebody_else_has_now_is_delivered_as_theirs(house) -> None:
    shared = {"email": "family@example.com"}
    house.process(body(profile(audience(12), mpid=2, **known_as(**shared)), at_ms=NOW_MS - 30))
    house.now += 1
    house.process(body(profile(audience(11), mpid=1, **known_as(**shared)), at_ms=NOW_MS - 20))
    house.now += 1
    assert house.customerio.people["family@example.com"]["SegmentMembership"] == "'11'"

    own = known_as(email="ann@example.com")
    house.process(body(profile(audience(13), mpid=1, **own), at_ms=NOW_MS - 10))

    assert house.customerio.people["family@example.com"]["SegmentMembership"] == "'12'"
    assert house.customerio.people["ann@example.com"]["SegmentMembership"] == "'11','13'"


def test_somebody_in_another_workspace_does_not_own_the_identifier(house) -> None:
    other = Workspace("site-b", "key-b")
    house.credentials.accounts = {1001: WORKSPACE, 1002: other}
    old = known_as(email="old@example.com")
    house.process(body(profile(mpid=2, **old), at_ms=NOW_MS - 30, account_id=1002))
    house.process(body(profile(mpid=1, **old), at_ms=NOW_MS - 20))

    new = known_as(email="new@example.com")
    house.process(body(profile(mpid=1, **new), at_ms=NOW_MS - 10))

    cleared = [one.identifier.value for one in house.customerio.posted if one.update_only]
    assert cleared == ["old@example.com"]


def test_nothing_is_cleared_while_it_is_unknown_who_has_the_identifier_now(house) -> None:
    house.process(body(profile(**known_as(email="old@example.com")), at_ms=NOW_MS - 10))
    house.people.failing["email:old@example.com"] = UnavailableError("DynamoDB: Throttling")

    house.process(body(profile(**known_as(email="new@example.com"))))

    assert house.queue.moved == ["m-0"]
    assert not any(one.update_only for one in house.customerio.posted)


def test_a_message_is_retried_if_the_new_owner_of_the_identifier_fails(house) -> None:
    house.process(body(profile(mpid=1, **known_as(email="a@example.com")), at_ms=NOW_MS - 30))
    house.process(body(profile(mpid=2, **known_as(email="a@example.com")), at_ms=NOW_MS - 20))
    house.customerio.answers["a@example.com"] = UnavailableError("503")

    house.process(body(profile(mpid=1, **known_as(email="b@example.com")), at_ms=NOW_MS - 10))

    assert house.queue.moved == ["m-0"]
    assert [one.text for state in house.people.items.values() for one in state.former] == [
        "email:a@example.com"
    ]


def test_a_person_erased_while_it_is_cleared_stays_erased(house) -> None:
    house.process(body(profile(**known_as(email="old@example.com")), at_ms=NOW_MS - 10))
    house.customerio.after_post = house.people.items.clear

    assert house.process(body(profile(**known_as(email="new@example.com")))) == []

    assert house.people.items == {}


def test_an_unchanged_identifier_costs_no_query(house) -> None:
    for at_ms in (NOW_MS - 10, NOW_MS):
        house.process(body(profile(), at_ms=at_ms))

    assert house.people.calls["known_as"] == 0


def test_a_successor_has_nothing_left_of_who_had_the_identifier_before(house) -> None:
    many = [audience(100_000_000_000_000_000 + n) for n in range(60)]
    old = known_as(email="old@example.com")
    house.process(body(profile(*many, mpid=1, **old), at_ms=NOW_MS - 30))
    house.process(body(profile(audience(12), mpid=2, **old), at_ms=NOW_MS - 20))
    assert house.customerio.people["old@example.com"]["SegmentMembership 2"]

    new = known_as(email="new@example.com")
    house.process(body(profile(many[0], mpid=1, **new), at_ms=NOW_MS - 10))

    left = house.customerio.people["old@example.com"]
    assert (left["SegmentMembership"], left["SegmentMembership 2"]) == ("'12'", None)
    assert left[f"In {many[0]['audience_name']}"] is False
    assert left["In Audience 12"] is True


def test_a_successor_that_is_rejected_is_not_emptied_and_the_rejection_explained(house) -> None:
    old = known_as(email="old@example.com")
    house.process(body(profile(audience(12), mpid=2, **old), at_ms=NOW_MS - 30))
    house.process(body(profile(audience(12), mpid=1, **old), at_ms=NOW_MS - 20))
    house.customerio.answers["old@example.com"] = PersonRejectedError("suppressed")

    house.process(body(profile(mpid=1, **known_as(email="new@example.com")), at_ms=NOW_MS - 10))

    assert house.customerio.people["old@example.com"]["SegmentMembership"] == "'12'"
    assert house.set_aside() == [("m-0", "RejectedByCustomerIo", 1)]


def test_a_person_rejected_under_a_new_identifier_still_leaves_under_the_old_one(house):
    house.process(body(profile(**known_as(email="old@example.com")), at_ms=NOW_MS - 10))
    house.customerio.answers["new@example.com"] = PersonRejectedError("email: invalid")

    house.process(body(profile(audience(11, "delete"), **known_as(email="new@example.com"))))

    assert house.customerio.people["old@example.com"]["SegmentMembership"] == ""
    assert house.set_aside() == [("m-0", "RejectedByCustomerIo", 1)]


def test_an_email_that_only_an_old_message_names_is_not_cleared_of_somebody_with_an_id(house):
    house.process(body(profile(mpid=1, customer_id="42"), at_ms=NOW_MS - 10))

    house.process(body(profile(mpid=1, **known_as(email="family@example.com")), at_ms=NOW_MS - 20))

    assert not any(one.update_only for one in house.customerio.posted)


def test_many_changed_identifiers_are_asked_for_together(house) -> None:
    def everybody(domain, at_ms):
        return [
            body(profile(mpid=n, **known_as(email=f"{n}@{domain}")), at_ms=at_ms)
            for n in range(1, 201)
        ]

    house.process(*everybody("old.example", NOW_MS - 10))

    house.process(*everybody("new.example", NOW_MS))

    assert house.people.calls["known_as"] == 2

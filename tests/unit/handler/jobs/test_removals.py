"""Removed audiences: who is delivered leaves them, if the stack is set to clear them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.domain.audience import AudienceUpdate
from handler.domain.options import DeliveryOptions
from handler.domain.update import person_key
from handler.errors import UnavailableError
from handler.jobs.deliver import deliver
from handler.jobs.post import PersonUpdates
from tests.builders import (
    NOW_MS,
    WORKSPACE,
    audience,
    body,
    deadline,
    message,
    profile,
    profile_of,
)
from tests.stand_ins.forwarder import House, forwarder
from tests.stand_ins.ports import MemoryAudiences, RecordingCustomerIo

KEY = person_key(WORKSPACE.site_id, profile_of(mpid=-7))


def new_house(**options) -> House:
    return House(delivery_options=DeliveryOptions(clear_removed_audiences=True, **options))


@pytest.fixture
def house() -> House:
    return new_house(one_attribute_per_audience=True, membership_events=True)


def changed(before_s: float, audience_id: int = 11, action: str = "add") -> str:
    return body(profile(audience(audience_id, action)), at_ms=NOW_MS - int(before_s * 1000))


def subscription(
    before_s: float, action: str = "remove", audience_id: int = 11, **fields: Any
) -> str:
    return body(
        at_ms=NOW_MS - int(before_s * 1000),
        type="audience_subscription_request",
        audience_id=audience_id,
        audience_name=f"Audience {audience_id}",
        action=action,
        **fields,
    )


def shown(house: House) -> dict[str, object]:
    return house.customerio.people["42"]


def deliver_again(house: House) -> None:
    """Deliver what is known of the person, as a walk over the table does."""
    deliver(house.forwarder.outside, [PersonUpdates(KEY, WORKSPACE)], deadline=deadline())


def test_with_the_next_delivery_a_person_leaves_the_audience_and_loses_its_attribute(house):
    house.process(changed(30), changed(30, 12))

    house.process(subscription(20), changed(10, 13))

    assert shown(house) == {
        "SegmentMembership": "'12','13'",
        "In Audience 11": None,
        "In Audience 12": True,
        "In Audience 13": True,
    }
    assert [event.name for event in house.customerio.events.values()].count("Audience Exited") == 1


def test_a_late_entry_from_before_the_removal_counts_as_left(house) -> None:
    house.process(subscription(20))

    house.process(changed(30))

    assert shown(house) == {"SegmentMembership": "", "In Audience 11": None}
    assert house.set_aside() == []


def test_an_audience_that_is_connected_again_has_whom_mparticle_sends_after_that(house) -> None:
    house.process(changed(30), subscription(20), subscription(15, "add"))

    house.process(changed(10))

    assert shown(house) == {"SegmentMembership": "'11'", "In Audience 11": True}


def test_another_audience_of_the_same_name_keeps_its_attribute(house) -> None:
    house.process(changed(30), changed(30, 12, "delete"))
    same = AudienceUpdate(12, NOW_MS, "Audience 11")
    house.audiences.learn(WORKSPACE.site_id, [same], deadline=deadline())

    house.process(subscription(20), changed(10, 11, "delete"))

    assert shown(house)["In Audience 11"] is False


def test_without_the_option_everybody_keeps_a_removed_audience() -> None:
    house = House()
    house.process(changed(30), subscription(20))

    house.process(changed(10, 12))

    assert shown(house) == {"SegmentMembership": "'11','12'"}


def test_a_removal_that_another_learned_between_post_and_verifying_read_is_seen() -> None:
    house = new_house()

    def learn_elsewhere() -> None:
        elsewhere = MemoryAudiences(house.audiences.kept)
        elsewhere.refresh([WORKSPACE.site_id])
        said = AudienceUpdate(11, NOW_MS - 20_000, "Audience 11", "remove")
        elsewhere.learn(WORKSPACE.site_id, [said], deadline=deadline())

    house.customerio.after_post = learn_elsewhere

    assert house.process(changed(30)) == []

    assert shown(house) == {"SegmentMembership": ""}


def test_an_exit_that_another_saved_during_the_post_and_could_not_post_is_an_event(house) -> None:
    audiences = MemoryAudiences(house.audiences.kept)
    down = RecordingCustomerIo()
    down.refuses = lambda _: UnavailableError("down")
    elsewhere = forwarder(
        people=house.people.seen_with(audiences),
        audiences=audiences,
        customerio=down,
        options=house.forwarder.outside.options,
    )

    def remove_elsewhere() -> None:
        house.customerio.after_post = lambda: None
        for text in (subscription(20), changed(10, 12)):
            elsewhere.process([message(text)], deadline=deadline())

    house.customerio.after_post = remove_elsewhere

    assert house.process(changed(30)) == []

    assert [event.name for event in house.customerio.events.values()] == [
        "Audience Entered",
        "Audience Exited",
    ]
    assert shown(house)["In Audience 11"] is None


def test_with_an_unreadable_catalogue_nobody_is_delivered_without_its_removals() -> None:
    house = new_house()
    house.audiences.failing = UnavailableError("DynamoDB: InternalServerError")

    house.process(changed(30))

    assert house.customerio.posted == []
    assert house.queue.moved == ["m-0"]


def test_an_exit_that_was_saved_and_not_posted_is_an_event_with_the_next_delivery(house) -> None:
    house.process(subscription(20))
    house.customerio.refuses = lambda _: UnavailableError("down")
    house.process(changed(30))
    house.customerio.refuses = lambda _: None

    house.process(changed(30))

    assert [event.name for event in house.customerio.events.values()] == ["Audience Exited"]
    assert shown(house) == {"SegmentMembership": "", "In Audience 11": None}


# --- the walk to everybody else ---


def test_a_removal_starts_a_walk_whenever_it_arrives_under_the_same_name(house) -> None:
    house.process(subscription(20))
    house.process(subscription(20))

    first, again = house.walks.started
    assert (first.kind, first.site_id, first.audience_id) == ("removal", "site-a", 11)
    assert (first.audience_name, first.removed_at_ms) == ("Audience 11", NOW_MS - 20_000)
    assert first.name == again.name


def test_a_walk_begins_after_the_removal_is_known(house) -> None:
    house.audiences.failing = UnavailableError("DynamoDB: InternalServerError")

    house.process(subscription(20))

    assert house.walks.started == []
    assert house.queue.moved == ["m-0"]


def test_a_walk_that_cannot_be_started_is_retried_with_its_message(house) -> None:
    house.walks.error = UnavailableError("a walk cannot be started: ThrottlingException")

    house.process(subscription(20))

    assert house.queue.moved == ["m-0"]


@pytest.mark.parametrize("action", ["add", "update"])
def test_another_message_about_an_audience_starts_none(house, action) -> None:
    house.process(subscription(20, action))

    assert house.walks.started == []


def test_an_account_setting_counts_for_the_walk_too(house) -> None:
    settings = {"Create One User Attribute per Audience": "false"}
    account = {"account_id": 1001, "account_settings": settings}

    house.process(subscription(20, account=account))

    (walk,) = house.walks.started
    assert walk.one_attribute_per_audience is False


steps = st.lists(
    st.builds(
        changed, st.integers(1, 9), st.sampled_from([11, 12]), st.sampled_from(["add", "delete"])
    )
    | st.builds(subscription, st.integers(1, 9), st.sampled_from(["remove", "add"])),
    max_size=7,
)


@given(st.data(), steps)
def test_the_order_of_arrival_of_changes_and_removals_does_not_matter(data, history) -> None:
    in_order, shuffled = new_house(), new_house()
    first = changed(10)  # so that there is somebody to deliver

    in_order.process(first, *history)
    shuffled.process(first)
    for text in data.draw(st.permutations(history)):
        shuffled.process(text)

    for house in (in_order, shuffled):
        deliver_again(house)
    assert shown(shuffled) == shown(in_order)

"""Audiences that are renamed: what Customer.io shows once the next message names them."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.domain.audience import AudienceUpdate
from handler.domain.options import DeliveryOptions
from handler.errors import UnavailableError
from tests.builders import NOW_MS, audience, body, deadline, message, profile
from tests.stand_ins.forwarder import House, forwarder
from tests.stand_ins.ports import (
    FixedCredentials,
    MemoryAudiences,
    MemoryPeople,
    MemoryQueue,
    RecordingCustomerIo,
)

SITE = "site-a"
BROKEN = UnavailableError("DynamoDB: InternalServerError")


@pytest.fixture
def house() -> House:
    return House(one_attribute=True)


def named(
    name: str, *, before_s: int, audience_id: int = 11, action: str = "add", **who: Any
) -> str:
    """Return a message that names an audience, so long before now."""
    said = audience(audience_id, action, audience_name=name)
    return body(profile(said, **who), at_ms=NOW_MS - before_s * 1000)


def subscription(name: Any, action: Any = "update", *, before_s: int = 0, **fields: Any) -> str:
    said = {
        "type": "audience_subscription_request",
        "audience_id": 11,
        "audience_name": name,
        "action": action,
        **fields,
    }
    return body(at_ms=NOW_MS - before_s * 1000, **said)


def learned_elsewhere(house: House, name: str, *, before_s: int) -> None:
    """Let another environment learn a name."""
    elsewhere = MemoryAudiences(house.audiences.kept)
    elsewhere.refresh([SITE])
    news = AudienceUpdate(11, NOW_MS - before_s * 1000, name)
    elsewhere.learn(SITE, [news], deadline=deadline())


def shown(house: House, who: str = "42") -> dict[str, bool | None]:
    """Return the attributes of audiences that Customer.io shows."""
    attributes = house.customerio.people[who].items()
    return {name: value for name, value in attributes if name.startswith("In ")}


# --- messages about people ---


def test_the_next_message_that_names_a_renamed_audience_clears_the_former_attribute(house) -> None:
    house.process(named("VIP", before_s=20))

    house.process(named("Gold", before_s=10))

    assert shown(house) == {"In VIP": None, "In Gold": True}


def test_a_message_of_somebody_else_renames_nothing_of_a_person(house) -> None:
    house.process(named("VIP", before_s=20))

    house.process(named("Gold", before_s=10, mpid=8, customer_id="43"))
    house.process(named("Loyal", before_s=5, audience_id=12))

    assert shown(house, "43") == {"In VIP": None, "In Gold": True}
    assert shown(house) == {"In VIP": True, "In Loyal": True}


def test_a_late_message_with_the_former_name_leaves_the_new_attribute(house) -> None:
    house.process(named("VIP", before_s=30))
    house.process(named("Gold", before_s=10))

    house.process(named("VIP", before_s=20, action="delete"))

    assert shown(house) == {"In VIP": None, "In Gold": True}


def test_one_batch_with_both_names_writes_the_newer(house) -> None:
    house.process(named("Gold", before_s=10), named("VIP", before_s=20))

    assert shown(house) == {"In VIP": None, "In Gold": True}


def test_a_batch_writes_the_catalogue_once_for_all_its_names(house) -> None:
    batch = [
        named(f"Audience {key}", before_s=10, audience_id=key, mpid=key, customer_id=str(key))
        for key in range(1, 6)
    ]

    house.process(*batch)
    house.process(*batch)

    assert house.audiences.writes == 1


def test_names_are_learned_without_one_attribute_per_audience_too() -> None:
    house = House()

    house.process(named("VIP", before_s=20))

    assert house.audiences.of(SITE).audiences[11].name == "VIP"
    assert shown(house) == {}


# --- another invocation learns a name meanwhile ---


def test_a_name_that_another_learned_between_post_and_verifying_read_is_posted(house) -> None:
    house.customerio.after_post = lambda: learned_elsewhere(house, "Gold", before_s=10)

    house.process(named("VIP", before_s=20))

    assert shown(house) == {"In VIP": None, "In Gold": True}


def test_a_name_that_another_learned_before_is_posted_by_a_late_message(house) -> None:
    house.process(named("VIP", before_s=30))
    learned_elsewhere(house, "Gold", before_s=10)

    house.process(named("VIP", before_s=20))

    assert shown(house) == {"In VIP": None, "In Gold": True}


def test_whose_attributes_a_new_name_leaves_alone_is_not_posted_again(house) -> None:
    house.customerio.after_post = lambda: learned_elsewhere(house, "Gold", before_s=10)

    house.process(
        named("VIP", before_s=20),
        named("Loyal", before_s=20, audience_id=12, mpid=8, customer_id="43"),
    )

    assert [person.identifier.value for person in house.customerio.posted] == ["42", "43", "42"]


def test_a_catalogue_that_cannot_be_read_any_more_leaves_nobody_unverified(house) -> None:
    def fail() -> None:
        house.audiences.failing = BROKEN

    house.customerio.after_post = fail

    house.process(named("VIP", before_s=20), body(profile(mpid=8), account_id=1002))

    assert house.queue.moved == ["m-0", "m-1"]


# --- subscriptions ---


def test_a_subscription_teaches_a_name(house) -> None:
    house.process(named("VIP", before_s=20))

    assert house.process(subscription(" Gold ", before_s=10)) == []
    house.process(named("VIP", before_s=15))

    assert shown(house) == {"In VIP": None, "In Gold": True}
    assert len(house.telemetry.named("message_accepted")) == 1


def test_a_subscription_that_removes_an_audience_is_remembered(house) -> None:
    house.process(subscription("VIP", "add", before_s=20))
    assert not house.audiences.of(SITE).audiences[11].is_removed

    house.process(subscription("VIP", "remove", before_s=10))

    removed = house.audiences.of(SITE).audiences[11]
    assert (removed.name, removed.removed_at_ms) == ("VIP", NOW_MS - 10_000)
    assert removed.is_removed


@pytest.mark.parametrize(
    "unreadable",
    [{"audience_id": None}, {"audience_id": "x"}, {"audience_name": 5}, {"action": "paint"}],
)
def test_a_subscription_that_cannot_be_read_teaches_nothing_and_stops_nothing(
    house, unreadable
) -> None:
    text = json.dumps(json.loads(subscription("VIP")) | unreadable)

    assert house.process(text, named("Gold", before_s=20)) == []

    assert house.set_aside() == []
    assert shown(house) == {"In Gold": True}


def test_a_subscription_of_an_unknown_account_can_be_redriven_once_it_is_known(house) -> None:
    unknown = subscription("VIP", "remove", account_id=9)

    assert house.process(unknown) == []

    (letter,) = house.queue.letters
    assert letter.error.error_type == "UnknownAccount"
    house.credentials.accounts[9] = house.credentials.accounts[1001]
    assert house.process(letter.body) == []
    assert house.audiences.of(SITE).audiences[11].name == "VIP"
    assert house.audiences.of(SITE).audiences[11].is_removed


def test_a_subscription_whose_catalogue_cannot_be_written_is_retried(house) -> None:
    house.audiences.failing = BROKEN

    house.process(subscription("VIP"), subscription("VIP", account_id=1002))

    assert house.queue.moved == ["m-0", "m-1"]
    assert house.telemetry.named("message_accepted") == []


# --- a catalogue out of reach ---


def test_with_one_attribute_per_audience_a_broken_catalogue_retries_whom_it_concerns() -> None:
    house = House()
    house.audiences.failing = BROKEN
    one_attribute = {
        "account_id": 1001,
        "account_settings": {"oneAttributePerAudience": True},
    }

    house.process(body(profile(), account=one_attribute), body(profile(mpid=8, customer_id="43")))

    assert house.queue.moved == ["m-0"]
    assert house.customerio.people == {"43": {"SegmentMembership": "'11'"}}


def test_without_one_attribute_per_audience_a_broken_catalogue_harms_nobody() -> None:
    house = House()
    house.audiences.failing = BROKEN

    assert house.process(named("VIP", before_s=20)) == []

    assert house.queue.moved == []
    assert house.customerio.people == {"42": {"SegmentMembership": "'11'"}}


# --- identifiers that change ---


def test_under_a_former_identifier_every_audience_is_cleared_by_every_name(house) -> None:
    old: dict[str, Any] = {"customer_id": None, "email": "old@example.com"}
    new: dict[str, Any] = {"customer_id": None, "email": "new@example.com"}
    house.process(named("VIP", before_s=60, **old))
    house.process(named("Loyal", before_s=50, audience_id=12, **old))
    learned_elsewhere(house, "Gold", before_s=40)

    house.process(named("New", before_s=10, audience_id=13, **new))

    assert shown(house, "old@example.com") == dict.fromkeys(
        ["In VIP", "In Gold", "In Loyal", "In New"]
    )
    assert shown(house, "new@example.com") == {"In New": True}


# --- whatever the order ---

NAMES = ["VIP", "Gold", "Loyal"]


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[int, str, int, str]]:
    """Audiences with the names that they had one after the other, and what was said meanwhile."""
    said = []
    for audience_id in (11, 12):
        times = iter(sorted(draw(st.sets(st.integers(1, 99), min_size=6, max_size=6))))
        for name in draw(st.permutations(NAMES))[: draw(st.integers(1, 3))]:
            for _ in range(draw(st.integers(1, 2))):
                action = draw(st.sampled_from(["add", "delete"]))
                said.append((audience_id, name, next(times), action))
    return said


@given(st.data(), histories())
def test_whatever_the_order_each_audience_ends_with_its_newest_name(data, history) -> None:
    kept: dict[str, Any] = {}
    people, customerio = MemoryPeople(), RecordingCustomerIo()
    environments = [
        forwarder(
            people=people.seen_with(audiences := MemoryAudiences(kept)),
            audiences=audiences,
            customerio=customerio,
            credentials=FixedCredentials(),
            queue=MemoryQueue(),
            options=DeliveryOptions(one_attribute_per_audience=True),
        )
        for _ in range(2)
    ]
    texts = [
        named(name, before_s=100 - at, audience_id=audience_id, action=action)
        for audience_id, name, at, action in history
    ]
    arriving = data.draw(st.permutations(texts + data.draw(st.lists(st.sampled_from(texts)))))
    while arriving:
        size = data.draw(st.integers(1, len(arriving)))
        batch = [message(text, f"m-{place}") for place, text in enumerate(arriving[:size])]
        arriving = arriving[size:]
        environment = data.draw(st.sampled_from(environments))
        assert environment.process(batch, deadline=deadline()) == []

    newest = {audience_id: (name, action) for audience_id, name, _, action in history}
    is_in: defaultdict[str, bool] = defaultdict(bool)
    for name, action in newest.values():
        is_in[f"In {name}"] |= action == "add"
    assert {key: each.name for key, each in kept[SITE].audiences.items()} == {
        audience_id: name for audience_id, (name, _) in newest.items()
    }
    attributes = customerio.people["42"]
    assert {name: attributes.get(name) for name in is_in} == is_in
    assert not any(attributes.get(f"In {name}") for name in NAMES if f"In {name}" not in is_in)

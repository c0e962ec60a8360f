"""The stories and the model of tests/chaos, with a function that nothing goes wrong for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from random import Random
from typing import Any

import msgspec
import pytest

from handler.clock import Deadline
from handler.customerio import wire
from handler.domain.attributes import Person
from handler.domain.erasure import Deletion
from handler.domain.options import DeliveryOptions
from handler.domain.workspace import Workspace
from local.fake_customerio.people import Entity, Ordering, People
from tests.builders import NOW, NOW_MS, deadline, message
from tests.chaos import model
from tests.chaos.changes import ACCOUNTS, Sent, story
from tests.chaos.run import SMALL, event_of, name_of
from tests.stand_ins.forwarder import forwarder
from tests.stand_ins.ports import FixedCredentials, MemoryPeople


class QuietCustomerIo:
    """The fake Customer.io without HTTP."""

    def __init__(self, ordering: Ordering) -> None:
        self.people = People(ordering)

    def deliver(
        self, workspace: Workspace, persons: Sequence[Person | Deletion], *, deadline: Deadline
    ) -> list[None]:
        for entity in (entity for person in persons for entity in wire.entities(person)):
            self.people.apply(workspace.site_id, msgspec.json.decode(entity.body, type=Entity))
        return [None] * len(persons)

    def paused(self, workspace: Workspace) -> None:
        return None

    def needs_probe(self, workspace: Workspace) -> bool:
        return False


def ended(seed: int, ordering: Ordering) -> tuple[dict[model.Person, Any], list[Any]]:
    """Return whom Customer.io has after a story, and what was sent to accounts that are known."""
    told = story(seed, people=SMALL.people, messages=SMALL.messages, now=NOW)
    sent = [one for one in told.sent if one.account is not told.stranger]
    customerio = QuietCustomerIo(ordering)
    seconds = count(int(NOW))
    function = forwarder(
        people=MemoryPeople(),
        customerio=customerio,
        credentials=FixedCredentials({one.id: Workspace(one.site_id, "key") for one in ACCOUNTS}),
        now=lambda: next(seconds),
        options=DeliveryOptions(membership_events=True, on_erasure="delete"),
    )
    chance = Random(seed)
    waiting = [message(one.text, str(place)) for place, one in enumerate(sent)]
    while waiting:
        size = chance.randint(1, 5)
        assert not function.process(waiting[:size], deadline=deadline())
        del waiting[:size]
    return {(one.site_id, name_of(one)): one for one in customerio.people.find()}, sent


@pytest.mark.parametrize("ordering", Ordering)
@pytest.mark.parametrize("seed", range(1, 6))
def test_a_calm_story_ends_as_the_model_says(seed, ordering) -> None:
    people, sent = ended(seed, ordering)

    expected = model.people(sent)
    others = people.keys() - expected.keys()
    assert {who: people[who].attributes for who in expected} == expected
    assert others <= model.former_people(sent)
    assert all(model.is_cleared(people[who].attributes) for who in others)


@pytest.mark.parametrize("seed", range(1, 6))
def test_a_calm_story_has_the_events_that_the_model_says(seed) -> None:
    people, sent = ended(seed, Ordering.UPDATES)
    seen = [(who, event_of(event)) for who, one in people.items() for event in one.events]

    assert not any(model.compare_events(sent, seen))

    (one, *others), nobody = seen, ("chaos-a", "nobody")
    assert [model.compare_events(sent, some)[1].total() for some in ([*seen, one], others)] == [
        1,
        0,
    ]
    assert model.compare_events(sent, [])[0].total() > len(people)
    assert model.compare_events(sent, [(nobody, one[1])])[1].total() == 1


def test_the_model_allows_no_late_event_and_none_of_who_is_refused() -> None:
    people, sent = ended(1, Ordering.UPDATES)
    seen = [(who, event_of(event)) for who, one in people.items() for event in one.events]

    missing, surplus = model.compare_events(sent, seen, is_late=lambda _, __: True)
    assert not missing
    assert 0 < surplus.total() < len(seen)
    missing, surplus = model.compare_events(sent, seen, is_refused=lambda _: True)
    assert not missing
    assert surplus.total() == len(seen)


def test_in_each_story_people_are_known_by_identifiers_of_the_past() -> None:
    for seed in range(1, 6):
        people, sent = ended(seed, Ordering.UPDATES)

        assert people.keys() & model.former_people(sent)


def test_in_each_story_somebody_is_erased_and_gone() -> None:
    for seed in range(1, 6):
        people, sent = ended(seed, Ordering.UPDATES)

        erased = {one.erases.name() for one in sent if one.erases}
        assert erased
        assert not erased & {name for _, name in people}


def test_the_model_expects_what_is_said_after_an_erasure_and_nothing_from_before() -> None:
    _, sent = ended(1, Ordering.UPDATES)
    erased = next(one.erases for one in sent if one.erases)
    before = next(
        one for one in sent for each in one.profiles if each.human is erased and not each.flaw
    )
    after = replace(before, at_ms=NOW_MS)

    def expects(*told: Sent) -> bool:
        return (before.account.site_id, erased.name()) in model.people(told)

    assert not expects(*sent)
    assert expects(*sent, after)
    assert expects(before)


@pytest.mark.parametrize(
    ("attributes", "is_cleared"),
    [
        ({"SegmentMembership": ""}, True),
        ({"SegmentMembership": "", "In A": False, "first_name": "Ann"}, True),
        ({"SegmentMembership": "'11'"}, False),
        ({"SegmentMembership": "", "SegmentMembership 2": "'12'"}, False),
        ({"SegmentMembership": "", "In A": True}, False),
    ],
)
def test_whoever_is_in_an_audience_by_any_attribute_is_not_cleared(attributes, is_cleared) -> None:
    assert model.is_cleared(attributes) is is_cleared

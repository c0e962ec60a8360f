"""Deliveries of many people, and what is in memory meanwhile."""

from __future__ import annotations

import msgspec
import pytest

from handler.domain.update import Identifier
from handler.errors import UnavailableError
from handler.jobs.deliver import MEMBERSHIPS_IN_MEMORY, PEOPLE_IN_MEMORY, deliver
from handler.jobs.post import PersonUpdates
from tests.builders import NOW_MS, WORKSPACE, deadline, state
from tests.stand_ins.forwarder import House

MANY = MEMBERSHIPS_IN_MEMORY // PEOPLE_IN_MEMORY + 1


def house_of(people, audiences):
    """A house whose table has so many people, each in so many audiences."""
    house = House()
    memberships = state(*range(audiences)).memberships
    for number in range(people):
        identifier = Identifier(is_id=True, set_at_ms=NOW_MS, value=str(number))
        stored = msgspec.structs.replace(state(identifier=identifier), memberships=memberships)
        house.people.items[f"site-a#{number}"] = stored
    return house


def delivered(house):
    everybody = [PersonUpdates(key, WORKSPACE) for key in house.people.items]
    return deliver(house.forwarder.outside, everybody, deadline=deadline())


@pytest.mark.parametrize(("audiences", "requests"), [(1, 1), (MANY, 2)])
def test_people_of_many_audiences_are_posted_before_others_are_loaded(audiences, requests):
    house = house_of(PEOPLE_IN_MEMORY + 1, audiences)

    result = delivered(house)

    assert not result.failures
    assert len(house.customerio.posted) == PEOPLE_IN_MEMORY + 1
    assert len(house.customerio.credentials) == requests


def test_an_error_after_some_are_posted_fails_only_the_others():
    house = house_of(PEOPLE_IN_MEMORY + 1, MANY)

    def after_post():
        house.people.failing = dict.fromkeys(
            [f"site-a#{PEOPLE_IN_MEMORY}"], UnavailableError("throttled")
        )

    house.customerio.after_post = after_post

    result = delivered(house)

    assert [*result.failures] == [f"site-a#{PEOPLE_IN_MEMORY}"]

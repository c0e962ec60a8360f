"""Walks: who is delivered again, and what a step that fails or dies leaves behind."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.clock import Deadline
from handler.domain.audience import AudienceUpdate
from handler.domain.options import DeliveryOptions
from handler.domain.update import person_key
from handler.domain.walk import Walk, WalkStep
from handler.domain.workspace import Workspace
from handler.errors import (
    OutOfTimeError,
    PersonRejectedError,
    UnavailableError,
    UnreadableStateError,
    UnusableCredentialsError,
)
from handler.jobs.walk import PAGE_S, Walker
from tests.builders import (
    NOW,
    NOW_MS,
    WORKSPACE,
    audience,
    body,
    deadline,
    profile,
    profile_of,
)
from tests.stand_ins.forwarder import House

REMOVED_MS = NOW_MS - 20_000
REMOVAL = Walk(
    kind="removal", site_id="site-a", audience_id=11, audience_name="VIP", removed_at_ms=REMOVED_MS
)
RESYNC = Walk(kind="resync")


class Street(House):
    """A house, and a walker with the same table and Customer.io."""

    def __init__(self, **options) -> None:
        super().__init__(delivery_options=DeliveryOptions(clear_removed_audiences=True, **options))
        self.walker = Walker(self.forwarder.outside, self.telemetry, people_per_second=2.5)

    def changed(self, number: int, *audience_ids: int, before_s: int = 30, action="add") -> None:
        said = [audience(key, action) for key in audience_ids]
        person = profile(*said, mpid=number, customer_id=f"p-{number}")
        assert self.process(body(person, at_ms=NOW_MS - before_s * 1000)) == []

    def remove(self) -> None:
        """Let the removal be known, which is before its walk begins."""
        said = AudienceUpdate(11, REMOVED_MS, "VIP", "remove")
        self.audiences.learn(WORKSPACE.site_id, [said], deadline=deadline())

    def take(self, step: WalkStep, seconds: float = 900.0) -> WalkStep:
        return self.walker.take(step, deadline=deadline(seconds))

    def shown(self) -> dict[str, Any]:
        people = self.customerio.people.items()
        return {name: person["SegmentMembership"] for name, person in people}

    def version(self, number: int) -> int:
        return self.people.items[key_of(number)].version


def key_of(number: int) -> str:
    return person_key("site-a", profile_of(mpid=number))


@pytest.fixture
def street() -> Street:
    return Street(one_attribute_per_audience=True, membership_events=True)


# --- a removed audience ---


def test_everybody_leaves_a_removed_audience_with_its_attribute_and_an_event(street) -> None:
    street.changed(1, 11, 12)
    street.changed(2, 11)
    street.remove()
    street.customerio.events.clear()

    done = street.take(WalkStep(REMOVAL))

    assert (done.done, done.read, done.delivered, done.skipped) == (True, 2, 2, 0)
    assert street.shown() == {"p-1": "'12'", "p-2": ""}
    assert street.customerio.people["p-1"]["In VIP"] is None
    assert [event.name for event in street.customerio.events.values()] == ["Audience Exited"] * 2


def test_only_people_who_have_yet_to_leave_are_written(street) -> None:
    street.changed(1, 12)
    street.changed(2, 11, action="delete")
    street.changed(3, 11, before_s=10)
    street.remove()

    done = street.take(WalkStep(REMOVAL))

    assert (done.read, done.delivered) == (3, 0)
    assert [street.version(number) for number in (1, 2, 3)] == [1, 1, 1]
    assert street.shown()["p-3"] == "'11'"


def test_people_of_another_workspace_stay(street) -> None:
    street.changed(1, 11)
    street.remove()

    done = street.take(WalkStep(Walk(**{**fields(REMOVAL), "site_id": "site-b"})))

    assert (done.delivered, street.shown()) == (0, {"p-1": "'11'"})


@pytest.mark.parametrize("lost", ["post", "verification"])
def test_a_step_that_died_after_the_save_is_made_up_for(street, lost) -> None:
    street.changed(1, 11)
    street.remove()
    street.customerio.events.clear()

    def die() -> None:
        raise KeyboardInterrupt

    where = "refuses" if lost == "post" else "after_post"
    setattr(street.customerio, where, lambda *_: die())
    with suppress(KeyboardInterrupt):
        street.take(WalkStep(REMOVAL))
    street.customerio.refuses, street.customerio.after_post = lambda _: None, lambda: None

    street.take(WalkStep(REMOVAL))

    assert street.shown() == {"p-1": ""}
    assert len(street.customerio.events) == 1


def fields(walk: Walk) -> dict[str, Any]:
    return {name: getattr(walk, name) for name in walk.__struct_fields__}


changes = st.lists(
    st.tuples(st.integers(1, 3), st.sampled_from([11, 12]), st.integers(10, 30), st.booleans()),
    max_size=8,
)


@given(st.data(), changes)
def test_whenever_a_walk_is_and_dies_the_end_is_that_of_the_changes_alone(data, history) -> None:
    # Of each person, what mParticle says last of each audience counts, and the removal.
    expected, street = Street(), Street()
    for number in (1, 2, 3):
        expected.changed(number, 13)
        street.changed(number, 13)
    expected.remove()
    for number, audience_id, before_s, joins in history:
        expected.changed(number, audience_id, before_s=before_s, action=action(joins))
    place = data.draw(st.integers(0, len(history)))
    street.people.page_size = data.draw(st.integers(1, 3))

    for number, audience_id, before_s, joins in history[:place]:
        street.changed(number, audience_id, before_s=before_s, action=action(joins))
    street.remove()
    street.customerio.refuses = lambda _: UnavailableError("down")
    with suppress(UnavailableError):
        street.take(WalkStep(REMOVAL))
    street.customerio.refuses = lambda _: None
    for number, audience_id, before_s, joins in history[place:]:
        street.changed(number, audience_id, before_s=before_s, action=action(joins))
    street.take(WalkStep(REMOVAL))

    assert street.shown() == expected.shown()


def action(joins: bool) -> str:  # noqa: FBT001 - drawn
    return "add" if joins else "delete"


def test_the_name_of_a_removal_is_that_of_its_audience_and_time() -> None:
    other = Walk(**{**fields(REMOVAL), "removed_at_ms": REMOVED_MS + 1})

    assert REMOVAL.name == Walk(**fields(REMOVAL)).name
    assert REMOVAL.name != other.name
    assert len(REMOVAL.name) <= 80
    assert "site-a" not in REMOVAL.name


# --- a resync ---


def test_a_resync_delivers_everybody_again_without_events(street) -> None:
    street.changed(1, 11)
    street.changed(2, 11, action="delete")
    street.customerio.people.clear()
    street.customerio.events.clear()
    street.now += 3600

    done = street.take(WalkStep(RESYNC))

    assert (done.read, done.delivered) == (2, 2)
    assert street.shown() == {"p-1": "'11'", "p-2": ""}
    assert street.customerio.events == {}


def test_a_resync_of_a_removed_audience_does_what_its_walk_did_not_get_to(street) -> None:
    street.changed(1, 11, 12)
    street.changed(2, 11)
    street.changed(3, 12)
    street.remove()
    street.customerio.events.clear()

    done = street.take(WalkStep(Walk(kind="resync", audience_id=11)))

    assert done.delivered == 2
    assert street.shown() == {"p-1": "'12'", "p-2": "", "p-3": "'12'"}
    assert street.customerio.people["p-2"]["In VIP"] is None
    assert [event.name for event in street.customerio.events.values()] == ["Audience Exited"] * 2


def test_a_resync_sends_all_attributes_of_audiences_that_have_names(street) -> None:
    street.changed(1, 11, 12)
    street.changed(1, 12, action="delete", before_s=20)
    street.customerio.people.clear()
    street.now += 3600

    street.take(WalkStep(RESYNC))

    assert street.customerio.people["p-1"] == {
        "SegmentMembership": "'11'",
        "In Audience 11": True,
        "In Audience 12": False,
    }


def test_without_one_attribute_per_audience_a_resync_sends_the_list_alone() -> None:
    street = Street()
    street.changed(1, 11)
    street.customerio.people.clear()
    street.now += 3600

    street.take(WalkStep(RESYNC))

    assert street.customerio.people["p-1"] == {"SegmentMembership": "'11'"}


@pytest.mark.parametrize(
    ("chosen", "delivered"),
    [
        ({"audience_id": 11}, {"p-1", "p-2"}),
        ({"since": int(NOW) + 50}, {"p-3"}),
        ({"site_id": "site-b"}, set()),
    ],
)
def test_a_resync_can_be_of_an_audience_a_time_or_a_workspace(street, chosen, delivered) -> None:
    street.changed(1, 11)
    street.changed(2, 11, action="delete")
    street.now += 100
    street.changed(3, 12)
    street.customerio.posted.clear()
    street.now += 100

    street.take(WalkStep(Walk(kind="resync", **chosen)))

    assert {person.identifier.value for person in street.customerio.posted} == delivered


def test_single_people_are_delivered_without_reading_the_table(street) -> None:
    street.changed(1, 11)
    street.changed(2, 11)
    street.customerio.posted.clear()

    done = street.take(WalkStep(RESYNC, keys=[key_of(2), key_of(3)]))

    assert (done.done, done.delivered) == (True, 1)
    assert [person.identifier.value for person in street.customerio.posted] == ["p-2"]
    assert street.people.calls["page"] == 0


# --- pages, time and failures ---


def test_a_step_does_pages_while_there_is_time_and_the_next_goes_on(street) -> None:
    for number in (1, 2, 3):
        street.changed(number, 11)
    street.people.page_size = 1
    street.now += 3600
    clock = iter([NOW, NOW, NOW + 10, NOW + 20, NOW + 30, NOW + 40])
    short = Deadline(NOW + PAGE_S + 5, lambda: next(clock, NOW + 50))

    first = street.walker.take(WalkStep(RESYNC), deadline=short)
    second = street.take(first)

    assert (first.done, second.done) == (False, True)
    assert 0 < first.read < second.read == second.delivered == 3


def test_people_are_delivered_one_seconds_worth_at_a_time(street) -> None:
    for number in range(5):
        street.changed(number + 1, 11)
    street.now += 3600
    posts = len(street.customerio.credentials)

    street.take(WalkStep(RESYNC))

    assert len(street.customerio.credentials) - posts == 3
    # Two, two and one, at 2.5 a second.
    assert street.slept == pytest.approx([0.8, 0.8, 0.4])


def test_a_page_has_no_more_people_than_a_minute_delivers(street) -> None:
    street.walker = msgspec.structs.replace(street.walker, people_per_second=2 / PAGE_S)
    for number in range(5):
        street.changed(number + 1, 11)
    street.now += 3600

    done = street.take(WalkStep(RESYNC))

    assert (done.done, done.delivered) == (True, 5)
    assert street.people.calls["page"] == 3


def test_who_is_only_read_takes_no_pause(street) -> None:
    street.changed(1, 12)

    street.take(WalkStep(REMOVAL))

    assert street.slept == []


def test_in_the_last_minute_there_are_no_pauses(street) -> None:
    for number in range(5):
        street.changed(number + 1, 11)
    street.now += 3600
    times = iter([PAGE_S + 1] * 3)
    closing = Deadline(NOW, lambda: NOW - next(times, PAGE_S - 1))

    street.walker.take(WalkStep(RESYNC), deadline=closing)

    assert len(street.slept) < 3


def test_without_time_for_a_page_a_step_fails(street) -> None:
    street.changed(1, 11)

    with pytest.raises(OutOfTimeError):
        street.take(WalkStep(RESYNC), seconds=PAGE_S - 1)


def test_a_page_that_cannot_be_delivered_is_the_first_of_the_next_step(street) -> None:
    for number in (1, 2, 3):
        street.changed(number, 11)
    street.people.page_size = 1
    keys = sorted(street.people.items)
    failing = street.people.items[keys[1]].identifier.value
    street.customerio.answers[failing] = UnavailableError("down")

    first = street.take(WalkStep(RESYNC))

    assert (first.read, first.start, first.done) == (1, keys[0], False)
    with pytest.raises(UnavailableError):
        street.take(first)


def test_a_rejected_person_is_reported_and_the_walk_goes_on(street) -> None:
    street.changed(1, 11)
    street.changed(2, 11)
    rejected = PersonRejectedError("email: invalid")
    street.customerio.answers["p-1"] = rejected

    done = street.take(WalkStep(RESYNC))

    assert (done.done, done.delivered, done.skipped) == (True, 1, 1)
    assert street.telemetry.named("walk_person_skipped") == [(key_of(1), rejected)]


def test_an_unreadable_person_is_reported_and_the_walk_goes_on(street) -> None:
    street.changed(1, 11)
    street.changed(2, 11)
    street.people.failing[key_of(1)] = UnreadableStateError("damaged")

    done = street.take(WalkStep(RESYNC))

    assert (done.done, done.delivered, done.skipped) == (True, 1, 1)


def test_people_of_a_workspace_that_the_secret_no_longer_has_are_skipped(street) -> None:
    street.changed(1, 11)
    street.credentials.accounts = {1001: Workspace("site-b", "key-b")}

    done = street.take(WalkStep(RESYNC))

    assert (done.done, done.delivered, done.skipped) == (True, 0, 1)


def test_a_workspace_whose_credentials_cannot_be_used_stops_the_step(street) -> None:
    street.changed(1, 11)

    def unusable(site_id, *, deadline):
        raise UnusableCredentialsError("region: expected us, eu or auto")

    street.credentials.workspace_of_site = unusable

    with pytest.raises(UnusableCredentialsError):
        street.take(WalkStep(RESYNC))

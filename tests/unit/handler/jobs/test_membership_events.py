"""Membership events: each change that counts is told to Customer.io once, and no other."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from enum import Enum, auto
from itertools import groupby
from typing import NamedTuple, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.domain.events import events
from handler.domain.membership import PersonState, merge
from handler.domain.options import DeliveryOptions
from handler.domain.update import person_key
from handler.domain.workspace import Workspace
from handler.errors import PersonRejectedError, UnavailableError
from tests.builders import (
    NOW,
    NOW_MS,
    audience,
    body,
    change,
    profile,
    profile_of,
    state,
    update,
)
from tests.stand_ins.forwarder import House

KEY = person_key("site-a", profile_of(mpid=-7))
JOIN = body(profile(audience(11)), at_ms=NOW_MS - 20)
LEAVE = body(profile(audience(11, "delete")), at_ms=NOW_MS - 10)


@pytest.fixture
def house() -> House:
    return House(delivery_options=DeliveryOptions(membership_events=True))


def seen(house) -> list[tuple[str, int]]:
    return [(event.name, event.audience_id) for event in house.customerio.events.values()]


# --- which changes have one ---


def test_the_event_goes_with_the_attributes_that_it_comes_after(house) -> None:
    house.process(JOIN)

    (person,) = house.customerio.posted
    assert person.attributes == {"SegmentMembership": "'11'"}
    assert [event.name for event in person.events] == ["Audience Entered"]


def test_nothing_but_attributes_is_sent_if_events_are_off() -> None:
    house = House(delivery_options=DeliveryOptions(membership_events=False))

    house.process(JOIN)

    assert house.customerio.people
    assert seen(house) == []


def test_whoever_must_not_be_created_has_no_events_as_these_create() -> None:
    house = House(delivery_options=DeliveryOptions(membership_events=True, create_people=False))

    house.process(JOIN)

    assert [person.events for person in house.customerio.posted] == [()]


@pytest.mark.parametrize("on", [False, True])
def test_a_workspaces_own_option_takes_precedence(on) -> None:
    house = House(delivery_options=DeliveryOptions(membership_events=not on))
    house.credentials.accounts = {1001: Workspace("site-a", "key-a", membership_events=on)}

    house.process(JOIN)

    assert bool(seen(house)) is on


def test_entering_and_leaving_one_after_the_other_are_two_events(house) -> None:
    house.process(JOIN)
    house.process(LEAVE)

    assert seen(house) == [("Audience Entered", 11), ("Audience Exited", 11)]


def test_what_is_over_by_the_time_it_is_delivered_is_no_event(house) -> None:
    house.process(JOIN, LEAVE)

    assert seen(house) == [("Audience Exited", 11)]


def test_a_late_change_that_loses_is_no_event(house) -> None:
    house.process(LEAVE)
    house.process(JOIN)

    assert seen(house) == [("Audience Exited", 11)]


def test_of_changes_of_one_time_leaving_alone_is_an_event(house) -> None:
    house.process(body(profile(audience(11), audience(12))), body(profile(audience(11, "delete"))))

    assert {*seen(house)} == {("Audience Entered", 12), ("Audience Exited", 11)}


def test_a_join_too_old_to_count_is_no_event(house) -> None:
    house.process(body(profile(audience(11)), at_ms=NOW_MS - 33 * 86_400_000))

    assert house.set_aside() == [("m-0", "TooOld", 1)]
    assert seen(house) == []


def test_an_exit_older_than_exits_are_remembered_is_an_event_of_whoever_was_in(house) -> None:
    day_ms = 86_400_000
    house.people.items[KEY] = state(11, at_ms=NOW_MS - 40 * day_ms)

    house.process(body(profile(audience(11, "delete")), at_ms=NOW_MS - 31 * day_ms))

    assert [event.name for event in house.customerio.events.values()] == ["Audience Exited"]


def test_only_attributes_that_changed_are_no_event(house) -> None:
    house.process(body(profile(audience(11, "attribute_update"))))

    assert seen(house) == []


def test_a_redelivered_change_has_its_event_again_which_is_the_same(house) -> None:
    house.process(JOIN)
    house.process(JOIN)

    first, second = house.customerio.posted
    assert first.events == second.events
    assert seen(house) == [("Audience Entered", 11)]


def test_a_change_that_was_kept_and_not_posted_has_its_event_when_it_comes_again(house) -> None:
    house.customerio.refuses = lambda _: UnavailableError("503")
    house.process(JOIN)
    house.customerio.refuses = lambda _: None

    house.process_retried(JOIN)

    assert seen(house) == [("Audience Entered", 11)]


def test_a_person_posted_again_has_the_events_of_the_changes_that_still_count(house) -> None:
    def leave() -> None:
        house.customerio.after_post = lambda: None
        left = update(change(11, joined=False), mpid=-7)
        house.people.items[KEY] = merge(house.people.items[KEY], [left], now=NOW)

    house.customerio.after_post = leave

    house.process(body(profile(audience(11), audience(12)), at_ms=NOW_MS - 20))

    first, second = house.customerio.posted
    assert {event.audience_id for event in first.events} == {11, 12}
    assert {event.audience_id for event in second.events} == {12}


def test_what_clears_a_former_identifier_and_who_has_it_now_have_no_events(house) -> None:
    old, new = {"customer_id": None, "email": "old@example.com"}, {"customer_id": "42"}
    house.process(body(profile(audience(11), mpid=1, **old), at_ms=NOW_MS - 30))
    house.process(body(profile(audience(12), mpid=2, **old), at_ms=NOW_MS - 20))
    house.customerio.posted.clear()

    house.process(body(profile(audience(13), mpid=1, **new), at_ms=NOW_MS - 10))

    posted = [(one.identifier.text, len(one.events)) for one in house.customerio.posted]
    assert ("id:42", 1) in posted
    assert ("email:old@example.com", 0) in posted
    assert sum(count for _, count in posted) == 1


# --- events that Customer.io refuses ---


def test_who_is_taken_without_the_event_is_delivered_and_set_aside(house) -> None:
    house.customerio.refused_events = {"Audience Entered"}

    assert house.process(JOIN, body(profile(customer_id="43", mpid=8))) == []

    assert house.customerio.people["42"] == {"SegmentMembership": "'11'"}
    assert house.telemetry.report.people_delivered == 2
    assert len(house.telemetry.named("person_delivered")) == 2
    assert house.set_aside() == [("m-0", "EventRejected", 1), ("m-1", "EventRejected", 1)]
    assert {str(letter.error) for letter in house.queue.letters} == {"name: invalid"}


def test_who_was_written_meanwhile_is_posted_again_though_an_event_was_refused(house) -> None:
    def someone_else() -> None:
        house.customerio.after_post = lambda: None
        known = house.people.items[KEY]
        house.people.items[KEY] = merge(known, [update(change(12), mpid=-7)], now=NOW)

    house.customerio.after_post = someone_else
    house.customerio.refused_events = {"Audience Entered"}

    house.process(JOIN)

    assert house.customerio.people["42"]["SegmentMembership"] == "'11','12'"
    assert house.set_aside() == [("m-0", "EventRejected", 1)]


def test_a_redrive_sends_both_again(house) -> None:
    house.customerio.refused_events = {"Audience Entered"}
    house.process(JOIN)
    house.customerio.refused_events = set()

    assert house.process(*(letter.body for letter in house.queue.letters)) == []

    assert len(house.customerio.posted) == 2
    assert seen(house) == [("Audience Entered", 11)]
    assert len(house.queue.letters) == 1


@pytest.mark.parametrize(
    ("failure", "set_aside", "retried"),
    [
        (PersonRejectedError("email: invalid"), [("m-0", "RejectedByCustomerIo", 1)], []),
        (UnavailableError("503"), [], ["m-0"]),
    ],
)
def test_what_became_of_the_person_counts_for_more_than_an_event(
    house, failure, set_aside, retried
) -> None:
    house.customerio.refused_events = {"Audience Entered"}

    def fail() -> None:
        # The newer state is posted, too, and that fails.
        known = house.people.items[KEY]
        house.people.items[KEY] = merge(known, [update(change(12), mpid=-7)], now=NOW)
        house.customerio.answers["42"] = failure

    house.customerio.after_post = fail

    house.process(JOIN)

    assert house.set_aside() == set_aside
    assert house.queue.moved == retried


# --- whatever the order ---


class Crash(BaseException):
    """The process is killed."""


def crash(*_: object) -> NoReturn:
    raise Crash


def go_on(*_: object) -> None:
    pass


class Mishap(Enum):
    """What happens to a batch of messages after its changes were kept."""

    NONE = auto()
    CRASH_BEFORE_POST = auto()
    CRASH_AFTER_POST = auto()
    OUTAGE = auto()
    REFUSAL = auto()


class Change(NamedTuple):
    """Somebody enters or leaves an audience; of two of one audience, the larger one counts."""

    mpid: int
    audience_id: int
    at_ms: int
    has_left: bool

    @property
    def text(self) -> str:
        action = "delete" if self.has_left else "add"
        who = profile(audience(self.audience_id, action), mpid=self.mpid, customer_id=self.mpid)
        return body(who, at_ms=self.at_ms)

    @property
    def event_id(self) -> str:
        key = person_key("site-a", profile_of(mpid=self.mpid))
        updates = [update(change(self.audience_id, joined=not self.has_left), at_ms=self.at_ms)]
        (event,) = events(key, merge(PersonState(), updates, now=NOW).memberships, updates)
        return event.id


CHANGES = st.builds(
    Change,
    mpid=st.sampled_from([1, 2]),
    audience_id=st.sampled_from([11, 12]),
    at_ms=st.integers(NOW_MS - 4, NOW_MS),
    has_left=st.booleans(),
)


def newest(changes: set[Change]) -> set[Change]:
    """Return the changes that count: of each person and audience one."""
    by_audience = groupby(sorted(changes), key=lambda one: (one.mpid, one.audience_id))
    return {max(some) for _, some in by_audience}


class Delivery:
    """Delivers batches of changes to a Customer.io that may fail.

    `kept` are the changes that came at least once, and `waiting` those that come again.
    """

    def __init__(self) -> None:
        self.house = House(delivery_options=DeliveryOptions(membership_events=True))
        self.kept: set[Change] = set()
        self.waiting: set[Change] = set()

    def seen(self) -> set[str]:
        return {*self.house.customerio.events}

    def expect(self, mishap: Mishap) -> None:
        customerio = self.house.customerio
        customerio.refuses = crash if mishap is Mishap.CRASH_BEFORE_POST else go_on
        customerio.after_post = crash if mishap is Mishap.CRASH_AFTER_POST else go_on
        customerio.answers.clear()
        if mishap is Mishap.OUTAGE:
            customerio.answers |= dict.fromkeys("12", UnavailableError("503"))
        elif mishap is Mishap.REFUSAL:
            customerio.answers |= dict.fromkeys("12", PersonRejectedError("id: invalid"))

    def deliver(self, batch: Sequence[Change]) -> None:
        self.kept |= {*batch}
        self.waiting |= {*batch}
        self.house.queue.moved.clear()
        with suppress(Crash):
            self.house.process(*(one.text for one in batch))
            if not self.house.queue.moved:
                self.waiting -= {*batch}

    def redrive(self) -> None:
        self.house.process(*(letter.body for letter in self.house.queue.letters))


@given(
    st.lists(
        st.tuples(st.lists(CHANGES, min_size=1, max_size=4), st.sampled_from(Mishap)), max_size=6
    ),
    st.randoms(use_true_random=False),
)
def test_the_newest_change_of_each_audience_is_seen_once_and_none_that_never_was_the_newest(
    batches, chance
) -> None:
    """Whatever the order, grouping, doubles, crashes and redrives.

    A change is seen if it is the newest of its person and audience when it is delivered. So one
    that is not the newest any more is seen only if it was delivered before. It is not seen if a
    newer one was in the same batch, or came after it was kept and before it was posted, in an
    outage or a crash. The newest of all is always seen in the end.
    """
    delivery = Delivery()

    for batch, mishap in batches:
        before = delivery.seen()
        delivery.expect(mishap)
        delivery.deliver(batch)
        counting = {one.event_id for one in newest(delivery.kept) & {*batch}}
        assert delivery.seen() - before <= counting
        if mishap is Mishap.NONE:
            assert delivery.seen() >= counting

    delivery.expect(Mishap.NONE)
    for one in chance.sample(sorted(delivery.waiting), len(delivery.waiting)):
        delivery.deliver([one])
    delivery.redrive()

    assert delivery.seen() >= {one.event_id for one in newest(delivery.kept)}
    # Each is the one event of a change, so none has two.
    assert delivery.seen() <= {one.event_id for one in delivery.kept}

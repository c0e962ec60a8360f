"""Events: what one says, and that a change always has the same one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.domain.events import MAX_NAME_BYTES, Event, events, ulid
from handler.domain.membership import PersonState, merge
from handler.domain.profile import MembershipChange
from handler.domain.update import person_key
from tests.builders import NOW, NOW_MS, change, profile_of, update

KEY = person_key("site-a", profile_of(mpid=-7))


def of(*changes, at_ms=NOW_MS, key=KEY) -> list[Event]:
    """Return the events of somebody of whom nothing else is known."""
    updates = [update(*changes, at_ms=at_ms)]
    return [*events(key, merge(PersonState(), updates, now=NOW).memberships, updates)]


def test_an_event_names_the_audience_and_has_the_time_of_the_change() -> None:
    (event,) = of(change(11, name="VIP"), at_ms=NOW_MS - 1500)

    assert (event.name, event.audience_id, event.audience_name) == ("Audience Entered", 11, "VIP")
    assert event.timestamp == NOW - 2


def test_who_leaves_exits() -> None:
    (event,) = of(change(11, joined=False))

    assert event.name == "Audience Exited"


def test_an_audience_without_a_name_goes_by_its_id() -> None:
    (event,) = of(MembershipChange(11, "", is_member=True))

    assert event.audience_name == "11"


def test_a_long_name_is_cut_between_characters() -> None:
    (event,) = of(change(11, name="é" * MAX_NAME_BYTES))

    assert event.audience_name == "é" * (MAX_NAME_BYTES // 2)


def test_the_same_change_always_has_the_same_id_and_another_change_another_one() -> None:
    other_workspace = person_key("site-b", profile_of(mpid=-7))
    other_person = person_key("site-a", profile_of(mpid=8))
    ids = [
        each.id
        for each in (
            *of(change(11)),
            *of(change(12)),
            *of(change(11, joined=False)),
            *of(change(11), at_ms=NOW_MS - 1),
            *of(change(11), key=other_workspace),
            *of(change(11), key=other_person),
        )
    ]

    assert len({*ids}) == len(ids) == 6
    assert [each.id for each in of(change(11, name="Renamed"))] == ids[:1]


def test_events_go_oldest_first() -> None:
    updates = [
        update(change(11), at_ms=NOW_MS),
        update(change(12), at_ms=NOW_MS - 9),
        update(change(13), at_ms=NOW_MS - 5),
    ]
    memberships = merge(PersonState(), updates, now=NOW).memberships

    assert [event.audience_id for event in events(KEY, memberships, updates)] == [12, 13, 11]


# --- ids ---

LAST_MS = 2**48 - 1  # the last time that a ULID can hold
TIMES = st.integers(0, LAST_MS)
RANDOM = st.binary(min_size=10, max_size=10)


@pytest.mark.parametrize(
    ("at_ms", "random", "expected"),
    [
        (0, bytes(10), "00000000000000000000000000"),
        (LAST_MS, b"\xff" * 10, "7ZZZZZZZZZZZZZZZZZZZZZZZZZ"),
        (1469918176385, bytes(10), "01ARYZ6S410000000000000000"),
        (1469922850259, bytes.fromhex("d6764c61efb99302bd5b"), "01ARZ3NDEKTSV4RRFFQ69G5FAV"),
    ],
)
def test_the_examples_of_the_specification_come_out(at_ms, random, expected):
    assert ulid(at_ms, random) == expected


@given(TIMES, TIMES, RANDOM, RANDOM)
def test_an_earlier_time_sorts_first(earlier, later, some, other):
    earlier, later = sorted((earlier, later))

    assert earlier == later or ulid(earlier, some) < ulid(later, other)


@given(TIMES, RANDOM, RANDOM)
def test_other_bytes_give_another_ulid(at_ms, some, other):
    assert (ulid(at_ms, some) == ulid(at_ms, other)) == (some == other)

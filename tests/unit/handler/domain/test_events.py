"""Events: what one says, and that a change always has the same one."""

from __future__ import annotations

from handler.domain.events import MAX_NAME_BYTES, Event, events
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

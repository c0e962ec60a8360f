"""An erasure and changes of the same person at once, in many orders of their steps.

Whatever the order, nothing from before the erasure stays, and what came after it does.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest

from handler.domain.erasure import read_erasure
from handler.domain.message import read_message
from handler.domain.update import person_key
from tests.builders import (
    NOW,
    NOW_MS,
    audience,
    body,
    deadline,
    erasure,
    profile,
    profile_of,
)
from tests.stand_ins.interleavings import Outside, copies, play_in, play_on

EMAIL = "ann@example.com"


def said(audience_id: int, *, before_s: float, email: str | None = None, **who: Any) -> str:
    """Return a message of somebody who joins an audience, so long before now."""
    known_by = {"customer_id": None, "email": email} if email else {}
    someone = profile(audience(audience_id), **known_by, **who)
    return body(someone, at_ms=NOW_MS - int(before_s * 1000))


ERASED_S = 20
ERASE = erasure(email=EMAIL, at_ms=NOW_MS - ERASED_S * 1000)
LONG_AGO = said(11, before_s=900)
LATE = said(12, before_s=30)
LATE_BY_EMAIL = said(12, before_s=30, email=EMAIL)
LATE_BY_ANOTHER = said(13, before_s=25, mpid=8)
ANEW = said(14, before_s=10)
ANEW_AS_ANOTHER = said(15, before_s=5, mpid=9)

# What was delivered before, the messages that are handled at once, and the lists that then stay.
SCENES: dict[str, tuple[Sequence[str], Sequence[str], dict[str, str]]] = {
    "a change from before": ([LONG_AGO], [ERASE, LATE], {}),
    "a change from before of somebody who is not known yet": ([], [ERASE, LATE], {}),
    "two changes from before by different identifiers": ([], [ERASE, LATE, LATE_BY_EMAIL], {}),
    "two profiles from before": ([LONG_AGO], [ERASE, LATE, LATE_BY_ANOTHER], {}),
    "a change from after": ([LONG_AGO], [ERASE, ANEW], {"42": "'14'"}),
    "a profile from after": ([LONG_AGO], [ERASE, ANEW_AS_ANOTHER], {"42": "'15'"}),
    "changes from before and after": ([LONG_AGO], [ERASE, LATE, ANEW], {"42": "'14'"}),
    "profiles from before and after": ([], [ERASE, LATE, ANEW_AS_ANOTHER], {"42": "'15'"}),
    "the erasure twice": ([LONG_AGO], [ERASE, ERASE, LATE], {}),
    "the erasure twice and a change from after": (
        [LONG_AGO],
        [ERASE, ERASE, ANEW],
        {"42": "'14'"},
    ),
}


WORLDS: dict[str, dict[str, Any]] = {
    "all in one second": {"ticking": False},
    "a second a step, reads one write behind": {"ticking": True, "lagging": True},
}


def started(before: Sequence[str], **how: Any) -> Outside:
    outside = Outside({}, **how, erasing=True)
    outside.now -= 600
    play_on(outside, before)
    outside.now = NOW
    outside.people.index_is_lagging = outside.erasures.is_lagging = how.get("lagging", False)
    return outside


def assert_erased(outside: Outside, lists: dict[str, str]) -> None:
    assert {person: outside.list_of(person) for person in outside.customerio.people} == lists
    erased_at_ms = NOW_MS - ERASED_S * 1000
    for state in outside.people.items.values():
        if state.identifier is None:
            assert (state.memberships, state.former) == ({}, {})
        else:
            assert all(newest >> 1 > erased_at_ms for newest in state.memberships.values())
            assert state.identifier.set_at_ms > erased_at_ms


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("scene", SCENES)
def test_in_many_orders_only_what_came_after_the_erasure_stays(scene, world) -> None:
    before, bodies, lists = SCENES[scene]
    start = started(before, **WORLDS[world])
    chance = random.Random(20261125)

    for outside in copies(start, 100):
        assert_erased(play_in(outside, bodies, chance.choice), lists)


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("scene", SCENES)
def test_so_it_is_with_invocations_that_crash_anywhere(scene, world) -> None:
    before, bodies, lists = SCENES[scene]
    start = started(before, **WORLDS[world])
    chance = random.Random(20261126)

    for outside in copies(start, 100):
        outside.crashes = lambda: chance.random() < 0.06
        assert_erased(play_in(outside, bodies, chance.choice), lists)


SLOW_POSTS = {name: scene for name, scene in SCENES.items() if scene[0]}


@pytest.mark.parametrize("crash", [0.0, 0.06])
@pytest.mark.parametrize("scene", SLOW_POSTS)
def test_a_post_that_arrives_after_the_last_look_at_the_table_is_deleted_too(scene, crash) -> None:
    before, bodies, lists = SLOW_POSTS[scene]
    start = started(before, ticking=True)
    # The first of both looks was half a minute ago.
    first = read_erasure(read_message(ERASE, now=NOW))
    assert first is not None
    start.erasures.record(
        first.identifiers, "site-a", at_ms=first.at_ms, now=NOW - 30, deadline=deadline()
    )
    chance = random.Random(20261127)

    for outside in copies(start, 100):
        outside.crashes = lambda: chance.random() < crash
        assert_erased(play_in(outside, bodies, chance.choice), lists)


def test_whoever_is_known_by_somebody_elses_identifier_stays() -> None:
    other = said(16, before_s=900, mpid=10, customer_id="43")

    outside = play_on(started([LONG_AGO, other], ticking=False), [ERASE])

    assert outside.people.items[person_key("site-a", profile_of(mpid=10))].memberships
    assert {*outside.customerio.people} == {"43"}

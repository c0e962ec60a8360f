"""Two and three invocations that handle one person at once, in every order of their steps."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from handler.domain.membership import PersonState, merge
from handler.domain.update import person_key
from tests.builders import (
    NOW,
    NOW_MS,
    audience,
    body,
    change,
    profile,
    profile_of,
    update,
)
from tests.stand_ins.interleavings import Outside, copies, every_order, play, play_in, play_on

KEY = person_key("site-a", profile_of(mpid=-7))


def names(first: str) -> dict[str, Any]:
    return {"user_attributes": [{"key": "$FirstName", "value": first, "action": "upsert"}]}


JOIN_11 = body(profile(audience(11, **names("Ann")), email="ann@example.com"), at_ms=NOW_MS - 30)
JOIN_12 = body(profile(audience(12)), at_ms=NOW_MS - 20)
LEAVE_11 = body(profile(audience(11, "delete", **names("Bo"))), at_ms=NOW_MS - 10)
OLD_JOIN_13 = body(profile(audience(13)), at_ms=NOW_MS - 90)


def known_person() -> dict[str, PersonState]:
    old = update(change(13), at_ms=NOW_MS - 90, mpid=-7)
    return {KEY: merge(PersonState(), [old], now=NOW - 60)}


def saved_and_not_delivered() -> dict[str, PersonState]:
    """Somebody whose changes were kept ten minutes ago, when Customer.io took nothing."""
    old = update(change(13), at_ms=NOW_MS - 90, mpid=-7)
    joined = update(
        change(11),
        at_ms=NOW_MS - 30,
        mpid=-7,
        email="ann@example.com",
        shared={"$FirstName": "Ann"},
    )
    return {KEY: merge(PersonState(), [old, joined], now=NOW - 600)}


SCENES = {
    "a person created by both": ({}, [JOIN_11, JOIN_12]),
    "a join and the exit that follows it": (known_person(), [JOIN_11, LEAVE_11]),
    "a change and a redelivery that changes nothing": (known_person(), [JOIN_11, OLD_JOIN_13]),
    "the same message twice": ({}, [JOIN_11, JOIN_11]),
    "two redeliveries after an outage": (saved_and_not_delivered(), [JOIN_11, OLD_JOIN_13]),
}


def expected(known: Mapping[str, PersonState], bodies: Sequence[str]) -> dict[str, Any]:
    """What one invocation after the other, oldest message first, ends in."""
    in_order = [text for text in (OLD_JOIN_13, JOIN_11, JOIN_12, LEAVE_11) if text in bodies]
    return play_on(Outside(known, ticking=True), in_order).customerio.people["42"]


def events_of(bodies: Sequence[str]) -> list[tuple[str, int]]:
    """The names and audiences of the events of these messages, doubles left out."""
    changes = {
        (one["action"], one["audience_id"])
        for text in bodies
        for someone in json.loads(text)["user_profiles"]
        for one in someone["audiences"]
    }
    names = {"add": "Audience Entered", "delete": "Audience Exited"}
    return sorted((names[action], audience_id) for action, audience_id in changes)


def assert_events(ended: Outside, bodies: Sequence[str]) -> None:
    """Each change has one event; only one that a newer change undid may have none."""
    undone = [("Audience Entered", 11)] if LEAVE_11 in bodies else []

    seen, told = ended.events(), events_of(bodies)
    assert sorted({*seen, *undone}) == sorted({*told, *undone})
    assert len(seen) == len({*seen})


WORLDS: dict[str, dict[str, Any]] = {
    "all in one second": {"ticking": False},
    "a second a step": {"ticking": True},
    "a second a step, reads one write behind": {"ticking": True, "lagging": True},
    "an older update is ignored as a whole": {"ticking": True, "lagging": True, "whole": True},
}


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("scene", SCENES)
def test_in_every_order_of_two_invocations_the_newest_state_is_what_stays(scene, world) -> None:
    known, bodies = SCENES[scene]
    wanted = expected(known, bodies)
    orders = 0

    for ended in every_order(lambda choose: play(known, bodies, choose, **WORLDS[world])):
        orders += 1
        assert ended.customerio.people["42"] == wanted
        assert_events(ended, bodies)

    # Of two invocations with four steps each there are 70 orders, and more with each conflict.
    assert orders >= 70


@pytest.mark.parametrize("world", WORLDS)
def test_in_many_orders_of_three_invocations_the_newest_state_is_what_stays(world) -> None:
    known, bodies = known_person(), [JOIN_11, OLD_JOIN_13, LEAVE_11]
    wanted = expected(known, bodies)
    chance = random.Random(20261121)

    for _ in range(400):
        ended = play(known, bodies, chance.choice, **WORLDS[world])
        assert ended.customerio.people["42"] == wanted
        assert_events(ended, bodies)


# --- an audience that is renamed ---


def called(name: str, *, before_s: int, action: str = "add") -> str:
    """Return a message that names audience 11, so long before now."""
    return body(profile(audience(11, action, audience_name=name)), at_ms=NOW_MS - before_s * 1000)


RENAMES = {
    "a rename and a late message with the former name": (
        [called("VIP", before_s=900)],
        [called("Gold", before_s=10), called("VIP", before_s=20)],
        {"In Gold": True, "In VIP": None},
    ),
    "a rename that both learn": (
        [called("VIP", before_s=900)],
        [called("Gold", before_s=20), called("Gold", before_s=10, action="delete")],
        {"In Gold": False, "In VIP": None},
    ),
    "two renames": (
        [called("VIP", before_s=900)],
        [called("Gold", before_s=20), called("Loyal", before_s=10)],
        {"In Loyal": True, "In Gold": None, "In VIP": None},
    ),
}


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("scene", RENAMES)
def test_in_many_orders_a_renamed_audience_keeps_no_former_attribute(scene, world) -> None:
    before, bodies, wanted = RENAMES[scene]
    chance = random.Random(20261126)
    start = play_on(Outside({}, **WORLDS[world], learns_in_a_step=True), before)

    for outside in copies(start, 150):
        play_in(outside, bodies, chance.choice)
        attributes = outside.customerio.people["42"]
        assert {name: attributes.get(name) for name in wanted} == wanted


# --- an audience that is removed ---


def removed(*, before_s: int) -> str:
    """Return a message that mParticle removed audience 11, so long before now."""
    return body(
        at_ms=NOW_MS - before_s * 1000,
        type="audience_subscription_request",
        audience_id=11,
        audience_name="VIP",
        action="remove",
    )


IN_12 = body(profile(audience(12)), at_ms=NOW_MS - 900_000)
REMOVALS = {
    "an entry from before that comes late": (
        [IN_12],
        [removed(before_s=20), called("VIP", before_s=30)],
        "'12'",
    ),
    "an entry of before, and a change": (
        [called("VIP", before_s=900)],
        [removed(before_s=20), body(profile(audience(12)), at_ms=NOW_MS - 10_000)],
        "'12'",
    ),
    "an entry after it": (
        [called("VIP", before_s=900), IN_12],
        [removed(before_s=20), called("VIP", before_s=10)],
        "'11','12'",
    ),
    "two removals": (
        [called("VIP", before_s=900), IN_12],
        [removed(before_s=20), removed(before_s=10)],
        "'12'",
    ),
}


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("scene", REMOVALS)
def test_in_many_orders_everybody_leaves_a_removed_audience(scene, world) -> None:
    before, bodies, wanted = REMOVALS[scene]
    chance = random.Random(20261125)
    start = play_on(Outside({}, **WORLDS[world], learns_in_a_step=True, clears=True), before)

    for outside in copies(start, 60):
        play_in(outside, bodies, chance.choice)
        assert outside.list_of("42") == wanted
        assert outside.customerio.people["42"].get("In VIP") is not (wanted == "'12'")


# --- identifiers that change ---

OLD, NEW = "old@example.com", "new@example.com"


def seen_as(email: str, *audiences: Any, before_s: float, mpid: int = 1) -> str:
    """Return a message of somebody who is known by an email, so long before now."""
    who = profile(*audiences, mpid=mpid, customer_id=None, email=email)
    return body(who, at_ms=NOW_MS - int(before_s * 1000))


JOINED_AS_OLD = seen_as(OLD, audience(11), before_s=900)
LATE_AS_OLD = seen_as(OLD, audience(12), before_s=30)
LEFT_AS_NEW = seen_as(NEW, audience(11, "delete"), audience(13), before_s=20)
JOINED_AS_NEW = seen_as(NEW, audience(14), before_s=10)
BACK_AS_OLD = seen_as(OLD, audience(15), before_s=5)
SECOND_AS_OLD = seen_as(OLD, audience(21), before_s=5, mpid=2)
SECOND_AS_NEW = seen_as(NEW, audience(22), before_s=900, mpid=2)

# What was delivered before, the messages that are handled at once, and the lists that then stay.
CHANGES = {
    "an email that changes while another message is on its way": (
        [JOINED_AS_OLD],
        [LATE_AS_OLD, LEFT_AS_NEW],
        {OLD: "", NEW: "'12','13'"},
    ),
    "an email that changes before it was ever posted": (
        [],
        [LATE_AS_OLD, LEFT_AS_NEW],
        {OLD: "", NEW: "'12','13'"},
    ),
    "forgetting a former email while the person changes": (
        [JOINED_AS_OLD],
        [LEFT_AS_NEW, JOINED_AS_NEW],
        {OLD: "", NEW: "'13','14'"},
    ),
    "an email that comes back": (
        [JOINED_AS_OLD],
        [LEFT_AS_NEW, BACK_AS_OLD],
        {OLD: "'13','15'", NEW: ""},
    ),
    "a second profile that takes the email over": (
        [JOINED_AS_OLD],
        [LEFT_AS_NEW, SECOND_AS_OLD],
        {OLD: "'21'", NEW: "'13'"},
    ),
    "two profiles that swap": (
        [JOINED_AS_OLD, SECOND_AS_NEW],
        [LEFT_AS_NEW, SECOND_AS_OLD],
        {OLD: "'21','22'", NEW: "'13'"},
    ),
}


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("scene", CHANGES)
def test_in_many_orders_a_changed_identifier_leaves_nobody_under_the_former(scene, world) -> None:
    before, bodies, wanted = CHANGES[scene]
    chance = random.Random(20261124)
    start = Outside({}, **WORLDS[world])
    start.now -= 600
    play_on(start, before)
    start.now = NOW

    for outside in copies(start, 300):
        play_in(outside, bodies, chance.choice)
        assert outside.events() == events_of([*before, *bodies])
        lists = {email: outside.list_of(email) for email in wanted}
        assert lists == wanted

"""Two and three invocations that handle one person at once, in every order of their steps.

Each invocation is a real Forwarder in a thread of its own. Whatever it does outside of itself
(read, write, post, verify) waits for its turn, and every order of turns is played: after a run,
the last turn at which another invocation could have gone first is taken differently.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from copy import deepcopy
from queue import SimpleQueue
from threading import Thread
from typing import Any

import pytest

from handler.domain.audience import Catalogue
from handler.domain.membership import PersonState, merge
from handler.domain.options import DeliveryOptions
from handler.domain.update import person_key
from handler.errors import RetryableError
from handler.jobs.forward import Forwarder
from tests.builders import (
    NOW,
    NOW_MS,
    audience,
    body,
    change,
    deadline,
    message,
    profile,
    profile_of,
    update,
)
from tests.stand_ins.forwarder import forwarder
from tests.stand_ins.ports import MemoryAudiences, MemoryPeople, MemoryQueue, RecordingCustomerIo

KEY = person_key("site-a", profile_of(mpid=-7))
Choose = Callable[[Sequence[int]], int]


class Stage:
    """Lets one invocation at a time take one step, in the order that `choose` says."""

    def __init__(self, count: int, choose: Choose) -> None:
        # Queues of C: semaphores are written in Python, and turns take much of the time.
        self._turns: list[SimpleQueue[None]] = [SimpleQueue() for _ in range(count)]
        self._choose = choose
        self._starting: SimpleQueue[None] | None = None
        self._running = set(range(count))

    def step(self, number: int) -> None:
        """Called by an invocation: wait for the next turn."""
        if self._starting:
            self._starting.put(None)
        # Whose turn it is chooses the next, itself among them: then no thread has to wake up.
        elif (chosen := self._next()) == number:
            return
        else:
            self._turns[chosen].put(None)
        self._turns[number].get()

    def end(self, number: int) -> None:
        """Called by an invocation: it is over."""
        self._running.discard(number)
        if self._starting:
            self._starting.put(None)
        elif self._running:
            self._turns[self._next()].put(None)

    def play(self, invoke: Callable[[int], None]) -> None:
        """Have each invocation go to its first step, and give turns until all are over."""
        threads = [Thread(target=invoke, args=(n,)) for n in range(1, len(self._turns))]
        starting = self._starting = SimpleQueue()
        for thread in threads:
            thread.start()
            starting.get()
        self._starting = None
        invoke(0)
        for thread in threads:
            thread.join()

    def _next(self) -> int:
        return self._choose(sorted(self._running))


class Outside:
    """What all invocations share: a table and Customer.io, behind a stage."""

    def __init__(
        self,
        known: PersonState,
        *,
        ticking: bool,
        lagging: bool = False,
        whole: bool = False,
        learns_in_a_step: bool = False,
    ) -> None:
        self.people = MemoryPeople()
        self.people.is_lagging = lagging
        self.catalogues: dict[str, Catalogue] = {}
        if known.version:
            self.people.items[KEY] = known
        self.customerio = RecordingCustomerIo()
        self.customerio.orders_whole_updates = whole
        self.now = NOW
        self.ticking = ticking
        # One step more makes several times as many orders, and matters only if names change.
        self.learns_in_a_step = learns_in_a_step

    def list_of(self, person: str) -> str:
        """Return the audiences that Customer.io shows of a person; none of who is not there."""
        membership: str = self.customerio.people.get(person, {}).get("SegmentMembership", "")
        return membership

    def events(self) -> list[tuple[str, int]]:
        """Return the names and audiences of the events that Customer.io took."""
        events = self.customerio.events.values()
        return sorted((event.name, event.audience_id) for event in events)

    def seen_by(self, queue: MemoryQueue, step: Callable[[], None]) -> Forwarder:
        """Return a forwarder that calls `step` before it does anything outside of itself."""

        def staged(target: object, name: str) -> Callable[..., Any]:
            def call(*args: Any, **how: Any) -> Any:
                step()
                self.now += self.ticking
                return getattr(target, name)(*args, **how)

            return call

        audiences = MemoryAudiences(self.catalogues)
        people = self.people.seen_with(audiences)

        class Staged:
            load = staticmethod(staged(people, "load"))
            save = staticmethod(staged(people, "save"))
            versions = staticmethod(staged(people, "versions"))
            known_as = staticmethod(staged(people, "known_as"))
            learn = staticmethod(staged(audiences, "learn"))
            of = staticmethod(audiences.of)
            deliver = staticmethod(staged(self.customerio, "deliver"))
            paused = staticmethod(self.customerio.paused)
            needs_probe = staticmethod(self.customerio.needs_probe)

        return forwarder(
            people=Staged(),
            audiences=Staged() if self.learns_in_a_step else audiences,
            customerio=Staged(),
            queue=queue,
            now=lambda: self.now,
            options=DeliveryOptions(one_attribute_per_audience=True, membership_events=True),
        )


def play(known: PersonState, bodies: Sequence[str], choose: Choose, **how: bool) -> Outside:
    """Run an invocation for each body, their steps in the order chosen; redeliver what failed."""
    return play_in(Outside(known, **how), bodies, choose)


def play_in(outside: Outside, bodies: Sequence[str], choose: Choose) -> Outside:
    stage = Stage(len(bodies), choose)
    delivered: set[int] = set()

    def invoke(number: int) -> None:
        try:
            if is_delivered(outside, bodies[number], lambda: stage.step(number)):
                delivered.add(number)
        finally:
            stage.end(number)

    stage.play(invoke)
    left = [text for number, text in enumerate(bodies) if number not in delivered]
    return play_on(outside, left)


def is_delivered(outside: Outside, text: str, step: Callable[[], None]) -> bool:
    """Process a message and return whether it is on neither of the queues after that."""
    queue = MemoryQueue()
    forwarder = outside.seen_by(queue, step)
    with suppress(RetryableError):
        forwarder.process([message(text)], deadline=deadline())
        return not queue.moved
    return False


MAX_RECEIVES = 5
"""How often a message may come again, after its first failure, with nothing else going on."""


def play_on(outside: Outside, left: Sequence[str]) -> Outside:
    """Process messages one by one, each until it is delivered."""
    for text in left:
        assert any(is_delivered(outside, text, go_on) for _ in range(MAX_RECEIVES))
    return outside


def go_on() -> None:
    """Take a step at once: there is nobody to wait for."""


class Order:
    """One order of turns: as planned, and from there on the first of those who are ready."""

    def __init__(self, planned: Sequence[int]) -> None:
        self._planned = planned
        self._taken: list[tuple[int, int]] = []

    def choose(self, ready: Sequence[int]) -> int:
        turn = len(self._taken)
        place = self._planned[turn] if turn < len(self._planned) else 0
        self._taken.append((place, len(ready)))
        return ready[place]

    def next(self) -> Order | None:
        """The order that differs at the last turn where it can; None after the last order."""
        taken = list(self._taken)
        while taken and taken[-1][0] == taken[-1][1] - 1:
            taken.pop()
        return Order([*(place for place, _ in taken[:-1]), taken[-1][0] + 1]) if taken else None


def every_order(run: Callable[[Choose], Outside]) -> Iterator[Outside]:
    """Run again and again, each time with another order of turns, until all were played."""
    order: Order | None = Order([])
    while order is not None:
        yield run(order.choose)
        order = order.next()


def names(first: str) -> dict[str, Any]:
    return {"user_attributes": [{"key": "$FirstName", "value": first, "action": "upsert"}]}


JOIN_11 = body(profile(audience(11, **names("Ann")), email="ann@example.com"), at_ms=NOW_MS - 30)
JOIN_12 = body(profile(audience(12)), at_ms=NOW_MS - 20)
LEAVE_11 = body(profile(audience(11, "delete", **names("Bo"))), at_ms=NOW_MS - 10)
OLD_JOIN_13 = body(profile(audience(13)), at_ms=NOW_MS - 90)


def known_person() -> PersonState:
    old = update(change(13), at_ms=NOW_MS - 90, mpid=-7)
    return merge(PersonState(), [old], now=NOW - 60)


def saved_and_not_delivered() -> PersonState:
    """Somebody whose changes were kept ten minutes ago, when Customer.io took nothing."""
    old = update(change(13), at_ms=NOW_MS - 90, mpid=-7)
    joined = update(
        change(11),
        at_ms=NOW_MS - 30,
        mpid=-7,
        email="ann@example.com",
        shared={"$FirstName": "Ann"},
    )
    return merge(PersonState(), [old, joined], now=NOW - 600)


SCENES = {
    "a person created by both": (PersonState(), [JOIN_11, JOIN_12]),
    "a join and the exit that follows it": (known_person(), [JOIN_11, LEAVE_11]),
    "a change and a redelivery that changes nothing": (known_person(), [JOIN_11, OLD_JOIN_13]),
    "the same message twice": (PersonState(), [JOIN_11, JOIN_11]),
    "two redeliveries after an outage": (saved_and_not_delivered(), [JOIN_11, OLD_JOIN_13]),
}


def expected(known: PersonState, bodies: Sequence[str]) -> dict[str, Any]:
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


WORLDS = {
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
    start = play_on(Outside(PersonState(), **WORLDS[world], learns_in_a_step=True), before)

    for _ in range(150):
        outside = play_in(deepcopy(start), bodies, chance.choice)
        attributes = outside.customerio.people["42"]
        assert {name: attributes.get(name) for name in wanted} == wanted


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
    start = Outside(PersonState(), **WORLDS[world])
    start.now -= 600
    play_on(start, before)
    start.now = NOW

    for _ in range(300):
        outside = play_in(deepcopy(start), bodies, chance.choice)
        assert outside.events() == events_of([*before, *bodies])
        lists = {email: outside.list_of(email) for email in wanted}
        assert lists == wanted

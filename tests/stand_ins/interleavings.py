"""Invocations that take turns: real Forwarders, each in a greenlet of its own.

Whatever an invocation does outside of itself (read, write, post, verify) waits for its turn.
`every_order` plays every order of turns: after a run, the last turn at which another invocation
could have gone first is taken differently.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from types import SimpleNamespace
from typing import Any

import msgspec
from greenlet import getcurrent, greenlet

from handler.clock import Deadline
from handler.domain.audience import Catalogue
from handler.domain.membership import PersonState
from handler.domain.options import DeliveryOptions
from handler.domain.walk import Walk, WalkStep
from handler.errors import RetryableError
from handler.jobs.forward import Forwarder
from handler.jobs.walk import Walker
from tests.builders import NOW, deadline, message
from tests.stand_ins.forwarder import forwarder
from tests.stand_ins.ports import (
    MemoryAudiences,
    MemoryErasures,
    MemoryPeople,
    MemoryQueue,
    RecordingCustomerIo,
    RecordingTelemetry,
)

Choose = Callable[[Sequence[int]], int]


class Stage:
    """Lets one invocation at a time take one step, in the order that `choose` says."""

    def __init__(self, count: int, choose: Choose) -> None:
        self._count = count
        self._choose = choose

    def step(self) -> None:
        """Called by an invocation: wait for the next turn."""
        getcurrent().parent.switch()

    def play(self, invoke: Callable[[int], None]) -> None:
        """Have each invocation go to its first step, and give turns until all are over."""
        running = {number: greenlet(partial(invoke, number)) for number in range(self._count)}
        for invocation in running.values():
            invocation.switch()
        while running := {number: each for number, each in running.items() if not each.dead}:
            running[self._choose([*running])].switch()


class Crash(BaseException):
    """An invocation ends where it is."""


def never() -> bool:
    """Let no invocation crash; pickle takes no lambda."""
    return False


class Outside:
    """What all invocations share: a table and Customer.io, behind a stage.

    With `erasing`, reading and writing erasures are steps too. With `clears`, everybody leaves an
    audience that is removed, by a walk of the invocation that has the message. Before each step an
    invocation crashes if `crashes` says so; a post that it has begun arrives some time later.
    """

    def __init__(
        self,
        known: Mapping[str, PersonState],
        *,
        ticking: bool,
        lagging: bool = False,
        whole: bool = False,
        learns_in_a_step: bool = False,
        erasing: bool = False,
        clears: bool = False,
        crashes: Callable[[], bool] = never,
    ) -> None:
        self.people = MemoryPeople()
        self.people.is_lagging = lagging
        self.catalogues: dict[str, Catalogue] = {}
        self.people.items |= known
        self.erasures = MemoryErasures()
        self.erasing = erasing
        self.clears = clears
        self.crashes = crashes
        self.on_the_way: list[Callable[[], object]] = []
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
                perform = partial(getattr(target, name), *args, **how)
                if self.crashes():
                    if name == "deliver":
                        self.on_the_way.append(perform)
                    raise Crash
                return perform()

            return call

        audiences = MemoryAudiences(self.catalogues)
        people = self.people.seen_with(audiences)

        on_stage: Any = SimpleNamespace(
            load=staged(people, "load"),
            save=staged(people, "save"),
            versions=staged(people, "versions"),
            pages=staged(people, "pages"),
            known_as=staged(people, "known_as"),
            learn=staged(audiences, "learn"),
            of=audiences.of,
            newest=staged(self.erasures, "newest"),
            record=staged(self.erasures, "record"),
            deliver=staged(self.customerio, "deliver"),
            paused=self.customerio.paused,
            needs_probe=self.customerio.needs_probe,
        )
        created = forwarder(
            people=on_stage,
            audiences=on_stage if self.learns_in_a_step else audiences,
            erasures=on_stage if self.erasing else self.erasures,
            customerio=on_stage,
            queue=queue,
            now=lambda: self.now,
            options=DeliveryOptions(
                one_attribute_per_audience=True,
                membership_events=True,
                on_erasure="delete",
                clear_removed_audiences=self.clears,
            ),
        )
        return msgspec.structs.replace(created, walks=_Walks(created)) if self.clears else created


class _Walks:
    """Takes the steps of a walk when it is started."""

    def __init__(self, forwarder: Forwarder) -> None:
        telemetry: Any = RecordingTelemetry()
        self._walker = Walker(forwarder.outside, telemetry, people_per_second=1000)

    def start(self, walk: Walk, *, deadline: Deadline) -> None:
        assert self._walker.take(WalkStep(walk), deadline=Deadline(NOW + 900, lambda: NOW)).done


def copies(outside: Outside, count: int) -> Iterator[Outside]:
    """Yield independent copies, by pickle as it is several times as fast as deepcopy."""
    pickled = pickle.dumps(outside)
    for _ in range(count):
        yield pickle.loads(pickled)  # noqa: S301 - written above


def play(
    known: Mapping[str, PersonState], bodies: Sequence[str], choose: Choose, **how: Any
) -> Outside:
    """Run an invocation for each body, their steps in the order chosen; redeliver what failed."""
    return play_in(Outside(known, **how), bodies, choose)


def play_in(outside: Outside, bodies: Sequence[str], choose: Choose) -> Outside:
    stage = Stage(len(bodies), choose)
    delivered: set[int] = set()

    def invoke(number: int) -> None:
        if is_delivered(outside, bodies[number], stage.step):
            delivered.add(number)

    stage.play(invoke)
    left = [text for number, text in enumerate(bodies) if number not in delivered]
    return play_on(outside, left)


def is_delivered(outside: Outside, text: str, step: Callable[[], None]) -> bool:
    """Process a message and return whether it is on neither of the queues after that."""
    queue = MemoryQueue()
    forwarder = outside.seen_by(queue, step)
    with suppress(RetryableError, Crash):
        forwarder.process([message(text)], deadline=deadline())
        return not queue.moved
    return False


RETRIED_AFTER_S = 30

MAX_RECEIVES = 5
"""How often a message may come again, after its first failure, with nothing else going on."""


def play_on(outside: Outside, left: Sequence[str]) -> Outside:
    """Let all posts arrive, and process messages one by one, each until it is delivered.

    Messages wait on the retry queue, so the index has caught up.
    """
    outside.crashes = never
    outside.people.index_is_lagging = outside.erasures.is_lagging = False
    for arrive in outside.on_the_way:
        arrive()
    for text in left:
        assert any(is_delivered_later(outside, text) for _ in range(MAX_RECEIVES))
    return outside


def is_delivered_later(outside: Outside, text: str) -> bool:
    outside.now += RETRIED_AFTER_S if outside.erasing else 0
    return is_delivered(outside, text, go_on)


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

"""The protocol by which a person's identifier changes, as a model small enough to check it all.

Two mParticle profiles, each with an item, and two identifiers, A and B. Each identifier is a
person in Customer.io, who ignores what is older than the newest post that arrived. Each worker
delivers one message, which says by which identifier its profile goes from now on: read, merge,
save by compare-and-set, ask who else has the former identifier, post, clear the former
identifier, verify, ask again. test_protocol.py has the model of a person whose identifier stays.

A post travels: it is sent in one step and arrives in a later one. A worker may crash between any
two steps, with its post on the way, and its message is then delivered again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Literal

import msgspec
import pytest
from msgspec.structs import replace

from tests.model.worlds import wrong_end

NAMES = ("A", "B")
LATEST = 60
"""A time that no world reaches whose workers come to an end."""


class Message(msgspec.Struct, frozen=True, cache_hash=True):
    """One message, and the identifier that it gives its profile. Later messages are newer."""

    profile: int
    name: str


class Item(msgspec.Struct, frozen=True, cache_hash=True):
    """What is kept of a profile.

    `merged`: which messages, as bits. `former` is the identifier that was replaced, and
    `former_timestamp` the timestamp of the last version that had it.
    """

    version: int = 0
    timestamp: int = 0
    merged: int = 0
    name: str = ""
    former: str = ""
    former_timestamp: int = 0


class Shown(msgspec.Struct, frozen=True, cache_hash=True):
    """What Customer.io shows under an identifier; `profile` -1 is a person in no audience."""

    timestamp: int = -1
    profile: int | None = None
    merged: int = 0

    @property
    def exists(self) -> bool:
        """Whether there is such a person in Customer.io."""
        return self.profile is not None


class Post(msgspec.Struct, frozen=True, cache_hash=True):
    """An update on its way; `profile` -1 clears the person if there is one.

    `carries` is an identifier that is to belong to the same person.
    """

    sender: int
    name: str
    timestamp: int
    profile: int
    merged: int
    carries: str = ""


class Worker(msgspec.Struct, frozen=True, cache_hash=True):
    """How far a worker has got, and the states that it has in memory.

    `forgets`: the former identifier is dropped once it is cleared. `other` is the state of the
    other profile while that is delivered again, and `after` the step that follows.
    """

    step: str = "read"
    state: Item = Item()
    forgets: bool = False
    other: Item = Item()
    after: str = ""
    awaited: Post | None = None
    crashes: int = 0


class World(msgspec.Struct, frozen=True, cache_hash=True):
    """Everything there is."""

    workers: tuple[Worker, ...]
    items: tuple[Item, Item]
    shown: tuple[Shown, Shown]
    is_one_person: bool = False
    lagging: tuple[Item, Item] = (Item(), Item())
    on_the_way: frozenset[Post] = frozenset()
    now: int = 10
    ticks: int = 0


class Rules(msgspec.Struct, frozen=True, cache_hash=True):
    """What the protocol does, and what it takes for granted.

    `keeps`: a former identifier stays in the item until it was cleared and that was verified.
    `waits`: it is dropped only by who began when nobody was left who might still post under it.
    `asks`: the index is asked who has the identifier now.
    `clears_as`: the clearing post has the timestamp after that of the last version under the
    identifier, or the one before that of the newest version.

    `slow_writes`: a write may arrive long after its timestamp was taken. `slow_posts`: a post may
    arrive after its message was received again. `lagging`: the index may be one write behind.
    `runs_ahead`: timestamps may be ahead of the clock.
    """

    keeps: bool = True
    waits: bool = True
    asks: bool = True
    clears_as: Literal["last", "newest"] = "last"
    slow_writes: bool = False
    slow_posts: bool = False
    lagging: bool = False
    runs_ahead: bool = False


class Protocol:
    """The steps of every worker."""

    def __init__(
        self, messages: Sequence[Message], rules: Rules, *, carries_former: bool = False
    ) -> None:
        self.messages = messages
        self.rules = rules
        self.carries_former = carries_former

    def next(self, world: World) -> Iterator[World]:
        """Return every world that one step leads to."""
        if world.ticks:
            yield replace(world, now=world.now + 1, ticks=world.ticks - 1)
        for post in world.on_the_way:
            yield self._arrive(world, post)
        for number, worker in enumerate(world.workers):
            if worker.step == "done":
                continue
            if worker.crashes:
                yield put(world, number, Worker(crashes=worker.crashes - 1))
            if worker.step != "waiting" and not self._is_hidden(world, number, worker):
                yield from getattr(self, f"_{worker.step}")(world, number, worker)

    def _is_hidden(self, world: World, number: int, worker: Worker) -> bool:
        """Return whether the worker's message is invisible on the queue after a crash."""
        travels = any(post.sender == number for post in world.on_the_way)
        return worker.step == "read" and travels and not self.rules.slow_posts

    def _read(self, world: World, number: int, worker: Worker) -> Iterator[World]:
        known = world.items[self.messages[number].profile]
        state = self._named(replace(known, merged=known.merged | 1 << number))
        # A state delivered again with nothing new is a new version once it is old.
        if state == known and known.timestamp >= world.now - 1:
            yield put(world, number, self._delivering(world, number, known))
            return
        # A second more for the clearing post, between the last one under the former identifier
        # and the first one under the new.
        step = 1 if state.name == known.name else 2
        timestamp = max(world.now, known.timestamp + step)
        state = replace(state, version=known.version + 1, timestamp=timestamp)
        yield put(self._stamped(world, state), number, replace(worker, step="save", state=state))

    def _delivering(self, world: World, number: int, state: Item) -> Worker:
        """Return the worker about to deliver a state."""
        forgets = bool(state.former) and not (
            self.rules.waits and self._is_in_use(world, number, state.former)
        )
        return replace(world.workers[number], step="ask", state=state, forgets=forgets)

    def _named(self, state: Item) -> Item:
        """Return the state under the identifier of the newest message that it has merged."""
        newest = state.merged.bit_length() - 1
        name = self.messages[newest].name
        if name == state.name or not state.name:
            return replace(state, name=name)
        return replace(state, name=name, former=state.name, former_timestamp=state.timestamp)

    def _stamped(self, world: World, state: Item) -> World:
        """Return the world at a time that is not behind the timestamp."""
        if self.rules.runs_ahead:
            return world
        return replace(world, now=max(world.now, state.timestamp))

    def _save(self, world: World, number: int, worker: Worker) -> Iterator[World]:
        profile, state = self.messages[number].profile, worker.state
        if world.items[profile].version != state.version - 1:
            yield put(world, number, Worker(crashes=worker.crashes))
            return
        if not self.rules.slow_writes:
            state = replace(state, timestamp=max(world.now, state.timestamp))
        kept = replace(state, former="", former_timestamp=0)
        world = write(world, profile, state if self.rules.keeps else kept)
        yield put(world, number, self._delivering(world, number, state))

    def _ask(self, world: World, number: int, worker: Worker) -> Iterator[World]:
        yield from self._ask_before(world, number, worker, "post")

    def _ask_again(self, world: World, number: int, worker: Worker) -> Iterator[World]:
        yield from self._ask_before(world, number, worker, "drop")

    def _ask_before(
        self, world: World, number: int, worker: Worker, after: str
    ) -> Iterator[World]:
        other = 1 - self.messages[number].profile
        seen = [world.items[other], *([world.lagging[other]] if self.rules.lagging else [])]
        for item in seen:
            has_it = worker.state.former and item.name == worker.state.former
            if has_it and self.rules.asks:
                yield put(world, number, replace(worker, step="load_other", after=after))
            else:
                yield put(world, number, replace(worker, step=after))

    def _load_other(self, world: World, number: int, worker: Worker) -> Iterator[World]:
        other = world.items[1 - self.messages[number].profile]
        cleared = self._clearing(worker.state)
        if other.name != worker.state.former:
            yield put(world, number, replace(worker, step=worker.after))
            return
        if other.timestamp > cleared:
            # No new version, but a post: whoever wrote this one may have crashed before its post.
            yield put(world, number, replace(worker, step="post_other", other=other))
            return
        timestamp = cleared + 1
        if other.timestamp < world.now - 1:  # A state delivered again is new once it is old.
            timestamp = max(timestamp, world.now)
        other = replace(other, version=other.version + 1, timestamp=timestamp)
        worker = replace(worker, step="save_other", other=other)
        yield put(self._stamped(world, other), number, worker)

    def _save_other(self, world: World, number: int, worker: Worker) -> Iterator[World]:
        profile = 1 - self.messages[number].profile
        if world.items[profile].version != worker.other.version - 1:
            yield put(world, number, replace(worker, step="load_other", other=Item()))
        else:
            world = write(world, profile, worker.other)
            yield put(world, number, replace(worker, step="post_other"))

    def _post_other(self, world: World, number: int, worker: Worker) -> Iterator[World]:
        profile, other = 1 - self.messages[number].profile, worker.other
        yield send(world, Post(number, other.name, other.timestamp, profile, other.merged))

    def _verify_other(self, world: World, number: int, worker: Worker) -> Iterator[World]:
        newest = world.items[1 - self.messages[number].profile]
        if newest.version == worker.other.version:
            yield put(world, number, replace(worker, step=worker.after, other=Item()))
        else:
            yield put(world, number, replace(worker, step="post_other", other=newest))

    def _post(self, world: World, number: int, worker: Worker) -> Iterator[World]:
        profile, state = self.messages[number].profile, worker.state
        carries = state.former if self.carries_former else ""
        yield send(
            world, Post(number, state.name, state.timestamp, profile, state.merged, carries)
        )

    def _clear(self, world: World, number: int, worker: Worker) -> Iterator[World]:
        cleared = self._clearing(worker.state)
        yield send(world, Post(number, worker.state.former, cleared, profile=-1, merged=0))

    def _clearing(self, state: Item) -> int:
        """Return the timestamp of the post that clears the former identifier."""
        if self.rules.clears_as == "last":
            return state.former_timestamp + 1
        return state.timestamp - 1

    def _arrive(self, world: World, post: Post) -> World:
        world = replace(take(world, post), on_the_way=world.on_the_way - {post})
        worker = world.workers[post.sender]
        if worker.awaited != post:
            return world
        if worker.other.version:
            step = "verify_other"
        else:
            step = "clear" if post.profile >= 0 and worker.state.former else "verify"
        return put(world, post.sender, replace(worker, step=step, awaited=None))

    def _verify(self, world: World, number: int, worker: Worker) -> Iterator[World]:
        newest = world.items[self.messages[number].profile]
        if newest.version == worker.state.version:
            yield put(world, number, replace(worker, step="ask_again"))
        else:
            yield put(world, number, self._delivering(world, number, newest))

    def _drop(self, world: World, number: int, worker: Worker) -> Iterator[World]:
        profile, state = self.messages[number].profile, worker.state
        if worker.forgets and world.items[profile].version == state.version:
            version = state.version + 1
            dropped = replace(state, version=version, former="", former_timestamp=0)
            world = write(world, profile, dropped)
        yield put(world, number, Worker(step="done"))

    def _is_in_use(self, world: World, number: int, name: str) -> bool:
        """Return whether a worker may post under an identifier, or its post is on the way."""
        return any(post.name == name and post.profile >= 0 for post in world.on_the_way) or any(
            name in {worker.state.name, worker.other.name}
            for other, worker in enumerate(world.workers)
            if other != number and worker.step != "done"
        )


def take(world: World, post: Post) -> World:
    """Return the world after Customer.io took a post."""
    shown = list(world.shown)
    places = [NAMES.index(name) for name in (post.name, post.carries) if name]
    if world.is_one_person:
        places = [0, 1]
    known = next((shown[place] for place in places if shown[place].exists), Shown())
    if post.timestamp < known.timestamp or (post.profile < 0 and not known.exists):
        return world
    # An identifier that another person has is not given to this one.
    if len(places) == 2 and not world.is_one_person:
        if shown[0].exists and shown[1].exists:
            del places[1]
        else:
            world = replace(world, is_one_person=True)
    for place in places:
        shown[place] = Shown(post.timestamp, post.profile, post.merged)
    return replace(world, shown=(shown[0], shown[1]))


def put(world: World, number: int, worker: Worker) -> World:
    workers = (*world.workers[:number], worker, *world.workers[number + 1 :])
    return replace(world, workers=workers)


def write(world: World, profile: int, item: Item) -> World:
    items, lagging = list(world.items), list(world.lagging)
    items[profile], lagging[profile] = item, world.items[profile]
    return replace(world, items=(items[0], items[1]), lagging=(lagging[0], lagging[1]))


def send(world: World, post: Post) -> World:
    worker = replace(world.workers[post.sender], step="waiting", awaited=post)
    return put(replace(world, on_the_way=world.on_the_way | {post}), post.sender, worker)


def is_end(world: World) -> bool:
    return not world.on_the_way and all(worker.step == "done" for worker in world.workers)


class Scene(msgspec.Struct, frozen=True, cache_hash=True):
    """Messages, and the identifiers that the profiles have before them.

    Of two profiles with one identifier, Customer.io shows the first.
    """

    messages: tuple[Message, ...]
    known: tuple[str, str] = ("", "")
    carries_former: bool = False


MOVER, SECOND = 0, 1
STAYS, MOVES, TAKES_OVER = Message(MOVER, "A"), Message(MOVER, "B"), Message(SECOND, "A")
SCENES = {
    "A is known": Scene((MOVES,), ("A", "")),
    "A is known, and a late message says A": Scene((STAYS, MOVES), ("A", "")),
    "A is not known yet": Scene((STAYS, MOVES)),
    "A comes back": Scene((MOVES, STAYS), ("A", "")),
    "A is an email, B an id": Scene((STAYS, MOVES), ("A", ""), carries_former=True),
    "A is an email not known yet, B an id": Scene((STAYS, MOVES), carries_former=True),
    "a second profile takes A over": Scene((MOVES, TAKES_OVER), ("A", "")),
    "a second profile had A all along": Scene((MOVES,), ("A", "A")),
    "a second profile gets a message as A": Scene((TAKES_OVER, MOVES), ("A", "A")),
    "two profiles swap": Scene((MOVES, TAKES_OVER), ("A", "B")),
}
CROWDED = {
    "A is known, and a second profile takes it over": Scene((STAYS, MOVES, TAKES_OVER), ("A", "")),
    "A is not known yet, and a second profile takes it over": Scene((STAYS, MOVES, TAKES_OVER)),
}


def stale(scene: Scene, rules: Rules, *, ticks: int = 0, crashes: int = 0) -> World | None:
    """Return an end world in which Customer.io does not show what it should."""
    known = scene.known
    items = [Item(1, 5, 0, name) if name else Item() for name in known]
    shown = [Shown(5, known.index(name)) if name in known else Shown() for name in NAMES]
    start = World(
        workers=(Worker(crashes=crashes),) * len(scene.messages),
        items=(items[0], items[1]),
        shown=(shown[0], shown[1]),
        ticks=ticks,
    )
    protocol = Protocol(scene.messages, rules, carries_former=scene.carries_former)

    def steps(world: World) -> Iterator[World]:
        assert world.now < LATEST, "workers drive each other's timestamps up without end"
        return protocol.next(world)

    return wrong_end(start, steps=steps, is_end=is_end, is_right=partial(is_right, scene))


def is_right(scene: Scene, world: World) -> bool:
    """Return whether each identifier shows the profile that has it, or nobody in an audience."""
    wanted: dict[str, set[tuple[int | None, int]]]
    wanted = {name: {(None, 0), (-1, 0)} for name in NAMES}
    for profile, known in enumerate(scene.known):
        messages = [
            (n, one.name) for n, one in enumerate(scene.messages) if one.profile == profile
        ]
        name = messages[-1][1] if messages else known
        wanted[name] = {(profile, sum(1 << number for number, _ in messages))}
    if world.is_one_person:
        wanted["A"] = wanted["B"]
    return all(
        (shown.profile, shown.merged) in wanted[name]
        for name, shown in zip(NAMES, world.shown, strict=True)
    )


@pytest.mark.parametrize("scene", SCENES)
def test_the_newest_identifier_shows_the_newest_state_and_a_former_one_nothing(scene) -> None:
    assert not stale(SCENES[scene], Rules(), ticks=3)
    assert not stale(SCENES[scene], Rules(), ticks=1, crashes=1)


@pytest.mark.parametrize("scene", CROWDED)
def test_three_workers_end_with_the_newest_state_under_the_newest_identifier(scene) -> None:
    assert not stale(CROWDED[scene], Rules())


def test_a_former_identifier_that_is_not_kept_stays_in_its_audiences_after_a_crash() -> None:
    rules = Rules(keeps=False)

    assert stale(SCENES["A is known"], rules, crashes=1)


def test_without_the_question_who_has_it_somebody_else_would_be_cleared() -> None:
    assert stale(SCENES["a second profile had A all along"], Rules(asks=False))


def test_an_identifier_is_dropped_only_once_nobody_can_post_under_it_any_more() -> None:
    """A first post that arrives after the clearing creates a person: nobody was there before."""
    assert stale(SCENES["A is not known yet"], Rules(waits=False))


@pytest.mark.parametrize(
    ("scene", "rules"),
    [
        (SCENES["A is not known yet"], Rules(slow_posts=True)),
        (CROWDED["A is known, and a second profile takes it over"], Rules(slow_writes=True)),
        (CROWDED["A is known, and a second profile takes it over"], Rules(lagging=True)),
        (CROWDED["A is known, and a second profile takes it over"], Rules(runs_ahead=True)),
    ],
    ids=["slow posts", "slow writes", "lagging index", "timestamps ahead of the clock"],
)
def test_each_assumption_of_the_protocol_is_needed(scene, rules) -> None:
    """Each of these is a limit of the promise, within seconds of a takeover or a crash."""
    assert stale(scene, rules, crashes=len(scene.messages) == 2)


def test_a_clearing_post_as_new_as_the_move_would_hide_who_takes_the_identifier_over() -> None:
    scene, rules = SCENES["a second profile takes A over"], Rules(slow_writes=True)

    assert stale(scene, replace(rules, clears_as="newest"), ticks=3)
    assert not stale(scene, rules, ticks=3, crashes=1)

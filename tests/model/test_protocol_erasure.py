"""The protocol by which a person is erased, as a model small enough to check it all.

One mParticle profile with an item, and one identifier. A worker erases the person, others each
deliver one change: one from before the erasure, or one from after it. test_protocol.py has the
model without erasures, whose words and steps these are.

A post or a deletion travels: it is sent in one step and arrives in a later one. A worker may crash
between any two steps, with its post on the way, and its message is then delivered again once that
has arrived. Until the erasure takes its last look, the index and the records of erasures may be
one write behind.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec
import pytest
from msgspec.structs import replace

from tests.model.worlds import wrong_end

BEFORE, AFTER = 1, 2
"""Changes from before and after the erasure, as bits."""


class Item(msgspec.Struct, frozen=True, cache_hash=True):
    """What is kept: the changes that count, and whether the person was erased."""

    version: int = 0
    told: int = 0
    erased: bool = False

    def merged(self, change: int, *, erased: bool) -> Item:
        """Return the next version with a change and perhaps an erasure, or this one."""
        is_erased = self.erased or erased
        told = (self.told | change) & (AFTER if is_erased else BEFORE | AFTER)
        if (told, is_erased) == (self.told, self.erased):
            return self
        return Item(self.version + 1, told, is_erased)


class Post(msgspec.Struct, frozen=True, cache_hash=True):
    """What is on its way to Customer.io; nothing told is a deletion."""

    sender: int
    told: int
    timestamp: int


class Worker(msgspec.Struct, frozen=True, cache_hash=True):
    """How far a worker has got, the state that it holds, and what follows its post.

    `change` 0: it erases, and `looks` is how often it is yet to look at the table. `is_unaware`:
    it has read before the erasure was recorded.
    """

    change: int
    step: str = "read"
    held: Item = Item()
    after: str = ""
    is_unaware: bool = False
    looks: int = 2
    crashes: int = 0


class World(msgspec.Struct, frozen=True, cache_hash=True):
    """All there is."""

    workers: tuple[Worker, ...]
    item: Item = Item()
    before: Item = Item()
    is_recorded: bool = False
    lags: bool = False
    shown: Post | None = None
    on_the_way: frozenset[Post] = frozenset()


Without = Literal["", "records", "a second look", "late deletions", "a deletion after"]


class Protocol:
    """The steps of every worker, perhaps without one of the rules."""

    def __init__(self, without: Without = "") -> None:
        self.without = without

    def next(self, world: World) -> Iterator[World]:
        """Return every world that one step leads to."""
        for post in world.on_the_way:
            yield self._arrive(world, post)
        for number, worker in enumerate(world.workers):
            if worker.step == "done":
                continue
            if worker.crashes:
                again = Worker(worker.change, looks=worker.looks, crashes=worker.crashes - 1)
                yield put(world, number, again)
            is_hidden = worker.step == "read" and any(
                post.sender == number for post in world.on_the_way
            )
            if worker.step != "waiting" and not is_hidden:
                yield from getattr(self, f"_{worker.step}")(world, number, worker)

    # --- a change ---

    def _read(self, world: World, number: int, worker: Worker) -> Iterator[World]:
        if not worker.change:
            yield from self._record(world, number, worker)
            return
        items = {world.item, world.before} if world.lags else {world.item}
        records = {world.is_recorded, False} if world.lags else {world.is_recorded}
        for item in items:
            for is_recorded in records:
                yield self._merge(world, number, worker, item, is_recorded=is_recorded)

    def _reread(self, world: World, number: int, worker: Worker) -> Iterator[World]:
        yield self._merge(world, number, worker, world.item, is_recorded=world.is_recorded)

    def _merge(
        self, world: World, number: int, worker: Worker, item: Item, *, is_recorded: bool
    ) -> World:
        # Records are read for an identifier that is new to the state.
        erased = is_recorded and not item.told and self.without != "records"
        merged = item.merged(worker.change, erased=erased)
        if not merged.told and not merged.version - (merged is not item):
            return put(world, number, replace(worker, step="done"))  # nobody was ever known
        step = "save" if merged is not item else "post" if item.told else "own"
        unaware = not is_recorded
        return put(world, number, replace(worker, step=step, held=merged, is_unaware=unaware))

    def _save(self, world: World, number: int, worker: Worker) -> Iterator[World]:
        if world.item.version != worker.held.version - 1:
            yield put(world, number, replace(worker, step="reread"))
            return
        step = "post" if worker.held.told else "own"
        saved = replace(worker, step=step)
        yield replace(put(world, number, saved), item=worker.held, before=world.item)

    def _post(self, world: World, number: int, worker: Worker) -> Iterator[World]:
        post = Post(number, worker.held.told, worker.held.version)
        yield self._send(world, number, worker, post, after="verify")

    def _verify(self, world: World, number: int, worker: Worker) -> Iterator[World]:
        if world.item.version == worker.held.version:
            yield self._finish(world, number, worker)
        else:
            step = "post" if world.item.told else "own"
            yield put(world, number, replace(worker, step=step, held=world.item))

    def _own(self, world: World, number: int, worker: Worker) -> Iterator[World]:
        """Delete what a late post may have brought back, unless somebody has the identifier."""
        if world.item.told or self.without == "late deletions":
            yield self._finish(world, number, worker)
        else:
            yield self._send(world, number, worker, Post(number, 0, 0), after="recheck")

    def _recheck(self, world: World, number: int, worker: Worker) -> Iterator[World]:
        if world.item.told:
            yield put(world, number, replace(worker, step="post", held=world.item))
        else:
            yield self._finish(world, number, worker)

    # --- the erasure ---

    def _record(self, world: World, number: int, worker: Worker) -> Iterator[World]:
        is_last = worker.looks == 1
        # Whoever has read before the record is saved by then, or not at all.
        if is_last and any(each.is_unaware and each.step == "save" for each in world.workers):
            return
        looking = put(world, number, replace(worker, step="look"))
        yield replace(looking, is_recorded=True, lags=world.lags and not is_last)

    def _look(self, world: World, number: int, worker: Worker) -> Iterator[World]:
        for indexed in {world.item, world.before} if world.lags else {world.item}:
            # The state of who is in the index is read consistently.
            is_found = bool(indexed.told and world.item.told)
            held = world.item if is_found and not world.item.erased else Item()
            if held.version or not is_found:
                deletion = Post(number, 0, 0)
                looked = replace(worker, held=held)
                yield self._send(world, number, looked, deletion, after="erase")
            else:
                yield put(world, number, replace(worker, step="look_again"))

    def _erase(self, world: World, number: int, worker: Worker) -> Iterator[World]:
        held = worker.held
        if not held.version or world.item.version != held.version:
            yield put(world, number, replace(worker, step="look_again"))
            return
        erased = replace(
            put(world, number, worker), item=held.merged(0, erased=True), before=world.item
        )
        if self.without == "a deletion after":
            yield put(erased, number, replace(worker, step="look_again"))
        else:
            yield self._send(erased, number, worker, Post(number, 0, 0), after="look_again")

    def _look_again(self, world: World, number: int, worker: Worker) -> Iterator[World]:
        for indexed in {world.item, world.before} if world.lags else {world.item}:
            if not (indexed.told and world.item.told):
                yield self._finish(world, number, worker)
            elif not world.item.erased:
                yield put(world, number, replace(worker, step="look"))
            else:
                yield put(world, number, replace(worker, step="post", held=world.item))

    # --- both ---

    def _send(self, world: World, number: int, worker: Worker, post: Post, *, after: str) -> World:
        waiting = replace(worker, step="waiting", after=after)
        return replace(put(world, number, waiting), on_the_way=world.on_the_way | {post})

    def _arrive(self, world: World, post: Post) -> World:
        shown = world.shown
        if not post.told:
            shown = None
        elif shown is None or post.timestamp >= shown.timestamp:
            shown = replace(post, sender=-1)
        worker = world.workers[post.sender]
        if worker.step == "waiting":
            worker = replace(worker, step=worker.after, after="")
        return replace(
            put(world, post.sender, worker), shown=shown, on_the_way=world.on_the_way - {post}
        )

    def _finish(self, world: World, number: int, worker: Worker) -> World:
        looks = worker.looks - (not worker.change)
        if worker.change or not looks or self.without == "a second look":
            return put(world, number, Worker(worker.change, "done"))
        return put(world, number, Worker(0, looks=looks, crashes=worker.crashes))


def put(world: World, number: int, worker: Worker) -> World:
    workers = (*world.workers[:number], worker, *world.workers[number + 1 :])
    return replace(world, workers=workers)


def is_end(world: World) -> bool:
    return not world.on_the_way and all(worker.step == "done" for worker in world.workers)


def wrong(
    protocol: Protocol,
    *changes: int,
    known: int = 0,
    crashes: int = 0,
    lags: bool = False,
    looks: int = 2,
) -> World | None:
    """Return an end in which something from before is left, or something from after is not.

    With one look, the erasure was recorded long ago, and yet the person is known from before.
    """
    item = Item(1, known) if known else Item()
    shown = Post(-1, known, 1) if known else None
    start = World(
        workers=tuple(Worker(change, crashes=crashes, looks=looks) for change in (0, *changes)),
        item=item,
        before=item,
        shown=shown,
        lags=lags,
        is_recorded=looks == 1,
    )
    due = AFTER if AFTER in changes else 0

    def is_right(world: World) -> bool:
        return world.item.told == due and (world.shown.told if world.shown else 0) == due

    return wrong_end(start, steps=protocol.next, is_end=is_end, is_right=is_right)


@pytest.mark.parametrize("lags", [False, True])
@pytest.mark.parametrize("known", [0, BEFORE])
@pytest.mark.parametrize(
    ("changes", "crashes"), [((BEFORE,), 1), ((AFTER,), 1), ((BEFORE, AFTER), 0)]
)
def test_whatever_the_order_only_what_came_after_the_erasure_is_left(
    changes, crashes, known, lags
) -> None:
    assert not wrong(Protocol(), *changes, known=known, crashes=crashes, lags=lags)


@pytest.mark.parametrize("changes", [(BEFORE,), (AFTER,), (BEFORE, AFTER)])
def test_the_last_look_alone_leaves_nobody_who_is_known_from_before(changes) -> None:
    assert not wrong(Protocol(), *changes, known=BEFORE, looks=1)


@pytest.mark.parametrize(
    ("without", "known", "lags", "looks"),
    [
        ("records", 0, False, 2),
        ("a second look", 0, True, 2),
        ("late deletions", BEFORE, False, 2),
        ("a deletion after", BEFORE, False, 1),
    ],
)
def test_without_one_of_the_rules_somebody_would_be_left(without, known, lags, looks) -> None:
    protocol = Protocol(without)

    assert wrong(protocol, BEFORE, known=known, crashes=1, lags=lags, looks=looks)

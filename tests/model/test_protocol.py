"""The protocol by which invocations share a person, as a model small enough to check it all.

The model has one person, and workers that each deliver one message about them: read, merge and
save by compare-and-set, post, verify, post again. A post travels: it is sent in one step and
arrives in a later one. A worker may crash between any two steps, with its post on the way, and its
message is then delivered again. A clock ticks now and then. Every state that can be reached is
visited once, but for those that differ in an order which nobody can see.
tests/simulation/test_interleavings.py plays the real forwarder through what this covers in theory.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from tests.model.worlds import wrong_end


class Kept(msgspec.Struct, frozen=True, cache_hash=True):
    """The item: which messages it has merged, and the newest of them that set the name."""

    version: int = 0
    timestamp: int = 0
    merged: int = 0
    named_by: int = -1


class Post(msgspec.Struct, frozen=True, cache_hash=True):
    """An update on its way: what it says is merged, and whose name it carries, if any's."""

    timestamp: int
    merged: int
    named_by: int
    sender: int


class Worker(msgspec.Struct, frozen=True, cache_hash=True):
    """How far a worker has got, the state it holds, and how often it may still crash."""

    step: str = "read"
    held: Kept = Kept()
    timestamp: int = 0
    crashes: int = 0


class World(msgspec.Struct, frozen=True, cache_hash=True):
    """All there is."""

    workers: tuple[Worker, ...]
    kept: Kept = Kept()
    before: Kept = Kept()
    on_the_way: frozenset[Post] = frozenset()
    shown: Post = Post(0, 0, -1, -1)
    now: int = 10
    ticks: int = 0


class Protocol:
    """The steps of every worker.

    An unchanged delivery of a state older than `renewed_after` writes it anew; with None it takes
    the current time and writes nothing.
    """

    def __init__(
        self, *, renewed_after: int | None, verifies: bool = True, lagging: bool = False
    ) -> None:
        self.renewed_after = renewed_after
        self.verifies = verifies
        self.lagging = lagging

    def next(self, world: World) -> Iterator[World]:
        """Return every world that one step leads to."""
        for number, worker in enumerate(world.workers):
            # Nobody sees a post before it arrives: what others do meanwhile, they may do after.
            if worker.step == "post":
                yield from self._next_of(world, number, worker)
                return
        if world.ticks:
            yield replace(world, now=world.now + 1, ticks=world.ticks - 1)
        for post in world.on_the_way:
            yield self._arrive(world, post)
        for number, worker in enumerate(world.workers):
            if worker.step != "done":
                yield from self._next_of(world, number, worker)

    def _next_of(self, world: World, number: int, worker: Worker) -> Iterator[World]:
        # A crash before a save leaves nothing behind, and one after a post what it leaves while
        # the post is on its way.
        if worker.crashes and worker.step in {"post", "waiting"}:
            yield without_dead_posts(put(world, number, Worker(crashes=worker.crashes - 1)))
        if worker.step != "waiting":
            yield from getattr(self, f"_{worker.step}")(world, number, worker)

    def _read(self, world: World, number: int, worker: Worker) -> Iterator[World]:
        yield self._merge(world, number, worker, world.kept)
        if self.lagging and world.before != world.kept:
            yield self._merge(world, number, worker, world.before)

    def _reread(self, world: World, number: int, worker: Worker) -> Iterator[World]:
        yield self._merge(world, number, worker, world.kept)

    def _merge(self, world: World, number: int, worker: Worker, read: Kept) -> World:
        if read.merged >> number & 1:
            if self.renewed_after is None:
                timestamp = max(world.now, read.timestamp)
            elif read.timestamp >= world.now - self.renewed_after:
                timestamp = read.timestamp
            else:
                timestamp = max(world.now, read.timestamp + 1)
                renewed = replace(read, version=read.version + 1, timestamp=timestamp)
                worker = replace(worker, step="save", held=renewed, timestamp=timestamp)
                return put(world, number, worker)
            return put(world, number, replace(worker, step="post", held=read, timestamp=timestamp))
        merged = Kept(
            version=read.version + 1,
            timestamp=max(world.now, read.timestamp + 1),
            merged=read.merged | 1 << number,
            named_by=max(read.named_by, number),
        )
        worker = replace(worker, step="save", held=merged, timestamp=merged.timestamp)
        return put(world, number, worker)

    def _save(self, world: World, number: int, worker: Worker) -> Iterator[World]:
        if world.kept.version != worker.held.version - 1:
            yield put(world, number, Worker("reread", crashes=worker.crashes))
        else:
            before = world.kept if self.lagging else world.before
            posting = replace(worker, step="post")
            yield put(world, number, posting, kept=worker.held, before=before)

    def _post(self, world: World, number: int, worker: Worker) -> Iterator[World]:
        held = worker.held
        named_by = number if held.named_by == number else -1
        post = Post(worker.timestamp, held.merged, named_by, number)
        on_the_way = world.on_the_way | {post}
        yield put(world, number, replace(worker, step="waiting"), on_the_way=on_the_way)

    def _arrive(self, world: World, post: Post) -> World:
        shown = world.shown
        if post.timestamp >= shown.timestamp:
            named_by = post.named_by if post.named_by >= 0 else shown.named_by
            shown = Post(post.timestamp, post.merged, named_by, sender=-1)
        worker = world.workers[post.sender]
        if waits_for(worker, post):
            worker = replace(worker, step="verify") if self.verifies else Worker("done")
        on_the_way = world.on_the_way - {post}
        return without_dead_posts(
            put(world, post.sender, worker, on_the_way=on_the_way, shown=shown)
        )

    def _verify(self, world: World, number: int, worker: Worker) -> Iterator[World]:
        if world.kept.version == worker.held.version:
            yield put(world, number, Worker("done"))
        else:
            newest = world.kept
            timestamp = newest.timestamp
            if self.renewed_after is None:
                timestamp = max(world.now, newest.timestamp)
            again = replace(worker, step="post", held=newest, timestamp=timestamp)
            yield put(world, number, again)


def put(world: World, number: int, worker: Worker, **changes: Any) -> World:
    workers = (*world.workers[:number], worker, *world.workers[number + 1 :])
    return replace(world, workers=workers, **changes)


def waits_for(worker: Worker, post: Post) -> bool:
    return worker.step == "waiting" and worker.timestamp == post.timestamp


def without_dead_posts(world: World) -> World:
    """Drop each post that will change nothing: older than what is shown, and awaited by nobody.

    With them there would be half as many worlds again, each the same as one without.
    """
    alive = frozenset(
        post
        for post in world.on_the_way
        if post.timestamp >= world.shown.timestamp or waits_for(world.workers[post.sender], post)
    )
    return replace(world, on_the_way=alive) if alive != world.on_the_way else world


def is_end(world: World) -> bool:
    return not world.on_the_way and all(worker.step == "done" for worker in world.workers)


def stale(protocol: Protocol, workers: int, *, ticks: int, crashes: int = 0) -> World | None:
    """Return an end world in which Customer.io does not show the newest state."""
    start = World(workers=(Worker(crashes=crashes),) * workers, ticks=ticks)
    newest = ((1 << workers) - 1, workers - 1)

    def is_right(world: World) -> bool:
        return (world.shown.merged, world.shown.named_by) == newest

    return wrong_end(start, steps=protocol.next, is_end=is_end, is_right=is_right)


# Each of these visits every world there is, up to 123,000.
@pytest.mark.parametrize(
    ("workers", "ticks", "crashes", "lagging"),
    [(2, 3, 0, False), (2, 3, 2, True), (3, 3, 0, False), (3, 3, 0, True), (3, 0, 1, True)],
)
def test_whatever_the_order_the_newest_state_is_what_customerio_shows(
    workers, ticks, crashes, lagging
) -> None:
    protocol = Protocol(renewed_after=1, lagging=lagging)

    assert not stale(protocol, workers, ticks=ticks, crashes=crashes)


def test_an_unchanged_delivery_as_new_as_the_clock_would_shut_out_a_change() -> None:
    assert stale(Protocol(renewed_after=None), 2, ticks=2, crashes=1)


def test_without_the_verifying_read_a_name_would_be_lost() -> None:
    assert stale(Protocol(renewed_after=1, verifies=False), 2, ticks=1)

"""Worlds: visits every state that a model of concurrent workers can reach, until one ends wrong.

A model says what one step leads to. Nothing here knows what a step is.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar

World = TypeVar("World", bound=Hashable)


def wrong_end(
    start: World,
    *,
    steps: Callable[[World], Iterable[World]],
    is_end: Callable[[World], bool],
    is_right: Callable[[World], bool],
) -> World | None:
    """Return a reachable world in which all is done and something is wrong; None if there is none.

    Raises AssertionError if there is no reachable world in which all is done.
    """
    seen = {start}
    to_visit = [start]
    has_ended = False
    while to_visit:
        world = to_visit.pop()
        if is_end(world):
            if not is_right(world):
                return world
            has_ended = True
            continue
        for reached in steps(world):
            if reached not in seen:
                seen.add(reached)
                to_visit.append(reached)
    assert has_ended, "no world comes to an end"
    return None

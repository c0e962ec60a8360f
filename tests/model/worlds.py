"""Worlds: visits every state that a model of concurrent workers can reach.

A model says what one step leads to. Nothing here knows what a step is.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar

World = TypeVar("World", bound=Hashable)


def ends(
    start: World,
    *,
    steps: Callable[[World], Iterable[World]],
    is_end: Callable[[World], bool],
) -> tuple[set[World], int]:
    """Return every reachable world in which all is done, and how many worlds were visited."""
    # Worlds have no cycles, and each collection would go through all of them: half of the time.
    gc.disable()
    try:
        return _ends(start, steps, is_end)
    finally:
        gc.enable()


def _ends(
    start: World,
    steps: Callable[[World], Iterable[World]],
    is_end: Callable[[World], bool],
) -> tuple[set[World], int]:
    seen = {start}
    ended: set[World] = set()
    to_visit = [start]
    while to_visit:
        world = to_visit.pop()
        if is_end(world):
            ended.add(world)
            continue
        for reached in steps(world):
            if reached not in seen:
                seen.add(reached)
                to_visit.append(reached)
    return ended, len(seen)

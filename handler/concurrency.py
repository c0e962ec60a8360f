"""Concurrency: the same call for several items at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def side_by_side(
    executor: Executor, call: Callable[[_Item], _Result], items: Sequence[_Item]
) -> list[_Result]:
    """Call for several items side by side; return the results in order."""
    # Call for a single item in this thread: a switch of threads costs more than it saves.
    run = map if len(items) == 1 else executor.map
    return list(run(call, items))


def slices(items: Sequence[_Item], size: int) -> list[Sequence[_Item]]:
    """Cut items into parts of so many."""
    return [items[start : start + size] for start in range(0, len(items), size)]

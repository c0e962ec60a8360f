"""Packing: items put into as few groups as limits on their size and number allow."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

_Item = TypeVar("_Item")


def packed(
    items: Iterable[_Item],
    size_of: Callable[[_Item], int],
    *,
    max_size: int,
    max_items: int = sys.maxsize,
    count_of: Callable[[_Item], int] = lambda _: 1,
) -> Iterator[list[_Item]]:
    """Yield items, in their order, in groups within both limits; a larger item goes alone.

    `count_of` returns how many items an item counts as.
    """
    group: list[_Item] = []
    size = count = 0
    for item in items:
        own_size, own_count = size_of(item), count_of(item)
        if group and (count + own_count > max_items or size + own_size > max_size):
            yield group
            group, size, count = [], 0, 0
        group.append(item)
        size += own_size
        count += own_count
    if group:
        yield group

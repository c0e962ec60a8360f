"""Packing: items put into as few groups as limits on their size and number allow."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

_Item = TypeVar("_Item")


def packed(
    items: Iterable[_Item],
    size_of: Callable[[_Item], int],
    *,
    max_size: int,
    max_items: int | None = None,
) -> Iterator[list[_Item]]:
    """Yield items, in their order, in groups within both limits; a larger item goes alone."""
    group: list[_Item] = []
    size = 0
    for item in items:
        own = size_of(item)
        if group and (len(group) == max_items or size + own > max_size):
            yield group
            group, size = [], 0
        group.append(item)
        size += own
    if group:
        yield group

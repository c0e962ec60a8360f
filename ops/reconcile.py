"""Reconcile: compares a file of changes with the table, and finds the changes that are missing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Final

from handler.domain.change_messages import Change
from handler.domain.membership import PersonState
from handler.table.people import Page
from ops.change_files import Row
from ops.change_rows import RowError
from ops.comparison import Comparison
from ops.imports import MOST_SHOWN, BadRow
from ops.stack import NO_DEADLINE
from ops.table import opened

if TYPE_CHECKING:
    from ops.stack import Aws, Stack

_STEP: Final = 1000
"""Rows after which the progress is shown again."""

_BATCH: Final = 1000
"""People who are read again at a time, to send their exits."""


def add_rows(
    comparison: Comparison, rows: Iterable[Row], *, on_rows: Callable[[int], None]
) -> tuple[int, list[BadRow]]:
    """Add all rows of a file; return the number of bad ones, and the first of them."""
    count = 0
    shown: list[BadRow] = []
    for place, row in enumerate(rows, 1):
        if not isinstance(row.content, RowError):
            comparison.add(row.content)
        else:
            count += 1
            if len(shown) < MOST_SHOWN:
                shown.append(BadRow(row.part, row.line, str(row.content)))
        if place % _STEP == 0:
            on_rows(_STEP)
    return count, shown


def compare(comparison: Comparison, pages: Iterable[Page]) -> int:
    """Compare the rows that were added with all people; return how many cannot be read."""
    unreadable = 0
    for page in pages:
        for key, state in page.people.items():
            if isinstance(state, PersonState):
                comparison.compare(key, state)
            else:
                unreadable += 1
    comparison.finish()
    return unreadable


def differences(
    aws: Aws, stack: Stack, comparison: Comparison, rows: Iterable[Row], names: Mapping[int, str]
) -> Iterator[Change]:
    """Yield the changes that make the table agree with the file.

    First the exits of people whom only the table has, who are read again, then what the file says.
    `names`: what audiences are called. Raises RetryableError.
    """
    extra = comparison.extra()
    with opened(aws, stack) as table:
        while batch := [*islice(extra, _BATCH)]:
            keys = [*dict.fromkeys(key for key, _ in batch)]
            states = table.people.load(keys, consistent=False, deadline=NO_DEADLINE)
            for key, audience_id in batch:
                state = states[key]
                if not isinstance(state, PersonState):
                    raise state
                name = names.get(audience_id, "")
                if change := comparison.exit_of(key, audience_id, name, state):
                    yield change
    for row in rows:
        if not isinstance(row.content, RowError):
            change = comparison.difference(row.content)
            if change is not None:
                yield change

"""Table: people, catalogues and erasures."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from typing import TYPE_CHECKING

import msgspec

from handler.clock import Now, Sleep
from handler.table.audiences import Audiences
from handler.table.erasures import Erasures
from handler.table.items import Items
from handler.table.people import People

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


class Table(msgspec.Struct, frozen=True):
    """The people in a table, the audiences of their workspaces, and who was erased."""

    people: People
    audiences: Audiences
    erasures: Erasures


def open_table(
    dynamodb: DynamoDBClient,
    name: str,
    executor: Executor,
    *,
    backoff: Callable[[int], float],
    now: Now,
    sleep: Sleep,
    on_full: Callable[[int], None] = lambda _: None,
) -> Table:
    """Return a table by its name; nothing is read yet.

    `backoff` gives the seconds before a round of calls, from 1; `on_full` gets the number of
    audiences that a full catalogue would have.
    """
    items = Items(dynamodb, name, executor, backoff, sleep)
    audiences = Audiences(items, now=now, on_full=on_full)
    return Table(People(items, audiences), audiences, Erasures(items))

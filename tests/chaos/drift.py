"""Drift: whom `ops reconcile` would find to differ, by a file of all that was sent."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import boto3

from handler.domain.change_messages import Change
from handler.table.table import open_table
from local.stack import Stack
from ops.comparison import Comparison
from ops.reconcile import compare
from ops.stack import NO_DEADLINE
from tests.chaos import model
from tests.chaos.changes import Sent


def of(stack: Stack, sent: Iterable[Sent]) -> int:
    """Return how many memberships of the people in the story differ from the table's.

    Whoever else is in the table is of another story.
    """
    rows: defaultdict[str, list[Change]] = defaultdict(list)
    for site_id, change in model.memberships(sent):
        rows[site_id].append(change)
    drift = 0
    with ThreadPoolExecutor(1) as executor:
        table = open_table(
            boto3.client("dynamodb", **stack.emulator.client_options),
            stack.physical_name("MembershipsTable"),
            executor,
            backoff=lambda _: 1.0,
            now=time.time,
            sleep=time.sleep,
        )
        for site_id, changes in rows.items():
            comparison = Comparison(site_id, int(time.time() * 1000), "customer")
            for change in changes:
                comparison.add(change)
            unreadable = compare(comparison, table.people.pages(0, 1, deadline=NO_DEADLINE))
            drift += unreadable + sum(comparison.difference(each) is not None for each in changes)
    return drift

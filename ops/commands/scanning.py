"""Scanning: what commands say and show while they read the whole table."""

from __future__ import annotations

from collections.abc import Iterator

import click

from handler.table.people import Page
from ops import scan, show
from ops.commands.context import OK, PROBLEM, Context
from ops.scan import Estimate


def estimate(context: Context) -> Estimate:
    """Say what reading the whole table takes, and return it."""
    estimated = scan.estimate(context.aws, context.stack)
    context.tell(show.estimate(estimated))
    return estimated


def pages(context: Context, estimated: Estimate) -> Iterator[Page]:
    """Yield the pages of the table, with a progress bar."""
    with context.progress() as bar:
        task = bar.add_task("Reading, items", total=estimated.items)
        for page in scan.pages(context.aws, context.stack):
            yield page
            bar.advance(task, page.scanned)


def status(unreadable: int) -> int:
    """Return the exit status; say so if people could not be read."""
    if not unreadable:
        return OK
    text = f"{unreadable} people are missing, as they cannot be read: a newer version wrote them?"
    click.echo(text, err=True)
    return PROBLEM

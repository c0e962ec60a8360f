"""Following: what commands show of a walk while it is on its way."""

from __future__ import annotations

import time
from typing import Final

import click

from ops import show_walks, walks
from ops.commands.context import OK, PROBLEM, Context
from ops.walks import WalkStatus

_POLL_S: Final = 2.0


def follow(context: Context, name: str) -> WalkStatus:
    """Show the progress of a walk until it ends, and return how it ended."""
    with context.progress() as bar:
        task = bar.add_task("Walking, segments of the table", total=None)
        try:
            while (status := walks.status(context.aws, context.stack, name)).is_running:
                bar.update(task, total=status.segments or None, completed=status.segments_done)
                time.sleep(_POLL_S)
        except KeyboardInterrupt:
            click.echo(f"The walk goes on. `ops walk stop {name}` stops it.", err=True)
            raise
    return status


def ended(context: Context, status: WalkStatus) -> int:
    """Show how a walk stands, and return the exit status."""
    context.output(status, show_walks.walk(status, time.time()))
    return OK if status.is_in_order else PROBLEM

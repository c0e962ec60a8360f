"""Walk: the commands for walks over the table that are on their way, or were."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click
from botocore.exceptions import ClientError

from ops import show_walks, walks
from ops.commands import following, options
from ops.commands.context import OK, PROBLEM, Context


@click.group()
def walk() -> None:
    """Show, stop or redrive walks over the table: resyncs and removed audiences."""


@walk.command("show")
@click.argument("name", required=False)
@click.option("--follow", is_flag=True, help="Show the progress until the walk ends.")
@options.shared
def walk_show(*, name: str | None, follow: bool) -> int:
    """Show the walk NAME, or the last ones."""
    context = Context.current()
    if name is None:
        statuses = walks.recent(context.aws, context.stack)
        context.output(statuses, show_walks.listed(statuses, context.now))
        return OK if all(status.is_in_order for status in statuses) else PROBLEM
    with _known(name):
        if follow:
            status = following.follow(context, name)
        else:
            status = walks.status(context.aws, context.stack, name)
    return following.ended(context, status)


@walk.command("stop")
@click.argument("name")
@options.yes
@options.shared
def walk_stop(name: str, *, yes: bool) -> int:
    """Stop the walk NAME. Whoever was delivered stays delivered; a redrive goes on from there."""
    context = Context.current()
    with _known(name):
        status = walks.status(context.aws, context.stack, name)
    if not status.is_running:
        context.output(status, f"{name} is not on its way: {status.status}.")
        return PROBLEM
    context.confirm(f"Stop the walk {name}?", yes=yes)
    walks.stop(context.aws, context.stack, name)
    context.output({"stopped": name}, f"{name} is stopped. `ops walk redrive {name}` goes on.")
    return OK


@walk.command("redrive")
@click.argument("name")
@options.yes
@options.shared
def walk_redrive(name: str, *, yes: bool) -> int:
    """Let the walk NAME go on, which failed or was stopped, for up to 14 days after its end."""
    context = Context.current()
    context.confirm(f"Redrive the walk {name}?", yes=yes)
    with _known(name):
        walks.redrive(context.aws, context.stack, name)
    context.output({"redriven": name}, f"{name} goes on. `ops walk show {name}` shows how far.")
    return OK


@contextmanager
def _known(name: str) -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        if error.response["Error"]["Code"] != "ExecutionDoesNotExist":
            raise
        reason = f"no walk has the name {name}; `ops walk show` lists the last ones"
        raise click.UsageError(reason) from None

"""Audiences: the command that lists audiences by name and size."""

from __future__ import annotations

from collections.abc import Sequence

import click

from ops import audiences, show
from ops.commands import options, scanning, scope
from ops.commands.context import OK, Context


@click.command("audiences")
@options.site_id
@click.option("--sizes", is_flag=True, help="Count the members, which reads the whole table.")
@options.yes
@options.shared
def audiences_command(site_id: Sequence[str], *, sizes: bool, yes: bool) -> int:
    """List audiences: id, present name, former names, members, and whether mParticle removed them.

    Only audiences are known that a message named since this version was installed, or that have
    members. With --sizes, it says first what it takes, and asks.
    """
    context = Context.current()
    site_ids = scope.workspaces(context, site_id)
    counted = None
    if sizes:
        estimated = scanning.estimate(context)
        context.confirm("Read the whole table?", yes=yes)
        counted = audiences.sizes(scanning.pages(context, estimated), site_ids)
    listed = audiences.listed(audiences.catalogues(context.aws, context.stack, site_ids), counted)
    context.output(listed, show.audiences(listed, context.now))
    return OK if counted is None else scanning.status(counted.unreadable)

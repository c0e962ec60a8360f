"""Audiences: the command that lists audiences by name."""

from __future__ import annotations

from collections.abc import Sequence

import click

from ops import audiences, show
from ops.commands import options
from ops.commands.context import OK, Context


@click.command("audiences")
@options.site_id
@options.shared
def audiences_command(site_id: Sequence[str]) -> int:
    """List audiences: id, present name, former names, and whether mParticle removed them.

    Only audiences are known that a message named since this version was installed.
    """
    context = Context.current()
    site_ids = site_id or context.site_ids
    catalogues = audiences.catalogues(context.aws, context.stack, site_ids)
    listed = audiences.listed(catalogues)
    context.output(listed, show.audiences(listed, context.now))
    return OK

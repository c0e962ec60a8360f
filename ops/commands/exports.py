"""Exports: the command that writes a workspace's memberships to a file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from ops import audiences, exports
from ops.commands import options, scanning, scope
from ops.commands.context import OK, Context
from ops.exports import Selection
from ops.whole_file import whole_file


@click.command("export")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--site-id", help="Workspace; by default the only one in the secret.")
@click.option("--audience", help="Audience, by its id or a name; by default all.")
@click.option("--dry-run", is_flag=True, help="Only show what it takes.")
@options.reveal
@options.yes
@options.shared
def export_command(
    file: Path,
    *,
    site_id: str | None,
    audience: str | None,
    dry_run: bool,
    reveal: bool,
    yes: bool,
) -> int:
    """Write who is in which audience to a file, or has left it in the last 30 days.

    FILE ends in .csv or .jsonl, and does not exist yet. It appears once it is complete. Only with
    --reveal it has customer ids and emails, and `ops import` can read it. docs/operations.md, "To
    export people", explains the columns.
    """
    context = Context.current()
    if file.suffix not in exports.WRITERS:
        raise click.UsageError(f"{file}: must end in {' or '.join(exports.WRITERS)}")
    if file.exists():
        raise click.UsageError(f"{file}: exists already")
    if not file.parent.is_dir():
        raise click.UsageError(f"{file}: cannot be written: {file.parent} is no folder")
    selection = _selection(context, site_id, audience, reveal=reveal)
    estimated = scanning.estimate(context)
    if dry_run:
        context.output(estimated)
        return OK
    context.confirm(f"Write workspace {selection.site_id} to {file}?", yes=yes)
    with _usable(file), whole_file(file) as opened:
        write = exports.WRITERS[file.suffix](opened, selection.columns)
        exported = exports.export(scanning.pages(context, estimated), selection, write)
    context.output(
        exported,
        f"Wrote {exported.memberships:,} rows, of {exported.people:,} people, to {file}.",
    )
    return scanning.status(exported.unreadable)


def _selection(
    context: Context, site_id: str | None, audience: str | None, *, reveal: bool
) -> Selection:
    site_ids = scope.workspaces(context, [] if site_id is None else [site_id])
    if len(site_ids) > 1:
        raise click.UsageError(f"choose a workspace with --site-id: {', '.join(site_ids)}")
    (site_id,) = site_ids
    catalogue = audiences.catalogues(context.aws, context.stack, [site_id])[site_id]
    chosen = None if audience is None else scope.audience_ids(audience, [catalogue])
    return Selection(site_id, catalogue, chosen, reveal)


@contextmanager
def _usable(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise click.UsageError(f"{file}: cannot be written: {error.strerror}") from error

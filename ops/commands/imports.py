"""Imports: the command that puts a file of changes on the queue."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click

from ops import imports, prices, show, show_changes
from ops.commands import options
from ops.commands.change_input import ChangeInput, change_options, rate_option
from ops.commands.context import OK, USAGE, Context
from ops.downloads import FileError
from ops.imports import BadRow, Importer, Progress, Survey

_UNNAMED: Final = (
    "Somebody whom mParticle's messages name with an MPID becomes a second person in the table by "
    'these: see "To import people" in docs/operations.md.'
)


@click.command("import")
@change_options
@click.option("--skip-bad", is_flag=True, help="Leave out bad rows, and send all others.")
@rate_option
@click.option("--dry-run", is_flag=True, help="Only check the file, and show what would be sent.")
@options.yes
@options.shared
def import_command(*, skip_bad: bool, rate: int, dry_run: bool, yes: bool, **given: Any) -> int:
    """Send the membership changes in a file to the queue.

    FILE is CSV or JSON lines with the columns customer_id, email, mpid, person_hash, audience_id,
    audience_name, action (entered or left) and since. Or it is mParticle's download of an
    audience, as an archive or a folder. Every row is checked before anything is sent.

    If you stop the command, start it again: it goes on where FILE.progress says.
    See "To import people" in docs/operations.md for the rules.
    """
    context = Context.current()
    read = ChangeInput.of(context, **given)
    fingerprint = read.fingerprint(context.stack.queue_url, skip_bad)
    progress = _begun(read.file, fingerprint)
    bad: list[BadRow] = []
    if progress is None:
        survey, bad = _survey(context, read)
        if not survey.rows:
            raise click.UsageError(f"{read.file} has no rows")
        if bad and not skip_bad:
            advice = "Nothing was sent. `--skip-bad` leaves them out."
            shown = show_changes.bad_rows(survey.bad, bad, advice=advice)
            context.output({"bad": survey.bad, "rows": bad}, shown)
            return USAGE
        progress = Progress(fingerprint, read.made_ms, survey)
    elif progress.is_done:
        text = "All of it was sent before. To send it again, delete {}."
        context.output(progress, text.format(imports.progress_path(read.file)))
        return OK
    if bad:
        context.tell(show_changes.bad_rows(progress.survey.bad, bad, advice=""))
    context.tell("\n".join(_plan(read, progress, rate, context.now)))
    if dry_run:
        context.output(progress, "Nothing was sent.")
        return OK
    context.confirm(f"Send {progress.left:,} changes to {context.stack.queue_url}?", yes=yes)
    read.require_unchanged()
    try:
        imports.save(read.file, progress)
        _send(context, read, progress, rate)
    except FileError as error:
        raise click.UsageError(str(error)) from error
    finally:
        if not progress.is_done:
            advice = f"To begin a new import, delete {imports.progress_path(read.file).name}."
            if read.content.is_unchanged:
                advice = "The same command goes on with them."
            click.echo(f"Not sent yet: {progress.left:,}. {advice}", err=True)
    context.output(progress, f"Sent: {progress.survey.changes:,}.")
    return OK


def _begun(file: Path, fingerprint: str) -> Progress | None:
    """Return the progress of an import that has begun; it must be the same one."""
    path = imports.progress_path(file)
    try:
        progress = imports.load(file)
    except (OSError, ValueError) as error:
        raise click.UsageError(f"{path}: {error}. To begin a new import, delete it") from error
    if progress is not None and progress.fingerprint != fingerprint:
        raise click.UsageError(
            f"{path} is of an import with another content of the file, into another stack, or "
            f"with other options. To begin a new import, delete {path.name}"
        )
    return progress


def _survey(context: Context, read: ChangeInput) -> tuple[Survey, list[BadRow]]:
    with context.progress() as bar:
        task = bar.add_task("Checking, rows", total=None)
        return imports.survey(
            read.rows(read.made_ms),
            on_rows=lambda count: bar.advance(task, count),
        )


def _send(context: Context, read: ChangeInput, progress: Progress, rate: int) -> None:
    importer = Importer(
        context.aws, context.stack, read.account_id, rate, sleep=time.sleep, clock=time.monotonic
    )
    with context.progress() as bar:
        task = bar.add_task(
            "Sending", total=progress.survey.changes, completed=progress.sent_changes
        )
        importer.run(
            read.file,
            read.rows(progress.as_of_ms),
            progress,
            check=read.require_unchanged,
            on_sent=lambda count: bar.advance(task, count),
        )


def _plan(read: ChangeInput, progress: Progress, rate: int, now: float) -> Iterator[str]:
    survey = progress.survey
    account = "" if read.account_id is None else f" for account {read.account_id}"
    cost = prices.of_changes(survey.changes, messages=survey.messages)
    yield (
        f"{read.file}: rows: {survey.rows:,}, changes: {survey.changes:,}, "
        f"messages: {survey.messages:,}."
    )
    if survey.bad:
        yield f"Bad rows, which are left out: {survey.bad:,}."
    if survey.unaddressed:
        yield f"People without a customer id or an email, left out: {survey.unaddressed:,}."
    if survey.unnamed:
        yield f"Changes without mpid and person_hash: {survey.unnamed:,}. {_UNNAMED}"
    if progress.sent_changes:
        yield f"Sent before: {progress.sent_changes:,}."
    yield f"Rows without `since` count as of {show.since(progress.as_of_ms / 1000, now)}."
    yield (
        f"The changes go to workspace {read.workspace.site_id}{account}. Sending them takes "
        f"{show.duration(progress.left / rate)}. Cost: {show.dollars(cost)}."
    )

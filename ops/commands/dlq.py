"""Dlq: the commands for the messages in the dead-letter queue."""

from __future__ import annotations

from collections.abc import Collection, Generator, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Final

import click

from ops import dead_letters, show
from ops.commands import options
from ops.commands.context import OK, PROBLEM, Context
from ops.dead_letter_queue import HIDDEN_S, Redriven
from ops.dead_letters import DeadLetter, Selection
from ops.masking import summary

_ERROR_TYPES: Final = (
    f"One of {', '.join(sorted(dead_letters.ERROR_TYPES))}, or a type of an older version. "
    f"`{dead_letters.MOVED_BY_SQS}` stands for messages that SQS itself moved."
)


def _selection_options(command: options.Command) -> options.Command:
    """Add the options that choose messages."""
    for name, about in (
        ("--source-message-id", "Only what came from this message. Repeat for more."),
        ("--error-type", f"Only this error type. Repeat for more. {_ERROR_TYPES}"),
    ):
        command = click.option(name, multiple=True, help=about)(command)
    return command


@click.group()
def dlq() -> None:
    """List, show, redrive, save or delete dead letters."""


@dlq.command("list")
@_selection_options
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=1000,
    show_default=True,
    help="Read at most so many messages.",
)
@options.shared
def dlq_list(error_type: Sequence[str], source_message_id: Sequence[str], limit: int) -> int:
    """List messages by error type: how many, how old, and why."""
    context = Context.current()
    selection = _selection(context, error_type, source_message_id)
    count = context.queue.count()
    read = [letter for batch in _walk(context, "Reading", most=limit) for letter in batch]
    groups = dead_letters.group_by_error_type(filter(selection.includes, read))
    title = f"Read {len(read)} of about {max(count, len(read))} dead letters"
    context.output(groups, show.groups(title, groups, context.now))
    return PROBLEM if _warn_if_hidden(context) or read else OK


@dlq.command("show")
@click.argument("source_message_id", required=False)
@click.option("--error-type", multiple=True, help="The first message of this error type.")
@options.reveal
@options.shared
def dlq_show(source_message_id: str | None, error_type: Sequence[str], *, reveal: bool) -> int:
    """Show one message, or the first one if none is named.

    Without --reveal, a summary takes the place of the body: audiences, types and times, and no
    personal data.
    """
    context = Context.current()
    ids = [source_message_id] if source_message_id else []
    selection = _selection(context, error_type, ids)
    with closing(_walk(context, "Reading")) as walk:
        letters = (letter for batch in walk for letter in batch)
        letter = next(filter(selection.includes, letters), None)
    if letter is None:
        _warn_if_hidden(context)
        raise click.ClickException("no such message is in the dead-letter queue")
    body: object = letter.body
    if not reveal:
        kind = context.settings.delivery_options.customer_id_type
        body = summary(letter.body, now=context.now, customer_id_type=kind)
    shown = asdict(letter) | {"body": body}
    rows = [(name, value) for name, value in shown.items() if name not in {"body", "sent_at"}]
    rows.append(("sent_at", show.since(letter.sent_at, context.now)))
    context.output(shown, show.table("Dead letter", "", "", rows=rows), show.pretty(body))
    return OK


@dlq.command("redrive")
@_selection_options
@click.option("--dry-run", is_flag=True, help="Only show what would be sent.")
@click.option(
    "--rate",
    type=click.IntRange(1, 500),
    default=50,
    show_default=True,
    help="Send at most so many messages a second.",
)
@options.yes
@options.shared
def dlq_redrive(
    error_type: Sequence[str],
    source_message_id: Sequence[str],
    rate: int,
    *,
    dry_run: bool,
    yes: bool,
) -> int:
    """Send messages to the source queue again, once the cause is fixed.

    Each message is sent first and deleted after. If you stop the command, nothing is lost: start
    it again for the rest. Messages that arrive twice do no harm.
    """
    context = Context.current()
    selection = _selection(context, error_type, source_message_id)
    if dry_run:
        letters = (letter for batch in _walk(context, "Reading") for letter in batch)
        groups = dead_letters.group_by_error_type(filter(selection.includes, letters))
        context.output(groups, show.groups("Would be sent", groups, context.now))
        is_empty = _warn_if_nothing_matched(source_message_id, len(groups))
        return PROBLEM if _warn_if_hidden(context) or is_empty else OK
    which = "all" if selection.is_all else "the chosen ones"
    context.confirm(f"Redrive {which} of about {context.queue.count()} dead letters?", yes=yes)
    results: list[Redriven] = []
    with closing(_walk(context, "Redriving")) as walk:
        for batch in walk:
            results += context.queue.redrive([*filter(selection.includes, batch)], rate=rate)
    total = Redriven(
        sent=sum(result.sent for result in results),
        not_sent=sum(result.not_sent for result in results),
        not_deleted=sum(result.not_deleted for result in results),
    )
    context.output(
        total,
        f"Sent {total.sent}. Not sent, so still in the dead-letter queue: {total.not_sent}. "
        f"Sent but not deleted, so they arrive twice: {total.not_deleted}.",
    )
    is_empty = _warn_if_nothing_matched(source_message_id, total.sent + total.not_sent)
    is_incomplete = _warn_if_hidden(context) or total.not_sent or total.not_deleted
    return PROBLEM if is_empty or is_incomplete else OK


@dlq.command("save")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@_selection_options
@options.shared
def dlq_save(file: Path, error_type: Sequence[str], source_message_id: Sequence[str]) -> int:
    """Copy messages to a new file, for `ops send`. It will contain personal data."""
    context = Context.current()
    selection = _selection(context, error_type, source_message_id)
    count = 0
    try:
        file.touch(mode=0o600, exist_ok=False)
    except OSError as error:
        raise click.UsageError(f"{file}: {error.strerror}") from error
    with file.open("w", encoding="utf-8") as saved, closing(_walk(context, "Saving")) as walk:
        for letter in (letter for batch in walk for letter in batch if selection.includes(letter)):
            saved.write(dead_letters.to_line(letter))
            count += 1
    context.output({"saved": count}, f"Saved {count} to {file}, which contains personal data.")
    return PROBLEM if _warn_if_hidden(context) else OK


@dlq.command("purge")
@click.option("--error-type", multiple=True, required=True, help="Repeat for more.")
@click.option(
    "--saved",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Only messages that are in this file, which `dlq save` wrote.",
)
@options.yes
@options.shared
def dlq_purge(error_type: Sequence[str], saved: Path | None, *, yes: bool) -> int:
    """Permanently delete messages of an error type; `dlq save` them first."""
    context = Context.current()
    ids = None if saved is None else options.content(saved, dead_letters.read_ids)
    selection = _selection(context, error_type)
    types = ", ".join(error_type)
    which = (
        f"the dead letters of type {types} that are in {saved}"
        if saved
        else (f"every dead letter of type {types}")
    )
    context.confirm(f"Permanently delete {which}?", yes=yes)
    deleted = failed = 0
    with closing(_walk(context, "Deleting")) as walk:
        for batch in walk:
            chosen = [
                letter
                for letter in filter(selection.includes, batch)
                if ids is None or letter.id in ids
            ]
            not_deleted = context.queue.delete(chosen)
            deleted, failed = deleted + len(chosen) - not_deleted, failed + not_deleted
    context.output({"deleted": deleted, "failed": failed}, f"Deleted {deleted}. Failed: {failed}.")
    is_empty = _warn_if_nothing_matched(ids, deleted + failed)
    return PROBLEM if _warn_if_hidden(context) or is_empty or failed else OK


def _selection(
    context: Context, error_type: Sequence[str], source_message_id: Sequence[str] = ()
) -> Selection:
    """Return the selection. Error types that nobody knows, nor the queue has, are wrong usage."""
    if unknown := {*error_type} - dead_letters.ERROR_TYPES:
        present = {letter.error_type for batch in _walk(context, "Reading") for letter in batch}
        if unknown - present:
            raise click.UsageError(
                f"there is no error type {', '.join(sorted(unknown - present))}; "
                f"in the dead-letter queue: {', '.join(sorted(present)) or 'nothing'}; "
                f"known: {', '.join(sorted(dead_letters.ERROR_TYPES))}"
            )
    return Selection(frozenset(error_type), frozenset(source_message_id))


def _walk(
    context: Context, doing: str, *, most: int | None = None
) -> Generator[list[DeadLetter], None, None]:
    """Walk through the dead letters, with a progress bar."""
    with closing(context.queue.walk(most=most)) as walk, context.progress() as bar:
        count = context.queue.count()
        task = bar.add_task(doing, total=count if most is None else min(count, most))
        for batch in walk:
            bar.advance(task, len(batch))
            yield batch


def _warn_if_nothing_matched(named: Collection[str] | None, matched: int) -> bool:
    """Warn if messages were named and none of them is in the queue; return whether it is so."""
    is_empty = bool(named) and not matched
    if is_empty:
        click.echo("Nothing matched: no dead letter has such an id and that type.", err=True)
    return is_empty


def _warn_if_hidden(context: Context) -> int:
    """Warn of letters that the last walk could not receive; return about how many."""
    if hidden := context.queue.hidden:
        click.echo(
            f"About {hidden} more are hidden, because somebody else has received them: "
            f"try again in {HIDDEN_S // 60} minutes.",
            err=True,
        )
    return hidden

"""Dlq: the commands for what was set aside."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Generator, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Final

import click

from ops import dead_letters, show
from ops.commands import options
from ops.commands.context import FINE, TROUBLE, Ops
from ops.dead_letters import DeadLetter, Moved, Selection
from ops.masking import masked_body

_ERROR_TYPES: Final = (
    f"One of {', '.join(sorted(dead_letters.ERROR_TYPES))}, or of an older version; "
    f"`{dead_letters.MOVED_BY_SQS}`: what SQS moved."
)


def _selection(command: options.Command) -> options.Command:
    """Give a command the options that say which letters are meant."""
    for name, about in (
        ("--source-message-id", "Only what came of this message; repeat for more."),
        ("--error-type", f"Only this error type; repeat for more. {_ERROR_TYPES}"),
    ):
        command = click.option(name, multiple=True, help=about)(command)
    return command


@click.group()
def dlq() -> None:
    """What was set aside: the messages in the dead-letter queue."""


@dlq.command("list")
@_selection
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=1000,
    show_default=True,
    help="Most messages to look at.",
)
@options.shared
def dlq_list(error_type: Sequence[str], source_message_id: Sequence[str], limit: int) -> int:
    """Messages by error type: how many, how old, and why."""
    ops = Ops.current()
    selection = _selected(ops, error_type, source_message_id)
    about = ops.letters.about()
    seen = [one for ones in _walk(ops, "Looking", most=limit) for one in ones]
    groups = dead_letters.grouped(filter(selection.takes, seen))
    title = f"Looked at {len(seen)} of about {max(about, len(seen))} dead letters"
    ops.tell(groups, show.groups(title, groups, ops.now))
    return TROUBLE if _missed(ops) or seen else FINE


@dlq.command("show")
@click.argument("source_message_id", required=False)
@click.option("--error-type", multiple=True, help="The first of this error type.")
@options.reveal
@options.shared
def dlq_show(source_message_id: str | None, error_type: Sequence[str], *, reveal: bool) -> int:
    """One message; the first that comes where none is named."""
    ops = Ops.current()
    ids = [source_message_id] if source_message_id else []
    selection = _selected(ops, error_type, ids)
    with closing(_walk(ops, "Looking")) as walk:
        letter = next((one for ones in walk for one in ones if selection.takes(one)), None)
    if letter is None:
        _missed(ops)
        raise click.ClickException("no such message is in the dead-letter queue")
    shown = asdict(letter) | {"body": letter.body if reveal else masked_body(letter.body)}
    rows = [(name, value) for name, value in shown.items() if name not in {"body", "sent_at"}]
    rows.append(("sent_at", show.since(letter.sent_at, ops.now)))
    ops.tell(shown, show.table("Dead letter", "", "", rows=rows), show.pretty(shown["body"]))
    return FINE


@dlq.command("redrive")
@_selection
@click.option("--dry-run", is_flag=True, help="Only tell what would be sent.")
@click.option(
    "--rate",
    type=click.IntRange(1, 500),
    default=50,
    show_default=True,
    help="Most messages a second.",
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
    """Send messages to the queue again, once their cause is gone.

    Each is sent first and deleted after: stopped at any point, nothing is lost, and what was sent
    twice does no harm. SQS does it by itself where everything is meant and it offers to.
    """
    ops = Ops.current()
    selection = _selected(ops, error_type, source_message_id)
    if dry_run:
        chosen = (one for ones in _walk(ops, "Looking") for one in ones if selection.takes(one))
        groups = dead_letters.grouped(chosen)
        ops.tell(groups, show.groups("Would be sent", groups, ops.now))
        return TROUBLE if _missed(ops) or _is_in_vain(source_message_id, len(groups)) else FINE
    which = "all" if selection.is_all else "the chosen ones"
    ops.agree(f"Redrive {which} of about {ops.letters.about()} dead letters?", yes=yes)
    if selection.is_all and ops.letters.start_move(rate=rate):
        return _follow(ops)
    total: Counter[str] = Counter()
    with closing(_walk(ops, "Redriving")) as walk:
        for letters in walk:
            for moved in ops.letters.redrive([*filter(selection.takes, letters)], rate=rate):
                total.update(asdict(moved))
    done = Moved(total["sent"], total["not_sent"], total["not_deleted"])
    ops.tell(
        done,
        f"Sent {done.sent}. Not sent, and still dead letters: {done.not_sent}. "
        f"Sent but not deleted, to be delivered twice: {done.not_deleted}.",
    )
    in_vain = _is_in_vain(source_message_id, done.sent + done.not_sent)
    return TROUBLE if _missed(ops) or in_vain or done.not_sent or done.not_deleted else FINE


def _follow(ops: Ops) -> int:
    with ops.progress() as bar:
        task = bar.add_task("SQS redrives, and goes on if you stop watching", total=None)
        for move in ops.letters.follow_move():
            bar.update(task, completed=move.moved, total=move.of)
    ops.tell(move, f"{move.status}: {move.moved} of about {move.of} sent. {move.failure_reason}")
    return FINE if move.status == "COMPLETED" else TROUBLE


@dlq.command("save")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@_selection
@options.shared
def dlq_save(file: Path, error_type: Sequence[str], source_message_id: Sequence[str]) -> int:
    """Copy messages to a new file, one a line; `send` takes it. It holds personal data."""
    ops = Ops.current()
    selection = _selected(ops, error_type, source_message_id)
    count = 0
    try:
        file.touch(mode=0o600, exist_ok=False)
    except OSError as error:
        raise click.UsageError(f"{file}: {error.strerror}") from error
    with file.open("w", encoding="utf-8") as saved, closing(_walk(ops, "Saving")) as walk:
        for letter in (one for ones in walk for one in ones if selection.takes(one)):
            saved.write(dead_letters.written(letter))
            count += 1
    ops.tell({"saved": count}, f"Saved {count} to {file}, which holds personal data.")
    return TROUBLE if _missed(ops) else FINE


@dlq.command("purge")
@click.option("--error-type", multiple=True, required=True, help="Which; repeat for more.")
@click.option(
    "--saved",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Only what is in this file of `dlq save`.",
)
@options.yes
@options.shared
def dlq_purge(error_type: Sequence[str], saved: Path | None, *, yes: bool) -> int:
    """Delete messages of an error type for good; `dlq save` them first."""
    ops = Ops.current()
    ids = None if saved is None else options.content(saved, dead_letters.saved_ids)
    selection = _selected(ops, error_type)
    which = f"every dead letter of type {', '.join(error_type)}"
    if saved:
        which = f"those of type {', '.join(error_type)} that are in {saved}"
    ops.agree(f"Delete {which} for good?", yes=yes)
    deleted = failed = 0
    with closing(_walk(ops, "Deleting")) as walk:
        for letters in walk:
            chosen = [
                letter
                for letter in filter(selection.takes, letters)
                if ids is None or letter.id in ids
            ]
            left = ops.letters.delete(chosen)
            deleted, failed = deleted + len(chosen) - left, failed + left
    ops.tell({"deleted": deleted, "failed": failed}, f"Deleted {deleted}. Failed: {failed}.")
    in_vain = _is_in_vain(ids, deleted + failed)
    return TROUBLE if _missed(ops) or in_vain or failed else FINE


def _selected(
    ops: Ops, error_type: Sequence[str], source_message_id: Sequence[str] = ()
) -> Selection:
    """Return what is meant; refuse an error type that neither the function nor the DLQ knows."""
    if unknown := {*error_type} - dead_letters.ERROR_TYPES:
        found = {one.error_type for ones in _walk(ops, "Looking") for one in ones}
        if unknown - found:
            raise click.UsageError(
                f"there is no error type {', '.join(sorted(unknown - found))}; "
                f"in the dead-letter queue: {', '.join(sorted(found)) or 'nothing'}; "
                f"known: {', '.join(sorted(dead_letters.ERROR_TYPES))}"
            )
    return Selection(frozenset(error_type), frozenset(source_message_id))


def _walk(
    ops: Ops, doing: str, *, most: int | None = None
) -> Generator[list[DeadLetter], None, None]:
    """Go through the letters with a bar; those not deleted are given back at the end."""
    with closing(ops.letters.walk(most=most)) as walk, ops.progress() as bar:
        about = ops.letters.about()
        task = bar.add_task(doing, total=about if most is None else min(about, most))
        for letters in walk:
            bar.advance(task, len(letters))
            yield letters


def _is_in_vain(named: Collection[str] | None, found: int) -> bool:
    """Tell whether letters were named and none of them was there, and tell of it."""
    is_in_vain = bool(named) and not found
    if is_in_vain:
        click.echo("Nothing matched: no dead letter is both so named and of that type.", err=True)
    return is_in_vain


def _missed(ops: Ops) -> int:
    """Return about how many letters the last walk did not find, and tell of them."""
    if missed := ops.letters.missed:
        click.echo(
            f"About {missed} more are hidden, as somebody else looks at them: "
            f"try again in {dead_letters.HIDDEN_S // 60} minutes.",
            err=True,
        )
    return missed

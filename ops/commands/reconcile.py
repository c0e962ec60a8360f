"""Reconcile: the command that compares a file of changes with the table."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, Final

import click

from handler.domain.change_messages import Change
from ops import audiences, reconcile, show_changes
from ops.change_files import Row
from ops.commands import options, scanning
from ops.commands.change_input import ChangeInput, change_options, rate_option
from ops.commands.context import OK, PROBLEM, USAGE, Context
from ops.comparison import Comparison
from ops.imports import Importer

_MOST_PEOPLE: Final = 1000
"""People that are shown; the counts have all."""


@click.command("reconcile")
@change_options
@click.option("--fix", is_flag=True, help="Send what differs to the queue.")
@rate_option
@options.reveal
@options.yes
@options.shared
def reconcile_command(*, fix: bool, rate: int, reveal: bool, yes: bool, **given: Any) -> int:
    """Compare the members in a file with those in the table, for each audience in the file.

    FILE is as for `ops import`, and must have all members of its audiences: whoever the table has
    in one of them, and the file has not, is to leave it. What changed after the time of the file
    is no difference.

    See "To compare a file with the table" in docs/operations.md for the rules.
    """
    context = Context.current()
    read = ChangeInput.of(context, **given)
    comparison = Comparison(read.workspace.site_id, read.made_ms, read.customer_id_type)
    with context.progress() as bar:
        task = bar.add_task("Reading the file, rows", total=None)
        count, bad = reconcile.add_rows(
            comparison, _rows(read), on_rows=lambda rows: bar.advance(task, rows)
        )
    if bad:
        advice = "Nothing was compared: without these rows, their people would seem to have left."
        shown = show_changes.bad_rows(count, bad, advice=advice)
        context.output({"bad": count, "rows": bad}, shown)
        return USAGE
    if not comparison.counts:
        raise click.UsageError(f"{read.file} has no rows, so it names no audience to compare")
    estimated = scanning.estimate(context)
    context.confirm(f"Compare {read.file} with the table?", yes=yes)
    unreadable = reconcile.compare(comparison, scanning.pages(context, estimated))
    drift = sum(counts.drift for counts in comparison.counts)
    names = _names(context, read)
    people = (
        [*islice(_differences(context, read, comparison, names), _MOST_PEOPLE)] if reveal else []
    )
    context.tell(show_changes.comparison(comparison.counts, names))
    if people:
        context.tell(show_changes.changes(people, more=drift - len(people)))
    sent = 0
    if fix and drift:
        context.confirm(f"Send {drift:,} changes to {context.stack.queue_url}?", yes=yes)
        read.require_unchanged()
        sent = _send(context, read, _differences(context, read, comparison, names), drift, rate)
    result = {"audiences": comparison.counts, "drift": drift, "sent": sent}
    context.output(
        result | ({"people": people} if reveal else {}), _verdict(drift, sent, reveal=reveal)
    )
    is_unread = scanning.status(unreadable) != OK
    return PROBLEM if is_unread or (drift and not fix) else OK


def _rows(read: ChangeInput) -> Iterator[Row]:
    return read.rows(read.made_ms)


def _names(context: Context, read: ChangeInput) -> Mapping[int, str]:
    site_id = read.workspace.site_id
    catalogue = audiences.catalogues(context.aws, context.stack, [site_id])[site_id]
    return {key: audience.name for key, audience in catalogue.audiences.items()}


def _differences(
    context: Context, read: ChangeInput, comparison: Comparison, names: Mapping[int, str]
) -> Iterator[Change]:
    return reconcile.differences(context.aws, context.stack, comparison, _rows(read), names)


def _send(
    context: Context, read: ChangeInput, changes: Iterator[Change], drift: int, rate: int
) -> int:
    importer = Importer(
        context.aws, context.stack, read.account_id, rate, sleep=time.sleep, clock=time.monotonic
    )
    counted = 0

    def counting() -> Iterator[Change]:
        nonlocal counted
        for change in changes:
            counted += 1
            yield change

    with context.progress() as bar:
        task = bar.add_task("Sending", total=drift)
        message_id = f"reconcile-{read.fingerprint()[:12]}"
        for count in importer.send_all(counting(), message_id=message_id):
            bar.advance(task, count)
    return counted


def _verdict(drift: int, sent: int, *, reveal: bool) -> str:
    if not drift:
        return "Nothing differs: drift 0."
    if sent:
        return f"Sent: {sent:,}. Once the queue is empty, compare again: the drift is then 0."
    shows = "" if reveal else ", and `--reveal` shows the people"
    return f"Drift {drift:,}. `--fix` sends these changes{shows}."

"""Stack: the commands for the whole stack: status, checks, sending, and the mappings."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import click

from handler.sender import batch_requests
from ops import dead_letters, show
from ops import mapping as mappings
from ops import status as statuses
from ops.checks import Checks
from ops.commands import options
from ops.commands.context import OK, PROBLEM, Context


@click.command()
@click.option(
    "--since",
    type=click.IntRange(1, 14 * 24 * 60),
    default=60,
    show_default=True,
    help="Minutes to look back.",
)
@options.shared
def status(since: int) -> int:
    """Show version, queues, alarms and recent errors."""
    context = Context.current()
    with context.progress() as bar:
        task = bar.add_task("Reading the logs, lines", total=None)
        current = statuses.look(
            context.aws,
            context.stack,
            since=timedelta(minutes=since),
            on_lines=lambda count: bar.advance(task, count),
        )
    context.output(current, show.status(current, context.now))
    return OK if current.is_healthy else PROBLEM


@click.command()
@options.shared
def check() -> int:
    """Check the stack, and show a fix for each problem."""
    context = Context.current()
    results = list(Checks(context.aws, context.stack).run())
    context.output(results, show.checks(results))
    return OK if all(check.is_ok for check in results) else PROBLEM


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@options.yes
@options.shared
def send(file: Path, *, yes: bool) -> int:
    """Send the messages in a file to the queue.

    FILE has dead letters that you saved and corrected, a sample event of events/, or a message.
    """
    context = Context.current()
    bodies = options.content(file, dead_letters.read_bodies)
    context.confirm(f"Send {len(bodies)} messages to {context.stack.queue_url}?", yes=yes)
    sent = 0
    with context.progress() as bar:
        task = bar.add_task("Sending", total=len(bodies))
        for batch in batch_requests(bodies, lambda body: len(body.encode())):
            sent += len(context.queue.send(batch))
            bar.advance(task, len(batch))
    context.output({"sent": sent, "of": len(bodies)}, f"Sent {sent} of {len(bodies)}.")
    if sent == len(bodies):
        return OK
    click.echo("Send the file again: messages that arrive twice do no harm.", err=True)
    return PROBLEM


@click.group()
def mapping() -> None:
    """Start or stop receiving messages: the event source mappings."""


@mapping.command("enable")
@options.yes
@options.shared
def mapping_enable(*, yes: bool) -> int:
    """Let the function receive messages again, from the queue and the retry queue."""
    return _switch("Let the function receive messages?", is_enabled=True, yes=yes)


@mapping.command("disable")
@options.yes
@options.shared
def mapping_disable(*, yes: bool) -> int:
    """Stop the function from receiving messages. SQS deletes messages after 14 days."""
    question = (
        "Stop the function from receiving messages, from the queue and the retry queue? "
        "SQS deletes messages after 14 days."
    )
    return _switch(question, is_enabled=False, yes=yes)


def _switch(question: str, *, is_enabled: bool, yes: bool) -> int:
    context = Context.current()
    existing = mappings.find(context.aws, context.stack)
    if not existing:
        raise click.ClickException("the function has no event source mapping: make deploy")
    context.confirm(question, yes=yes)
    switched = [mappings.switch(context.aws, each, is_enabled=is_enabled) for each in existing]
    states = [f"The mapping of the {each.queue}: {each.state}." for each in switched]
    context.output(switched, *states, "`ops status` shows them too.")
    return OK

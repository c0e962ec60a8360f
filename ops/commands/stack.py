"""Stack: the commands for all of it: to look at it, to send to it, to switch it on and off."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import click

from ops import dead_letters, show
from ops import mapping as mappings
from ops import status as statuses
from ops.checks import Checks
from ops.commands import options
from ops.commands.context import FINE, TROUBLE, Ops


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
    """The stack at a glance: queues, mappings, alarms, and what went wrong lately."""
    ops = Ops.current()
    with ops.progress() as bar:
        task = bar.add_task("Reading the logs, lines", total=None)
        found = statuses.look(
            ops.aws,
            ops.stack,
            since=timedelta(minutes=since),
            on_lines=lambda count: bar.advance(task, count),
        )
    ops.tell(found, show.status(found, ops.now))
    return FINE if found.is_well else TROUBLE


@click.command()
@options.shared
def check() -> int:
    """Whether a change can get through, and what to mend."""
    ops = Ops.current()
    found = list(Checks(ops.aws, ops.stack).run())
    ops.tell(found, show.checks(found))
    return FINE if all(one.is_ok for one in found) else TROUBLE


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@options.yes
@options.shared
def send(file: Path, *, yes: bool) -> int:
    """Send the messages of a file to the queue.

    Saved dead letters that you have mended, a sample event of events/, or a message.
    """
    ops = Ops.current()
    bodies = options.content(file, dead_letters.read_bodies)
    ops.agree(f"Send {len(bodies)} messages to {ops.stack.queue_url}?", yes=yes)
    sent = 0
    with ops.progress() as bar:
        task = bar.add_task("Sending", total=len(bodies))
        for places in dead_letters.batches(bodies):
            sent += len(ops.letters.send([bodies[place] for place in places]))
            bar.advance(task, len(places))
    ops.tell({"sent": sent, "of": len(bodies)}, f"Sent {sent} of {len(bodies)}.")
    if sent == len(bodies):
        return FINE
    click.echo("Send the file again: what is sent twice does no harm.", err=True)
    return TROUBLE


@click.group()
def mapping() -> None:
    """The event source mappings, by which the function gets messages from both queues."""


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
    """Keep the function from receiving messages; SQS deletes what has waited for 14 days."""
    question = (
        "Keep the function from receiving messages, from the queue and the retry queue? "
        "SQS deletes what has waited for 14 days."
    )
    return _switch(question, is_enabled=False, yes=yes)


def _switch(question: str, *, is_enabled: bool, yes: bool) -> int:
    ops = Ops.current()
    found = mappings.find(ops.aws, ops.stack)
    if not found:
        raise click.ClickException("the function has no event source mapping; make deploy")
    ops.agree(question, yes=yes)
    done = [mappings.switch(ops.aws, one, is_enabled=is_enabled) for one in found]
    states = [f"The mapping of the {each.queue}: {each.state}." for each in done]
    ops.tell(done, *states, "`ops status` shows them too.")
    return FINE

"""Smoke: the command that tries a new stack with a made-up person."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence

import click

from ops import credentials_secret, show, smoke, smoke_person
from ops.commands import options
from ops.commands.context import OK, PROBLEM, Context
from ops.track_api import CustomerIo


@click.command("smoke")
@click.option(
    "--ingress",
    is_flag=True,
    help="Send to the ingress: to its URL if it has one, or else by invoking it.",
)
@click.option(
    "--account",
    help="mParticle account that the message names, and so the workspace; by default the "
    "secret's entry `default`, or its only one.",
)
@click.option("--delete", is_flag=True, help="Delete the person from Customer.io at the end.")
@click.option(
    "--timeout",
    type=click.IntRange(10, 900),
    default=120,
    show_default=True,
    help="Seconds to follow the message.",
)
@options.yes
@options.shared
def smoke_command(
    *, ingress: bool, account: str | None, delete: bool, timeout: int, yes: bool
) -> int:
    """Try a new stack: send a made-up person through it, and erase them from the table again.

    It follows the message until the table has the person and Customer.io has taken them.
    """
    context = Context.current()
    workspaces = credentials_secret.workspaces(
        context.aws, context.settings.credentials_secret_name
    )
    try:
        account_id, workspace = smoke_person.choose(workspaces, account)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    if ingress and context.stack.ingress is None:
        raise click.UsageError("the stack has no ingress")
    person = smoke_person.SmokePerson(workspace.site_id, account_id, uuid.uuid4().hex[:12])
    door = "ingress" if ingress else "queue"
    after = "delete them there afterwards" if delete else "leave them there"
    context.confirm(
        f"Send the made-up person {person.customer_id} through the {door} to Customer.io "
        f"workspace {workspace.site_id}, and {after}?",
        yes=yes,
    )
    run = smoke.Smoke(
        context.aws,
        context.stack,
        CustomerIo(workspace, context.settings.track_api_url),
        context.queue,
        context.log_level,
        person,
        timeout_s=timeout,
    )
    steps = []
    for step in run.run(through_ingress=ingress, delete=delete):
        steps.append(step)
        context.tell(show.step(step))
    creates = context.settings.delivery_options.of(workspace).create_people
    context.output(steps, *_notes(person.customer_id, steps, is_deleted=delete, creates=creates))
    return OK if all(step.is_ok for step in steps) else PROBLEM


def _notes(
    customer_id: str, steps: Sequence[smoke.Step], *, is_deleted: bool, creates: bool
) -> Iterator[str]:
    """Yield what is left to do, and what could not be seen."""
    if not any(step.name == smoke.SENT for step in steps):
        yield "Nothing was sent. `ops check` shows a fix for each problem."
        return
    if not all(step.is_ok for step in steps):
        yield (
            "If the message is delivered after all, the person comes back: `ops person erase --id "
            f"{customer_id}`, and delete them in Customer.io."
        )
    elif not creates:
        yield "CreatePeople is false, so Customer.io has created nobody."
    elif not is_deleted:
        yield f"Customer.io still has the person: delete {customer_id} there."
    yield (
        "What a real Customer.io holds cannot be read with the credentials of a stack: search for "
        f"{customer_id} there."
    )

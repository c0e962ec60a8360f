"""Smoke: the command that tries a new stack with a made-up person."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from typing import Final

import click

from ops import credentials_secret, send, show, smoke, smoke_person
from ops.commands import options
from ops.commands.context import OK, PROBLEM, Context
from ops.stack import AudienceStream, Stack
from ops.track_api import CustomerIo

_TIMEOUT_S: Final = 120


@click.command("smoke")
@click.option(
    "--ingress",
    is_flag=True,
    help="Send to the ingress: to its URL if it has one, or else by invoking it.",
)
@click.option(
    "--stream",
    is_flag=True,
    help="Put a record into the audience stream, which always names its own account.",
)
@options.account
@click.option("--delete", is_flag=True, help="Delete the person from Customer.io at the end.")
@click.option(
    "--timeout",
    type=click.IntRange(10, 900),
    help=f"Seconds to follow the message; by default {_TIMEOUT_S}, and with --stream as many more "
    "as the stream collects records.",
)
@options.yes
@options.shared
def smoke_command(
    *,
    ingress: bool,
    stream: bool,
    account: str | None,
    delete: bool,
    timeout: int | None,
    yes: bool,
) -> int:
    """Try a new stack: send a made-up person through it, and erase them from the table again.

    It follows the message until the table has the person and Customer.io has taken them.
    """
    context = Context.current()
    door, name = _door(context.stack, ingress=ingress, stream=stream)
    if isinstance(door, AudienceStream):
        account = _account(door, account)
        timeout = timeout or _TIMEOUT_S + send.buffer_s(context.aws, door)
    workspaces = credentials_secret.workspaces(
        context.aws, context.settings.credentials_secret_name
    )
    try:
        account_id, workspace = credentials_secret.choose(workspaces, account)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    person = smoke_person.SmokePerson(
        workspace.site_id,
        account_id,
        uuid.uuid4().hex[:12],
        context.settings.delivery_options.customer_id_type,
    )
    after = "delete them there afterwards" if delete else "leave them there"
    context.confirm(
        f"Send the made-up person {person.customer_id} through the {name} to Customer.io "
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
        timeout_s=timeout or _TIMEOUT_S,
    )
    steps = []
    for step in run.run(door, delete=delete):
        steps.append(step)
        context.tell(show.step(step))
    creates = context.settings.delivery_options.of(workspace).create_people
    context.output(steps, *_notes(person.customer_id, steps, is_deleted=delete, creates=creates))
    return OK if all(step.is_ok for step in steps) else PROBLEM


def _door(stack: Stack, *, ingress: bool, stream: bool) -> tuple[smoke.Door, str]:
    """Return where the person goes in, and its name."""
    if ingress and stream:
        raise click.UsageError("choose one of --ingress and --stream")
    if ingress:
        if stack.ingress is None:
            raise click.UsageError("the stack has no ingress")
        return stack.ingress, "ingress"
    if stream:
        if stack.stream is None:
            raise click.UsageError("the stack has no audience stream")
        return stack.stream, "audience stream"
    return stack, "queue"


def _account(stream: AudienceStream, named: str | None) -> str:
    """Return the entry of the secret that the stream's records are for."""
    if named is not None:
        raise click.UsageError("with --stream the account is that of the stream, not --account")
    return credentials_secret.DEFAULT if stream.account_id is None else str(stream.account_id)


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

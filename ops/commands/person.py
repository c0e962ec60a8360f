"""Person: the commands for what the table holds of somebody."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

import click

from handler.domain.membership import Stamp, is_member
from ops import people, secret, show
from ops.commands import options
from ops.commands.context import FINE, TROUBLE, Ops
from ops.masking import masked, masked_json

_NOBODY: Final = "Nobody is known by that."
_NOT_FORMER: Final = "Whoever had this identifier before them was not looked for."
_READING_ALL: Final = "Nobody has this identifier now: reading the whole table for who had it."
_NOT_ERASED: Final = (
    "Customer.io, mParticle, the queues and the table's backups keep what they hold of them: "
    'docs/operations.md, "To erase a person".'
)


def _who(command: options.Command) -> options.Command:
    """Give a command the options that name a person."""
    for option in (
        click.option("--site-id", multiple=True, help="Workspace; by default all in the secret."),
        click.option("--mpid", type=int, help="mParticle's id."),
        click.option("--email", help="The email, of a person without a customer id."),
        click.option("--id", "customer_id", help="The customer id."),
    ):
        command = option(command)
    return command


@click.group()
def person() -> None:
    """What is known of a person."""


@person.command("show")
@_who
@options.reveal
@options.shared
def person_show(
    customer_id: str | None,
    email: str | None,
    mpid: int | None,
    site_id: Sequence[str],
    *,
    reveal: bool,
) -> int:
    """What the table holds of a person, and what would be sent of them.

    The table keeps neither names nor, of a person with a customer id, the email.
    """
    ops = Ops.current()
    found = [
        _person(one, reveal=reveal)
        for one in _found(ops, people.Sought(customer_id, email, mpid), site_id)
    ]
    ops.tell(found, *map(show.pretty, found) if found else [_NOBODY])
    return FINE if found else TROUBLE


@person.command("erase")
@_who
@options.yes
@options.shared
def person_erase(
    customer_id: str | None,
    email: str | None,
    mpid: int | None,
    site_id: Sequence[str],
    *,
    yes: bool,
) -> int:
    """Delete what the table holds of a person, for good.

    It touches nothing else: docs/operations.md, "To erase a person".
    """
    ops = Ops.current()
    items = _found(ops, people.Sought(customer_id, email, mpid), site_id)
    if not items:
        ops.tell({"erased": []}, _NOBODY)
        return TROUBLE
    workspaces = ", ".join(dict.fromkeys(item.site_id for item in items))
    question = f"Delete what the table holds of this person in workspace {workspaces} for good?"
    ops.agree(question, yes=yes)
    for item in items:
        people.erase(ops.aws, ops.stack, item.key)
    ops.tell(
        {"erased": [{"site id": item.site_id, "key": item.key} for item in items]},
        *(f"Deleted from workspace {item.site_id}: {item.key}." for item in items),
        *([_NOT_FORMER] if customer_id or email else []),
        _NOT_ERASED,
    )
    return FINE


def _found(ops: Ops, sought: people.Sought, site_id: Sequence[str]) -> list[people.Found]:
    if [sought.customer_id, sought.email, sought.mpid].count(None) != 2:
        raise click.UsageError("give one of --id, --email and --mpid")
    if not site_id:
        known = secret.workspaces(ops.aws, ops.settings.credentials_secret_name).values()
        site_id = list(dict.fromkeys(workspace.site_id for workspace in known))
    found = people.find(ops.aws, ops.stack, sought, site_id)
    if found or sought.identifier is None:
        return found
    click.echo(_READING_ALL, err=True)
    return people.find(ops.aws, ops.stack, sought, site_id, former=True)


def _person(found: people.Found, *, reveal: bool) -> dict[str, Any]:
    state = found.state
    known_as = state.identifier
    identifier = known_as.value if known_as else ""
    return {
        "site id": found.site_id,
        "key": found.key,
        "known as": {
            known_as.kind if known_as else "": identifier if reveal else masked(identifier)
        },
        "known as before, not cleared yet": [
            {former.kind: former.value if reveal else masked(former.value)}
            for former in state.former
        ],
        "version": state.version,
        "newest timestamp given": show.since(state.timestamp, time.time()),
        "audiences": {
            str(audience): f"{'in' if is_member(newest) else 'left'} since {_date(newest)}"
            for audience, newest in sorted(state.memberships.items())
        },
        "set or cleared": {name: _date(newest) for name, newest in state.set_at.items()},
        "would be sent": found.entities if reveal else masked_json(list(found.entities)),
    }


def _date(newest: Stamp) -> str:
    return show.since((newest >> 1) / 1000, time.time())

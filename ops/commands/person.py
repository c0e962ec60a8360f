"""Person: the commands for what is known of a person."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from typing import Any

import click

from handler.domain.audience import Audience
from handler.domain.audience_attributes import AudienceAttributes
from handler.domain.membership import Stamp, is_member
from handler.domain.workspace import Workspace
from ops import audiences, credentials_secret, explanation, people, show, show_explanation
from ops.commands import options, scope
from ops.commands.context import OK, PROBLEM, Context
from ops.commands.person_erase import person_erase
from ops.masking import masked, masked_entity


def _query_options(command: options.Command) -> options.Command:
    """Add the options that name a person."""
    for option in (
        options.site_id,
        click.option("--mpid", type=int, help="mParticle's id of the person."),
        click.option("--email", help="The email, of a person without a customer id."),
        click.option("--id", "customer_id", help="The customer id."),
    ):
        command = option(command)
    return command


@click.group(commands=[person_erase])
def person() -> None:
    """Show, explain or erase what is known of a person."""


@person.command("show")
@_query_options
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
    """Show what the table holds of a person, and what would be sent to Customer.io.

    The table keeps no names, and no email of a person with a customer id.
    """
    context = Context.current()
    stored = _find(context, people.Query(customer_id, email, mpid), site_id)
    attributes = _audience_attributes(context, {person.site_id for person in stored})
    shown = [_describe(person, attributes[person.site_id], reveal=reveal) for person in stored]
    context.output(shown, *map(show.pretty, shown) if shown else [people.NOBODY])
    return OK if shown else PROBLEM


@person.command("explain")
@_query_options
@click.option("--audience", help="Audience, by its id or a name; by default all.")
@click.option(
    "--since",
    type=click.IntRange(1, 14 * 24 * 60),
    default=24 * 60,
    show_default=True,
    help="Minutes to look back in the log for the last delivery.",
)
@options.reveal
@options.shared
def person_explain(
    *,
    customer_id: str | None,
    email: str | None,
    mpid: int | None,
    site_id: Sequence[str],
    audience: str | None,
    since: int,
    reveal: bool,
) -> int:
    """Explain why a person is, or is not, in an audience.

    It shows what the table has of the person, what mParticle said last of each audience, dead
    letters that name the person, what may be on its way, and the last delivery in the log.
    """
    context = Context.current()
    query = people.Query(customer_id, email, mpid)
    stored = _find(context, query, site_id)
    accounts = {} if site_id else _workspaces(context)
    site_ids = site_id or [workspace.site_id for workspace in accounts.values()]
    question = explanation.Question(
        query,
        [*dict.fromkeys(site_ids)],
        stored,
        audience,
        context.settings.delivery_options.customer_id_type,
    )
    with context.progress() as bar:
        task = bar.add_task("Reading the log, lines", total=None)
        explainer = explanation.Explainer(
            context.aws,
            context.stack,
            context.queue,
            log_level=context.log_level,
            since=context.now - since * 60,
            reveal=reveal,
            on_lines=lambda count: bar.advance(task, count),
        )
        numbered = accounts.keys() - {credentials_secret.DEFAULT}
        try:
            found = explainer.explain(question, map(int, numbered))
        except ValueError as error:
            raise click.UsageError(f"{error}; give its id") from error
    context.output(found, show_explanation.explanation(found, context.now))
    return OK if found.is_in_order else PROBLEM


def _workspaces(context: Context) -> dict[str, Workspace]:
    name = context.settings.credentials_secret_name
    return credentials_secret.workspaces(context.aws, name)


def _find(
    context: Context, query: people.Query, site_id: Sequence[str]
) -> list[people.StoredPerson]:
    if [query.customer_id, query.email, query.mpid].count(None) != 2:
        raise click.UsageError("give exactly one of --id, --email and --mpid")
    site_ids = scope.workspaces(context, site_id)
    stored = people.find(context.aws, context.stack, query, site_ids)
    if stored or query.identifier is None:
        return stored
    click.echo(people.READING_ALL, err=True)
    return people.find(context.aws, context.stack, query, site_ids, former=True)


def _audience_attributes(
    context: Context, site_ids: Collection[str]
) -> dict[str, AudienceAttributes]:
    """Return the attributes of audiences by workspace, as its options say."""
    settings = context.settings
    catalogues = audiences.catalogues(context.aws, context.stack, site_ids)
    attributes = {}
    for site_id, catalogue in catalogues.items():
        delivery_options = settings.delivery_options
        name = settings.credentials_secret_name
        if workspace := credentials_secret.workspace_of_site(context.aws, name, site_id):
            delivery_options = delivery_options.of(workspace)
        attributes[site_id] = AudienceAttributes(catalogue, delivery_options)
    return attributes


def _describe(
    person: people.StoredPerson, attributes: AudienceAttributes, *, reveal: bool
) -> dict[str, Any]:
    catalogue = attributes.catalogue
    state = person.state
    known_as = state.identifier
    identifier = known_as.value if known_as else ""
    return {
        "site id": person.site_id,
        "key": person.key,
        "known as": {
            known_as.kind if known_as else "": identifier if reveal else masked(identifier)
        },
        "known as before": [
            {former.kind: former.value if reveal else masked(former.value)}
            for former in state.former
        ],
        "version": state.version,
        "newest timestamp sent": show.since(state.timestamp, time.time()),
        "audiences": {
            str(audience_id): _membership(stamp, catalogue.audiences.get(audience_id))
            for audience_id, stamp in sorted(state.memberships.items())
        },
        "set or cleared": {name: _date(stamp) for name, stamp in state.set_at.items()},
        "would be sent": [
            entity if reveal else masked_entity(entity)
            for entity in people.would_be_sent(state, attributes)
        ],
    }


def _membership(stamp: Stamp, audience: Audience | None) -> str:
    since = f"{'in' if is_member(stamp) else 'left'} since {_date(stamp)}"
    return f"{audience.name}: {since}" if audience and audience.name else since


def _date(stamp: Stamp) -> str:
    return show.since((stamp >> 1) / 1000, time.time())

"""Resync: the command that delivers people again, as the table has them now."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import click

from handler.domain.walk import Walk
from ops import audiences, memberships, people, show_walks, walks
from ops.commands import following, options
from ops.commands.context import OK, PROBLEM, Context


@click.command("resync")
@click.option("--site-id", help="Only people of this workspace; by default of all.")
@click.option(
    "--audience", help="Only people who are in this audience, by id or name, or left it."
)
@click.option(
    "--since",
    type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]),
    help="Only people to whom something was sent since then, in UTC.",
)
@click.option(
    "--id", "customer_ids", multiple=True, help="Only this customer id. Repeat for more."
)
@click.option("--email", "emails", multiple=True, help="Only this email. Repeat for more.")
@click.option(
    "--file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Only the customer ids and emails in this file, one in a line.",
)
@click.option("--dry-run", is_flag=True, help="Only say what it takes.")
@click.option("--no-wait", is_flag=True, help="Do not wait for the end.")
@options.yes
@options.shared
def resync(
    *,
    site_id: str | None,
    audience: str | None,
    since: datetime | None,
    customer_ids: Sequence[str],
    emails: Sequence[str],
    file: Path | None,
    dry_run: bool,
    no_wait: bool,
    yes: bool,
) -> int:
    """Deliver people to Customer.io again, as the table has them now.

    It sends SegmentMembership and, with one attribute per audience, the attributes of all
    audiences; no emails and names, which the table does not keep, and no events. A walk over the
    table finds the people; it goes on if you stop this command.
    """
    context = Context.current()
    queries = _queries(customer_ids, emails, file)
    if queries:
        if audience or since:
            raise click.UsageError("--id, --email and --file exclude --audience and --since")
        return _resync_people(context, queries, site_id, dry_run=dry_run, yes=yes)
    estimated = walks.estimate(
        context.aws,
        context.stack,
        concurrency=context.settings.walk_concurrency,
        people_per_second=context.settings.walk_people_per_second,
    )
    context.tell(show_walks.estimate(estimated))
    audience_id = _audience_id(context, audience, site_id) if audience else None
    since_s = int(since.replace(tzinfo=UTC).timestamp()) if since else 0
    walk = Walk(kind="resync", site_id=site_id or "", audience_id=audience_id, since=since_s)
    if dry_run:
        context.output(estimated, "Nothing was started.")
        return OK
    context.confirm("Walk over the whole table?", yes=yes)
    name = f"resync-{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
    walks.start(context.aws, context.stack, walk, name)
    context.tell(f"The walk {name} is on its way. `ops walk show {name}` shows how far it is.")
    if no_wait:
        return following.ended(context, walks.status(context.aws, context.stack, name))
    return following.ended(context, following.follow(context, name))


def _queries(
    customer_ids: Sequence[str], emails: Sequence[str], file: Path | None
) -> list[people.Query]:
    lines = options.content(file, str.split) if file else []
    queries = [people.Query(customer_id=each) for each in (*customer_ids, *lines)]
    # An id may have an @ too.
    return queries + [
        people.Query(email=each) for each in (*emails, *(line for line in lines if "@" in line))
    ]


def _resync_people(
    context: Context,
    queries: Sequence[people.Query],
    site_id: str | None,
    *,
    dry_run: bool,
    yes: bool,
) -> int:
    site_ids = [site_id] if site_id else context.site_ids
    keys = list(
        dict.fromkeys(
            person.key
            for query in queries
            for person in people.find(context.aws, context.stack, query, site_ids)
        )
    )
    context.tell(show_walks.estimate_of(walks.estimate_of(len(keys))))
    if dry_run or not keys:
        context.output({"found": len(keys)}, "Nobody was delivered.")
        return OK if keys else PROBLEM
    context.confirm(f"Deliver {len(keys):,} people again?", yes=yes)
    done = walks.deliver(context.aws, context.stack, keys)
    context.output(
        {"found": len(keys), "delivered": done.delivered, "skipped": done.skipped},
        f"{done.delivered} delivered, {done.skipped} skipped"
        + ("; the walker's log has the reasons." if done.skipped else "."),
    )
    return PROBLEM if done.skipped else OK


def _audience_id(context: Context, audience: str, site_id: str | None) -> int:
    """Return the id of an audience by its id or one of its names."""
    with suppress(ValueError):
        return int(audience)
    site_ids = [site_id] if site_id else context.site_ids
    catalogues = audiences.catalogues(context.aws, context.stack, site_ids).values()
    try:
        ids = sorted(memberships.audience_ids(audience, catalogues))
    except ValueError as error:
        raise click.UsageError(f"{error}; give its id") from error
    if len(ids) > 1:
        known = ", ".join(map(str, ids))
        raise click.UsageError(f"several audiences have this name; give the id of one: {known}")
    return ids[0]

"""Resync: the command that delivers people again, as the table has them now."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import click

from handler.domain.walk import Walk
from ops import audiences, people, show_walks, walks
from ops.commands import following, options, scope
from ops.commands.context import OK, PROBLEM, Context


@click.command("resync")
@click.option("--site-id", help="Only people of this workspace; by default of all.")
@click.option(
    "--audience", help="Only people who are in this audience, by id or name, or left it."
)
@click.option(
    "--since",
    metavar="TIME",
    help="Only people to whom something was sent since then, such as 2026-11-25 or "
    "2026-11-25T13:30; in UTC, unless it names another time zone.",
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
@options.reveal
@options.yes
@options.shared
def resync(
    *,
    site_id: str | None,
    audience: str | None,
    since: str | None,
    customer_ids: Sequence[str],
    emails: Sequence[str],
    file: Path | None,
    dry_run: bool,
    no_wait: bool,
    reveal: bool,
    yes: bool,
) -> int:
    """Deliver people to Customer.io again, as the table has them now.

    It sends SegmentMembership and, with one attribute per audience, the attributes of all
    audiences; no emails and names, which the table does not keep, and no events. A walk over the
    table finds the people; it goes on if you stop this command. Those whom you name are delivered
    without a walk; `--reveal` shows who of them is not in the table.
    """
    context = Context.current()
    since_s = 0.0 if since is None else options.moment(since)
    if since_s > context.now:
        raise click.UsageError("--since is after now")
    if customer_ids or emails or file:
        if audience or since:
            raise click.UsageError("--id, --email and --file exclude --audience and --since")
        named = _named(customer_ids, emails, file)
        site_ids = scope.workspaces_in_secret(context, site_id)
        return _resync_people(context, named, site_ids, dry_run=dry_run, reveal=reveal, yes=yes)
    site_ids = scope.workspaces_in_secret(context, site_id)
    walk = Walk(
        kind="resync",
        site_id=site_id or "",
        audience_id=_audience_id(context, audience, site_ids) if audience else None,
        since=int(since_s),
    )
    estimated = walks.estimate(
        context.aws,
        context.stack,
        concurrency=context.settings.walk_concurrency,
        people_per_second=context.settings.walk_people_per_second,
    )
    context.tell(show_walks.estimate(estimated))
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


def _named(
    customer_ids: Sequence[str], emails: Sequence[str], file: Path | None
) -> dict[str, list[people.Query]]:
    """Return how to find each person, by the id or email that names them."""
    named = {each: [people.Query(customer_id=each)] for each in customer_ids}
    for each in emails:
        named.setdefault(each, []).append(people.Query(email=each))
    for line in options.content(file, str.splitlines) if file else ():
        if each := line.strip():
            named[each] = [*_queries(each)]
    if not named:
        raise click.UsageError(f"{file}: names nobody")
    return named


def _queries(line: str) -> Iterator[people.Query]:
    yield people.Query(customer_id=line)
    if "@" in line:  # which an id may have, too
        yield people.Query(email=line)


def _resync_people(
    context: Context,
    named: dict[str, list[people.Query]],
    site_ids: Sequence[str],
    *,
    dry_run: bool,
    reveal: bool,
    yes: bool,
) -> int:
    keys, missing = _find(context, named, site_ids)
    estimated = walks.estimate_of(
        len(keys),
        concurrency=context.settings.walk_concurrency,
        people_per_second=context.settings.walk_people_per_second,
    )
    context.tell(show_walks.estimate_of(estimated))
    if missing:
        context.tell(show_walks.missing(missing, of=len(named), reveal=reveal))
    result: dict[str, object] = {"found": len(keys), "not_found": len(missing)}
    if reveal:
        result["names_not_found"] = missing
    if dry_run or not keys:
        context.output(result, "Nobody was delivered.")
        return PROBLEM if missing else OK
    context.confirm(f"Deliver {len(keys):,} people again?", yes=yes)
    with context.progress() as bar:
        task = bar.add_task("Delivering, people", total=len(keys))
        done = walks.deliver(
            context.aws, context.stack, keys, on_people=lambda count: bar.advance(task, count)
        )
    context.output(
        result | {"delivered": done.delivered, "skipped": done.skipped},
        f"{done.delivered:,} delivered, {done.skipped:,} skipped"
        + ("; `ops status` shows the reasons, as `walk.person_skipped`." if done.skipped else "."),
    )
    return PROBLEM if done.skipped or missing else OK


def _find(
    context: Context, named: dict[str, list[people.Query]], site_ids: Sequence[str]
) -> tuple[list[str], list[str]]:
    """Return the keys of the people, and the names of those who are not in the table."""
    keys: dict[str, None] = {}
    missing = []
    with context.progress() as bar:
        for name, queries in bar.track(named.items(), description="Looking for people"):
            found = [
                person.key
                for query in queries
                for person in people.find(context.aws, context.stack, query, site_ids)
            ]
            keys |= dict.fromkeys(found)
            if not found:
                missing.append(name)
    return [*keys], missing


def _audience_id(context: Context, audience: str, site_ids: Sequence[str]) -> int:
    """Return the id of an audience by its id or one of its names."""
    catalogues = audiences.catalogues(context.aws, context.stack, site_ids).values()
    ids = sorted(scope.audience_ids(audience, catalogues))
    if len(ids) == 1:
        return ids[0]
    with suppress(ValueError):
        return int(audience)  # another audience has this number as its name
    known = ", ".join(map(str, ids))
    raise click.UsageError(f"several audiences have this name; give the id of one: {known}")

"""Scope: which workspaces and audiences a command is about, by its options."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import click

from handler.domain.audience import Catalogue
from ops import audiences, memberships
from ops.commands.context import Context


def workspaces(context: Context, site_ids: Sequence[str]) -> list[str]:
    """Return these workspaces, or all in the secret if none is named.

    One that neither the table nor the secret has is wrong usage.
    """
    if not site_ids:
        return context.site_ids
    catalogues = audiences.catalogues(context.aws, context.stack, site_ids)
    for site_id, catalogue in catalogues.items():
        if not catalogue.audiences:
            workspaces_in_secret(context, site_id)
    return [*catalogues]


def workspaces_in_secret(context: Context, site_id: str | None) -> list[str]:
    """Return this workspace, or all if none is named. One that the secret lacks is wrong usage."""
    if site_id is None:
        return context.site_ids
    if site_id not in context.site_ids:
        known = ", ".join(context.site_ids)
        raise click.UsageError(f"--site-id: the secret has no workspace {site_id}, only: {known}")
    return [site_id]


def audience_ids(text: str, catalogues: Collection[Catalogue]) -> set[int]:
    """Return the audiences that an id or a name stands for. An unknown name is wrong usage.

    An unknown id is only pointed out: the catalogue may lack audiences that have members.
    """
    try:
        ids = memberships.audience_ids(text, catalogues)
    except ValueError as error:
        raise click.UsageError(f"{error}; give its id") from error
    if not ids & _known(catalogues):
        click.echo(f"No message has named an audience {text}: is the id right?", err=True)
    return ids


def _known(catalogues: Iterable[Catalogue]) -> set[int]:
    return {audience_id for catalogue in catalogues for audience_id in catalogue.audiences}

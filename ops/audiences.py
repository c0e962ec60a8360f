"""Audiences: what the table holds of the audiences of workspaces."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from handler.domain.audience import Catalogue
from ops.stack import NO_DEADLINE
from ops.table import opened

if TYPE_CHECKING:
    from ops.stack import Aws, Stack


@dataclass(frozen=True, slots=True)
class FormerName:
    """A name that an audience had; `ended_at` in Unix seconds, by mParticle's clock."""

    name: str
    ended_at: float


@dataclass(frozen=True, slots=True)
class NamedAudience:
    """One audience of a workspace; its former names, the last one first.

    `removed_at`, in Unix seconds, is None if mParticle has the audience.
    """

    site_id: str
    audience_id: int
    name: str
    former_names: tuple[FormerName, ...]
    removed_at: float | None


def catalogues(aws: Aws, stack: Stack, site_ids: Collection[str]) -> dict[str, Catalogue]:
    """Return the audiences of each workspace, by its site id."""
    with opened(aws, stack) as table:
        table.people.versions([], catalogues_of=site_ids, deadline=NO_DEADLINE)
        return {site_id: table.audiences.of(site_id) for site_id in site_ids}


def listed(by_site_id: Mapping[str, Catalogue]) -> list[NamedAudience]:
    """Return all audiences of all workspaces, by workspace and id."""
    return [
        NamedAudience(
            site_id,
            audience_id,
            audience.name,
            former_names=tuple(
                FormerName(name, ended_at / 1000) for name, ended_at in audience.former.items()
            ),
            removed_at=audience.removed_at_ms / 1000 if audience.is_removed else None,
        )
        for site_id, catalogue in sorted(by_site_id.items())
        for audience_id, audience in sorted(catalogue.audiences.items())
    ]

"""Audiences: what the table holds of the audiences of workspaces, and their sizes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from handler.domain.audience import Audience, Catalogue
from handler.domain.membership import PersonState, is_member
from handler.domain.update import site_id_in
from handler.table.people import Page
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

    `removed_at`, in Unix seconds, is None if mParticle has the audience. `members` is None if they
    were not counted.
    """

    site_id: str
    audience_id: int
    name: str
    former_names: tuple[FormerName, ...]
    removed_at: float | None
    members: int | None


@dataclass(slots=True)
class Sizes:
    """How many members audiences have, by site id and audience; without `unreadable` people."""

    members: Counter[tuple[str, int]] = field(default_factory=Counter)
    unreadable: int = 0


def catalogues(aws: Aws, stack: Stack, site_ids: Collection[str]) -> dict[str, Catalogue]:
    """Return the audiences of each workspace, by its site id."""
    with opened(aws, stack) as table:
        table.people.versions([], catalogues_of=site_ids, deadline=NO_DEADLINE)
        return {site_id: table.audiences.of(site_id) for site_id in site_ids}


def sizes(pages: Iterable[Page], site_ids: Collection[str]) -> Sizes:
    """Count the members of all audiences of these workspaces."""
    counted = Sizes()
    for page in pages:
        for key, state in page.people.items():
            site_id = site_id_in(key)
            if site_id not in site_ids:
                continue
            if isinstance(state, PersonState):
                memberships = state.memberships.items()
                counted.members.update(
                    (site_id, each) for each, at in memberships if is_member(at)
                )
            else:
                counted.unreadable += 1
    return counted


def listed(by_site_id: Mapping[str, Catalogue], counted: Sizes | None) -> list[NamedAudience]:
    """Return all audiences of all workspaces, by workspace and id.

    A catalogue may lack audiences that have members: it is full, or they were never named.
    """
    members = {} if counted is None else counted.members
    audiences = {
        (site_id, audience_id): audience
        for site_id, catalogue in by_site_id.items()
        for audience_id, audience in catalogue.audiences.items()
    }
    return [
        NamedAudience(
            site_id,
            audience_id,
            audience.name,
            former_names=tuple(
                FormerName(name, ended_at / 1000) for name, ended_at in audience.former.items()
            ),
            removed_at=audience.removed_at_ms / 1000 if audience.is_removed else None,
            members=None if counted is None else counted.members[site_id, audience_id],
        )
        for (site_id, audience_id), audience in sorted(
            (dict.fromkeys(members, Audience()) | audiences).items()
        )
    ]

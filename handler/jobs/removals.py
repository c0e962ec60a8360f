"""Removals: who leaves an audience because mParticle removed it.

A removal is in the catalogue before anybody is walked to. states.py merges its exits into whoever
is delivered, so that every delivery is right from then on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from handler.domain.audience import Audience, Catalogue
from handler.domain.membership import Memberships
from handler.domain.removal import ever_removed, exits
from handler.domain.update import Update
from handler.jobs.post import PersonUpdates
from handler.jobs.run import Outside


class Removals:
    """The removed audiences of the workspaces in one run; none if people are to keep them."""

    def __init__(self, outside: Outside) -> None:
        """Read no catalogue yet."""
        self._audiences = outside.audiences
        self._options = outside.options
        self._known: dict[str, tuple[Catalogue, Mapping[int, Audience]]] = {}

    def with_exits(self, person: PersonUpdates, memberships: Memberships) -> PersonUpdates:
        """Return a person with an exit from each removed audience that they are in.

        `memberships` are those before the updates. Raises why the catalogue cannot be read.
        """
        if not self._options.clear_removed_audiences:
            return person
        missing = self._exits(person.workspace.site_id, memberships, person.updates)
        return (
            msgspec.structs.replace(person, updates=(*person.updates, *missing))
            if missing
            else person
        )

    def _exits(
        self, site_id: str, memberships: Memberships, updates: Sequence[Update]
    ) -> tuple[Update, ...]:
        catalogue = self._audiences.of(site_id)
        known = self._known.get(site_id)
        if known is None or known[0] is not catalogue:
            known = self._known[site_id] = catalogue, ever_removed(catalogue)
        if not known[1]:
            return ()
        return exits(
            known[1],
            memberships,
            updates,
            one_attribute_per_audience=self._options.one_attribute_per_audience,
        )

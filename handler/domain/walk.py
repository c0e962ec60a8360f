"""Walk: whom a walk over the table delivers again, and with which updates.

Walks come in from walker.py and forward.py as the input of an execution; jobs/walk.py takes the
steps. A walk names no person: its input is kept by AWS for months.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec

from handler.domain.audience import AudienceUpdate
from handler.domain.membership import PersonState, is_member, stamp
from handler.domain.removal import exit_at_removal
from handler.domain.update import Update


class Walk(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A removed audience, or a resync.

    `site_id`: the workspace, empty for all; a removal has one. `audience_id` limits a resync to
    people who are in the audience or left it, `since` to people to whom something was sent since
    then, in Unix seconds. `one_attribute_per_audience`: None, if the stack's option applies.
    """

    kind: Literal["removal", "resync"]
    site_id: str = ""
    audience_id: int | None = None
    audience_name: str = ""
    removed_at_ms: int = 0
    since: int = 0
    one_attribute_per_audience: bool | None = None

    @classmethod
    def of_removal(
        cls, site_id: str, removal: AudienceUpdate, *, one_attribute_per_audience: bool | None
    ) -> Walk:
        """Return the walk by which everybody leaves a removed audience."""
        return cls(
            kind="removal",
            site_id=site_id,
            audience_id=removal.audience_id,
            audience_name=removal.name,
            removed_at_ms=removal.at_ms,
            one_attribute_per_audience=one_attribute_per_audience,
        )

    @property
    def name(self) -> str:
        """The name of a removal's execution, always the same for the same removal."""
        said = f"{self.site_id}#{self.audience_id}#{self.removed_at_ms}"
        digest = hashlib.sha256(said.encode()).hexdigest()[:16]
        return f"removal-{self.audience_id}-{digest}"

    def updates(self, state: PersonState, *, one_attribute: bool) -> Sequence[Update] | None:
        """Return what is new about a person, perhaps nothing; None if the walk skips them."""
        if state.identifier is None:
            return None
        if self.kind == "removal" and self.audience_id is not None:
            return self._exit(state, self.audience_id, one_attribute=one_attribute)
        is_chosen = self.audience_id is None or self.audience_id in state.memberships
        return () if is_chosen and state.timestamp >= self.since else None

    def _exit(
        self, state: PersonState, audience_id: int, *, one_attribute: bool
    ) -> Sequence[Update] | None:
        newest = state.memberships.get(audience_id, -1)
        at_removal = stamp(self.removed_at_ms, removed=True)
        # Who left as of the removal is delivered again: the walk may have died before the post.
        if newest != at_removal and not (0 <= newest < at_removal and is_member(newest)):
            return None
        return (
            exit_at_removal(
                audience_id,
                self.audience_name,
                self.removed_at_ms,
                one_attribute_per_audience=one_attribute,
            ),
        )


class WalkStep(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A step of a walk through one segment of the table, and what the steps before it did.

    `start`: the key after which it starts; None at the beginning. `keys`: only these people,
    without reading the table. `read`, `delivered` and `skipped` count people: `skipped` those who
    cannot be read or were rejected.
    """

    walk: Walk
    segment: Annotated[int, msgspec.Meta(ge=0)] = 0
    segments: Annotated[int, msgspec.Meta(ge=1)] = 1
    start: str | None = None
    keys: Sequence[str] | None = None
    read: int = 0
    delivered: int = 0
    skipped: int = 0
    done: bool = False

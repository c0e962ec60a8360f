"""Memberships: what mParticle said last of a person's audiences, with their names. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from handler.domain.audience import Audience, Catalogue
from handler.domain.membership import PersonState, Stamp, is_member


@dataclass(frozen=True, slots=True)
class Membership:
    """What was said last of one audience; times in Unix seconds, by mParticle's clock.

    `is_member` is None if the table has nothing of the audience for this person.
    """

    audience_id: int
    name: str
    former_names: tuple[str, ...]
    is_member: bool | None
    said_at: float | None
    removed_at: float | None


def memberships(
    state: PersonState, catalogue: Catalogue, asked: Collection[int] | None
) -> list[Membership]:
    """Return what was said of each audience that is asked for, or of all; the newest first."""
    chosen = state.memberships.keys() if asked is None else asked
    newest_first = sorted(chosen, key=lambda each: (-state.memberships.get(each, -1), each))
    return [
        _membership(each, state.memberships.get(each), catalogue.audiences.get(each, Audience()))
        for each in newest_first
    ]


def _membership(audience_id: int, newest: Stamp | None, audience: Audience) -> Membership:
    return Membership(
        audience_id,
        audience.name,
        former_names=tuple(audience.former),
        is_member=None if newest is None else is_member(newest),
        said_at=None if newest is None else seconds(newest),
        removed_at=audience.removed_at_ms / 1000 if audience.is_removed else None,
    )


def seconds(stamp: Stamp) -> float:
    """Return the time of a stamp in Unix seconds."""
    return (stamp >> 1) / 1000


def audience_ids(text: str, catalogues: Iterable[Catalogue]) -> set[int]:
    """Return the audiences that an id or a name stands for; a former name counts, too.

    Raises ValueError for a name that no message has used.
    """
    wanted = text.strip().casefold()
    named = {
        audience_id
        for catalogue in catalogues
        for audience_id, audience in catalogue.audiences.items()
        if wanted in {name.casefold() for name in (audience.name, *audience.former)}
    }
    try:
        return {int(text), *named}
    except ValueError:
        if not named:
            raise ValueError(f"no message has named an audience `{text}`") from None
    return named

"""Versions: a state written again, though no update changes it.

States come from membership.py; their versions go on to the table.
"""

from __future__ import annotations

from typing import Final

import msgspec

from handler.domain.membership import PersonState

FORMER_LIFE_S: Final = 20 * 60
"""How long after its last timestamp somebody may still post under a former identifier, in seconds.
A state is posted with a timestamp that was at most a minute old when it was read, by an invocation
that AWS ends after 15 minutes."""


def new_version(known: PersonState, *, now: float) -> PersonState:
    """Return a state as a new version, to deliver it again at `now`, in Unix seconds."""
    return msgspec.structs.replace(
        known, version=known.version + 1, timestamp=max(int(now), known.timestamp + 1)
    )


def without_former(known: PersonState, cleared_after: float) -> PersonState:
    """Return the next version, without the former identifiers that nobody can post under any more.

    They were cleared after a time, in Unix seconds. The timestamp stays the same, as the post of
    both versions is the same. Returns `known` itself if it keeps all of them.
    """
    newest = cleared_after - FORMER_LIFE_S
    former = {each: last for each, last in known.former.items() if last > newest}
    if len(former) == len(known.former):
        return known
    return msgspec.structs.replace(known, version=known.version + 1, former=former)

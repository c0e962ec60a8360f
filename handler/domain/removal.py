"""Removal: everybody leaves an audience as of the time at which mParticle removed it.

Audiences come in from a catalogue; exits go on to membership.py, which merges them as any update.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from handler.domain.audience import Audience
from handler.domain.membership import Memberships, is_member, stamp
from handler.domain.profile import MembershipChange
from handler.domain.update import Update


def exit_at_removal(
    audience_id: int, name: str, removed_at_ms: int, *, one_attribute_per_audience: bool
) -> Update:
    """Return the update by which a person leaves an audience that was removed."""
    return Update(
        at_ms=removed_at_ms,
        changes=(MembershipChange(audience_id, name, is_member=False),),
        values={},
        identifier=None,
        one_attribute_per_audience=one_attribute_per_audience,
    )


def exits(
    removed: Mapping[int, Audience],
    memberships: Memberships,
    updates: Iterable[Update],
    *,
    one_attribute_per_audience: bool,
) -> tuple[Update, ...]:
    """Return an exit from each audience that a person entered no later than it was removed.

    `memberships` are those before `updates`. Who entered later, after the audience was connected
    again, stays. An audience has an attribute of its own if an update of it says so, too.
    An entry that is delivered again, after its exit was saved, has the exit again, with its event.
    """
    newest = {key: memberships[key] for key in removed.keys() & memberships.keys()}
    with_attribute: set[int] = set()
    again: set[int] = set()
    for update in updates:
        for change in update.changes:
            if change.audience_id in removed:
                changed = stamp(update.at_ms, removed=not change.is_member)
                if change.is_member and update.at_ms <= removed[change.audience_id].removed_at_ms:
                    again.add(change.audience_id)
                newest[change.audience_id] = max(changed, newest.get(change.audience_id, -1))
                if update.one_attribute_per_audience:
                    with_attribute.add(change.audience_id)
    return tuple(
        exit_at_removal(
            key,
            removed[key].name,
            removed[key].removed_at_ms,
            one_attribute_per_audience=one_attribute_per_audience or key in with_attribute,
        )
        for key in sorted(newest)
        if (is_member(newest[key]) and newest[key] >> 1 <= removed[key].removed_at_ms)
        or (key in again and newest[key] == stamp(removed[key].removed_at_ms, removed=True))
    )

"""Removal: who leaves an audience that mParticle removed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.domain.audience import AudienceUpdate, Catalogue
from handler.domain.membership import is_member, merge
from handler.domain.removal import exits
from tests.builders import NOW, NOW_MS, change, state, update

AT = NOW_MS - 1000


def removed(audience_id: int = 11, *, at_ms: int = AT, added_ms: int = 0) -> Catalogue:
    said = [AudienceUpdate(audience_id, at_ms, "VIP", "remove")]
    if added_ms:
        said.append(AudienceUpdate(audience_id, added_ms, "VIP", "add"))
    return Catalogue().learn(said)


def leaving(catalogue: Catalogue, known, *updates) -> list[tuple[int, int]]:
    """Return the audiences that somebody leaves, and when."""
    found = exits(
        catalogue.ever_removed, known.memberships, updates, one_attribute_per_audience=False
    )
    return [(each.changes[0].audience_id, each.at_ms) for each in found]


@pytest.mark.parametrize(("entered", "leaves"), [(AT - 1, True), (AT, True), (AT + 1, False)])
def test_who_entered_no_later_than_the_removal_leaves_as_of_then(entered, leaves) -> None:
    assert leaving(removed(), state(11, at_ms=entered)) == [(11, AT)] * leaves
    assert leaving(removed(), state(), update(change(11), at_ms=entered)) == [(11, AT)] * leaves


def test_who_is_in_other_audiences_or_has_left_before_is_left_alone() -> None:
    assert leaving(removed(), state(12, left=(11,), at_ms=AT - 1)) == []


def test_who_left_after_an_entry_that_comes_late_does_not_leave_again() -> None:
    late = update(change(11), at_ms=AT - 2)

    assert leaving(removed(), state(left=(11,), at_ms=AT - 1), late) == []


def test_an_audience_that_was_added_again_is_left_by_those_from_before() -> None:
    catalogue = removed(added_ms=AT + 1)

    assert leaving(catalogue, state(11, at_ms=AT)) == [(11, AT)]
    assert leaving(catalogue, state(11, at_ms=AT + 2)) == []


def test_the_exit_has_the_name_of_the_audience() -> None:
    (left,) = exits(
        removed().ever_removed,
        state(11, at_ms=AT).memberships,
        (),
        one_attribute_per_audience=True,
    )

    assert (left.changes[0].audience_name, left.one_attribute_per_audience) == ("VIP", True)


changes = st.lists(
    st.builds(
        lambda key, joined, at: update(change(key, joined=joined), at_ms=AT + at),
        st.sampled_from([11, 12]),
        st.booleans(),
        st.integers(-3, 3),
    ),
    max_size=6,
)


@given(st.data(), changes)
def test_a_removal_may_come_before_between_or_after_the_changes(data, history) -> None:
    place = data.draw(st.integers(0, len(history)))
    known = state(version=0, at_ms=AT - 10)

    plain = merge(known, history, now=NOW)
    before = merge(known, history[:place], now=NOW)
    rest = history[place:]
    gone = exits(
        removed().ever_removed, before.memberships, rest, one_attribute_per_audience=False
    )
    after = merge(before, [*rest, *gone], now=NOW)

    expected = {
        key
        for key, newest in plain.memberships.items()
        if is_member(newest) and not (key == 11 and newest >> 1 <= AT)
    }
    assert {key for key, newest in after.memberships.items() if is_member(newest)} == expected

"""States after erasures: nothing from before one comes back, and what came after it stays."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from handler.domain.membership import PersonState, merge, stamp, too_old
from handler.domain.update import Identifier, Update
from tests.builders import NOW, NOW_MS, change, state, update
from tests.strategies import RECENT, UPDATES

DAY_MS = 86_400_000
Erasure = int
"""The time of an erasure."""


def known_of(kept: PersonState) -> tuple[object, ...]:
    """What a state says, but for how often it was written and what Customer.io may have."""
    return kept.memberships, kept.set_at, kept.identifier, kept.outranked, kept.erased_at_ms


def merged(kept: PersonState, said: Update | Erasure) -> PersonState:
    if isinstance(said, int):
        return merge(kept, (), now=NOW, erased_at_ms=said)
    return merge(kept, [said], now=NOW)


def folded(story: list[Update | Erasure]) -> PersonState:
    kept = PersonState()
    for said in story:
        kept = merged(kept, said)
    return kept


ERASURES = RECENT | st.sampled_from([NOW_MS, NOW_MS - 1])
STORIES = st.lists(UPDATES | ERASURES, min_size=1, max_size=8)


@given(STORIES, st.randoms(use_true_random=False))
def test_the_order_of_changes_and_erasures_does_not_matter(story, rng: Random) -> None:
    assert known_of(folded(rng.sample(story, len(story)))) == known_of(folded(story))


@given(STORIES)
def test_changes_and_erasures_seen_twice_change_nothing(story) -> None:
    once = folded(story)

    for said in story:
        assert merged(once, said) is once


@given(STORIES, st.lists(UPDATES, max_size=4), ERASURES)
def test_a_batch_of_changes_with_an_erasure_is_the_same_as_one_by_one(
    story, updates, erased_at_ms
) -> None:
    known = folded(story)

    at_once = merge(known, updates, now=NOW, erased_at_ms=erased_at_ms)

    assert known_of(at_once) == known_of(folded([*story, *updates, erased_at_ms]))
    assert at_once.version <= known.version + 1


@given(STORIES)
def test_only_what_is_newer_than_the_newest_erasure_counts(story) -> None:
    erased_at_ms = max((said for said in story if isinstance(said, int)), default=0)
    later = [said for said in story if not isinstance(said, int) and said.at_ms > erased_at_ms]

    kept = folded(story)

    assert kept.erased_at_ms == erased_at_ms
    assert known_of(kept)[:-1] == known_of(folded(list(later)))[:-1]


def test_an_erased_person_is_a_tombstone_of_the_next_version() -> None:
    email = Identifier(is_id=False, set_at_ms=NOW_MS - 9, value="ann@example.com")
    known = state(11, left=(12,), version=7, former={email: 1}, set_at={"email": 2 * NOW_MS})

    kept = merge(known, (), now=NOW, erased_at_ms=NOW_MS)

    assert kept == PersonState(
        version=8, timestamp=int(NOW) + 1, erased_at_ms=NOW_MS, continuations=0
    )


def test_a_change_of_the_same_millisecond_is_from_before_the_erasure() -> None:
    erased = folded([NOW_MS])

    assert merged(erased, update(change(11), at_ms=NOW_MS)) is erased


def test_whoever_starts_anew_is_a_later_version_of_the_tombstone() -> None:
    erased = folded([update(change(11), at_ms=NOW_MS - 9), NOW_MS - 5])

    anew = merged(erased, update(change(12), at_ms=NOW_MS))

    assert anew.version == erased.version + 1
    assert anew.timestamp > erased.timestamp
    assert anew.memberships == {12: stamp(NOW_MS, removed=False)}
    assert anew.former == {}


def test_attributes_that_customerio_may_have_are_cleared_if_the_person_starts_anew() -> None:
    known = state(11, at_ms=NOW_MS - 9, continuations=2)

    anew = folded_from(known, NOW_MS - 5, update(change(12)))

    assert anew.continuations == 2


def folded_from(kept: PersonState, *story: Update | Erasure) -> PersonState:
    for said in story:
        kept = merged(kept, said)
    return kept


def test_an_email_from_after_the_erasure_stays_also_if_an_id_outranked_it() -> None:
    by_id = update(change(11), at_ms=NOW_MS - 9, customer_id="42")
    by_email = update(change(12), at_ms=NOW_MS, customer_id=None, email="Ann@example.com")

    kept = folded([by_id, by_email, NOW_MS - 5])

    assert kept.identifier == Identifier(is_id=False, set_at_ms=NOW_MS, value="ann@example.com")
    assert [*kept.memberships] == [12]


def test_a_former_identifier_from_before_the_erasure_is_dropped() -> None:
    first = update(change(11), at_ms=NOW_MS - 9, customer_id="41")

    kept = folded([first, update(change(11), at_ms=NOW_MS, customer_id="42"), NOW_MS - 5])

    assert kept.former == {}


def test_a_join_from_before_an_erasure_is_not_too_old_but_erased() -> None:
    old = update(change(11), at_ms=NOW_MS - 40 * DAY_MS)
    erased = folded([NOW_MS - 5])

    assert too_old(erased, erased, [old], now=NOW) == []
    assert too_old(PersonState(), PersonState(), [old], now=NOW) == [0]

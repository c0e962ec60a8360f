"""What is known of a person: merging, packing, naming."""

from __future__ import annotations

from random import Random

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from handler.domain.membership import (
    MAX_FORMER,
    MAX_VALUES,
    TOMBSTONE_LIFE_S,
    PersonState,
    is_member,
    membership_values,
    merge,
    stamp,
    too_old,
)
from handler.domain.update import Identifier, Update, person_key
from handler.domain.versions import FORMER_LIFE_S, new_version, without_former
from tests.builders import NOW, NOW_MS, change, profile_of, state, update
from tests.strategies import ALL, CHANGES, RECENT, UPDATES


def known_of(kept: PersonState) -> tuple[object, ...]:
    """What a state says, but for how often it was written."""
    return kept.memberships, kept.set_at, kept.identifier


def folded(batches: list[list[Update]]) -> PersonState:
    kept = PersonState()
    for batch in batches:
        kept = merge(kept, batch, now=NOW)
    return kept


@given(st.lists(UPDATES, min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_the_order_of_arrival_does_not_matter(updates: list[Update], rng: Random) -> None:
    shuffled = rng.sample(updates, len(updates))

    assert known_of(folded([shuffled])) == known_of(folded([updates]))


@given(st.lists(UPDATES, min_size=1, max_size=8), st.integers(1, 4))
def test_the_grouping_into_batches_does_not_matter(updates: list[Update], size: int) -> None:
    batches = [updates[start : start + size] for start in range(0, len(updates), size)]

    assert known_of(folded(batches)) == known_of(folded([updates]))


@given(st.lists(UPDATES, min_size=1, max_size=8))
def test_seen_twice_changes_nothing(updates: list[Update]) -> None:
    once = folded([updates])

    assert merge(once, updates, now=NOW) is once


@given(CHANGES, RECENT, RECENT)
def test_an_exit_never_loses_to_an_older_join(leaving, left_at, joined_at) -> None:
    assume(joined_at <= left_at)
    exit_ = update(change(leaving.audience_id, joined=False), at_ms=left_at)
    join = update(change(leaving.audience_id), at_ms=joined_at)

    for order in ([exit_, join], [join, exit_]):
        kept = folded([[one] for one in order])
        assert not is_member(kept.memberships[leaving.audience_id])


def test_leaving_wins_on_equal_times() -> None:
    kept = merge(state(11), [update(change(11, joined=False))], now=NOW)

    assert not is_member(kept.memberships[11])


def test_a_newer_join_undoes_an_exit() -> None:
    kept = merge(state(left=(11,), at_ms=NOW_MS - 1), [update(change(11))], now=NOW)

    assert is_member(kept.memberships[11])


def test_a_change_raises_the_version_by_one_and_the_timestamp_past_the_last() -> None:
    known = state(11, at_ms=NOW_MS - 1, version=7, timestamp=int(NOW) + 5)

    kept = merge(known, [update(change(12))], now=NOW)

    assert (kept.version, kept.timestamp) == (8, int(NOW) + 6)


def test_the_timestamp_is_now_where_the_last_is_older() -> None:
    kept = merge(state(11, at_ms=NOW_MS - 90_000), [update(change(12))], now=NOW)

    assert kept.timestamp == int(NOW)


def test_an_older_change_leaves_the_state_as_it_is() -> None:
    known = state(11)

    assert merge(known, [update(change(11, joined=False), at_ms=NOW_MS - 1)], now=NOW) is known


LONG = st.integers(NOW_MS - 40 * 86_400_000, NOW_MS)


@given(
    st.lists(st.builds(lambda one, at: update(one, at_ms=at), CHANGES, LONG), min_size=1),
    st.randoms(use_true_random=False),
)
def test_the_order_within_a_batch_does_not_matter_even_for_exits_of_long_ago(
    updates: list[Update], rng: Random
) -> None:
    shuffled = rng.sample(updates, len(updates))

    assert folded([shuffled]).memberships == folded([updates]).memberships


def test_exits_older_than_thirty_days_are_forgotten_with_the_next_change() -> None:
    long_ago = NOW_MS - TOMBSTONE_LIFE_S * 1000 - 1
    known = state(11, left=(12,), at_ms=long_ago)

    kept = merge(known, [update(change(13))], now=NOW)

    assert set(kept.memberships) == {11, 13}


def test_an_old_exit_from_an_unknown_audience_changes_nothing() -> None:
    known = state(11)
    long_ago = NOW_MS - TOMBSTONE_LIFE_S * 1000 - 1

    assert merge(known, [update(change(12, joined=False), at_ms=long_ago)], now=NOW) is known


def test_an_id_outranks_a_newer_email_and_a_newer_id_an_older_one() -> None:
    by_id = update(customer_id="42", at_ms=NOW_MS - 2)
    by_newer_id = update(customer_id="43", at_ms=NOW_MS - 1)
    by_email = update(customer_id=None, email="ann@example.com")

    kept = folded([[by_email, by_newer_id, by_id]])

    assert kept.identifier == Identifier(is_id=True, set_at_ms=NOW_MS - 1, value="43")


def test_an_email_that_identifies_is_kept_in_lower_case() -> None:
    kept = folded([[update(customer_id=None, email="Ann@Example.com")]])

    assert kept.identifier is not None
    assert kept.identifier.text == "email:ann@example.com"


def test_the_key_names_the_workspace_and_hides_the_person() -> None:
    keys = {
        person_key("site", profile_of(mpid=7)),
        person_key("site", profile_of(mpid=None, customer_id="7")),
        person_key("site", profile_of(mpid=None, customer_id=None, email="a@example.com")),
        person_key("other", profile_of(mpid=7)),
    }

    assert len(keys) == 4
    assert all(len(key.partition("#")[2]) == 64 for key in keys)


def test_a_profile_with_the_hash_of_its_person_has_the_key_of_the_profile_with_its_mpid() -> None:
    key = person_key("site", profile_of(mpid=7, customer_id="42"))
    by_hash = msgspec.structs.replace(profile_of(mpid=None), person_hash=key.partition("#")[2])

    assert person_key("site", by_hash) == key


def test_the_key_of_an_email_does_not_depend_on_case() -> None:
    keys = [
        person_key("site", profile_of(mpid=None, customer_id=None, email=email))
        for email in ("Ann@Example.com", "ann@example.com")
    ]

    assert keys[0] == keys[1]


def by_email(email: str, at_ms: int) -> Update:
    return update(customer_id=None, email=email, at_ms=at_ms)


OLD_EMAIL = by_email("old@example.com", NOW_MS - 2)
NEW_EMAIL = by_email("new@example.com", NOW_MS)


def texts(kept: PersonState) -> list[str]:
    return [former.text for former in kept.former]


def test_an_identifier_that_was_kept_and_is_replaced_is_remembered() -> None:
    kept = folded(
        [[by_email("old@example.com", NOW_MS - 2)], [by_email("new@example.com", NOW_MS)]]
    )

    assert texts(kept) == ["email:old@example.com"]


def test_an_identifier_that_was_never_kept_is_not_remembered() -> None:
    kept = folded([[OLD_EMAIL, NEW_EMAIL]])

    assert texts(kept) == []


def test_an_identifier_that_comes_back_is_former_no_more() -> None:
    kept = folded(
        [
            [by_email("ann@example.com", NOW_MS - 3)],
            [by_email("bo@example.com", NOW_MS - 2)],
            [by_email("ann@example.com", NOW_MS - 1)],
        ]
    )

    assert texts(kept) == ["email:bo@example.com"]


def test_a_newer_message_with_the_same_identifier_makes_none_former() -> None:
    assert texts(folded([[update(at_ms=NOW_MS - 1)], [update(at_ms=NOW_MS)]])) == []


def test_of_many_former_identifiers_the_oldest_are_forgotten() -> None:
    kept = folded([[by_email(f"{n}@example.com", NOW_MS - 20 + n)] for n in range(12)])

    assert texts(kept) == [f"email:{n}@example.com" for n in range(11 - MAX_FORMER, 11)]


@given(st.lists(UPDATES, min_size=1, max_size=8))
def test_whoever_is_known_by_an_identifier_does_not_have_it_as_a_former_one(updates) -> None:
    kept = folded([[one] for one in updates])

    assert kept.identifier is not None
    assert kept.identifier.text not in texts(kept)
    assert len(set(texts(kept))) == len(texts(kept))


def test_with_a_former_identifier_there_is_a_second_for_clearing_it() -> None:
    known = folded([[OLD_EMAIL]])

    kept = merge(known, [NEW_EMAIL], now=NOW)

    assert kept.timestamp == known.timestamp + 2
    assert new_version(kept, now=NOW).timestamp == kept.timestamp + 1


def test_without_former_identifiers_is_the_next_version_of_the_same_time() -> None:
    known = folded([[OLD_EMAIL], [NEW_EMAIL]])
    (last,) = known.former.values()

    assert without_former(known, last + FORMER_LIFE_S - 1) is known
    kept = without_former(known, last + FORMER_LIFE_S)
    assert (kept.version, kept.timestamp, kept.former) == (known.version + 1, known.timestamp, {})


LONG_AGO = NOW_MS - TOMBSTONE_LIFE_S * 1000 - 1


def test_a_join_older_than_exits_are_remembered_does_not_count() -> None:
    known = state(12)
    updates = [update(change(11), at_ms=LONG_AGO), update(change(13))]

    kept = merge(known, updates, now=NOW)

    assert set(kept.memberships) == {12, 13}
    assert too_old(known, kept, updates, now=NOW) == [0]


@pytest.mark.parametrize("left", [(), (11,)])
def test_a_join_of_an_audience_that_is_known_is_never_too_old(left) -> None:
    known = state(*({11} - set(left)), left=left, at_ms=LONG_AGO - 5)
    updates = [update(change(11), at_ms=LONG_AGO)]

    kept = merge(known, updates, now=NOW)

    assert too_old(known, kept, updates, now=NOW) == []
    assert is_member(kept.memberships[11])


def test_an_old_join_that_a_newer_change_follows_is_not_too_old() -> None:
    updates = [update(change(11), at_ms=LONG_AGO), update(change(11))]

    kept = merge(PersonState(), updates, now=NOW)

    assert too_old(PersonState(), kept, updates, now=NOW) == []


@given(
    st.lists(
        st.builds(
            lambda one, at: update(one, at_ms=at), CHANGES, st.integers(LONG_AGO - 9, NOW_MS)
        ),
        min_size=1,
        max_size=8,
    )
)
def test_whatever_the_order_nobody_is_in_an_audience_by_a_join_that_is_too_old(updates) -> None:
    kept = folded([[one] for one in updates])

    joined = {
        one.changes[0].audience_id
        for one in updates
        if one.changes[0].is_member and one.at_ms > LONG_AGO
    }
    assert {key for key, newest in kept.memberships.items() if is_member(newest)} <= joined


AUDIENCE_IDS = st.integers(-(2**63), 2**63 - 1)


def test_membership_values_are_quoted_and_ascending() -> None:
    assert membership_values(state(11036, 11034, left=(5,)).memberships) == ["'11034','11036'"]


def test_a_person_in_no_audience_has_one_empty_value() -> None:
    assert membership_values(state(left=(5,)).memberships) == [""]


@given(st.sets(AUDIENCE_IDS, max_size=200))
def test_membership_values_hold_every_audience_once_within_the_limit(ids: set[int]) -> None:
    values = membership_values({key: stamp(NOW_MS, removed=False) for key in ids})

    assert all(len(value) <= 1000 for value in values)
    assert ",".join(values) == ",".join(f"'{key}'" for key in sorted(ids))


def test_continuations_once_sent_are_remembered() -> None:
    many = state(*range(100_000, 100_200))

    more = merge(many, [update(change(7))], now=NOW)
    none = merge(
        more,
        [update(*(change(key, joined=False) for key in more.memberships), at_ms=NOW_MS + 1)],
        now=NOW,
    )

    assert (more.continuations, none.continuations) == (1, 1)


@pytest.mark.parametrize("removed", [True, False])
def test_a_stamp_tells_whether_it_is_a_membership(removed) -> None:
    assert is_member(stamp(NOW_MS, removed=removed)) is not removed


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 300)), min_size=1, max_size=5),
    st.randoms(use_true_random=False),
)
def test_of_too_many_attributes_the_newest_are_kept_whatever_the_order(said, rng: Random) -> None:
    updates = [
        update(
            email="ann@example.com",
            shared={f"k{number}": "x" for number in range(first, first + 200)},
            at_ms=NOW_MS + minute,
            mapping=ALL,
        )
        for minute, first in said
    ]

    kept = folded([[each] for each in updates])

    assert len(kept.set_at) <= MAX_VALUES
    assert "email" in kept.set_at
    assert folded([rng.sample(updates, len(updates))]).set_at == kept.set_at
    assert merge(kept, updates, now=NOW) is kept

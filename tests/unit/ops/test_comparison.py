"""Who differs between a file and the table, and what is sent for it."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.domain.change_messages import Change, change_messages
from handler.domain.membership import PersonState, merge, stamp
from handler.domain.message import read_message
from handler.domain.profile import read_profile
from handler.domain.update import Identifier, Update, person_key
from ops.change_files import Unaddressed
from ops.comparison import AudienceCounts, Comparison
from tests.builders import NOW, NOW_MS, profile_of, state

SITE = "site-a"
MADE_MS = NOW_MS - 10_000
EARLIER, LATER = MADE_MS - 1000, MADE_MS + 1000


def joined(
    customer_id="42", mpid: int | None = 7, at_ms=MADE_MS, audience_id=11, **fields
) -> Change:
    identities = {"customer": customer_id}
    return Change(at_ms, audience_id, "VIP", True, identities, mpid, **fields)  # noqa: FBT003


def left(**fields) -> Change:
    return msgspec.structs.replace(joined(**fields), is_member=False)


def key_of(**fields) -> str:
    return person_key(SITE, profile_of(**fields))


def known_as(customer_id: str) -> Identifier:
    return Identifier(is_id=True, set_at_ms=EARLIER, value=customer_id)


def compared(rows, people) -> Comparison:
    comparison = Comparison(SITE, MADE_MS, "customer")
    for row in rows:
        comparison.add(row)
    for key, kept in people.items():
        comparison.compare(key, kept)
    comparison.finish()
    return comparison


def changes(comparison, rows, people) -> list[Change]:
    """Return all that is sent so that the table agrees with the file."""
    exits = [
        comparison.exit_of(key, audience_id, "VIP", people[key])
        for key, audience_id in comparison.extra()
    ]
    return [each for each in (*exits, *map(comparison.difference, rows)) if each is not None]


def test_whoever_is_in_both_or_in_neither_is_no_difference() -> None:
    rows = [joined(), left(customer_id="43", mpid=8), left(customer_id="44", mpid=9)]
    people = {key_of(mpid=7): state(11, at_ms=EARLIER), key_of(mpid=8): state(left=(11,))}

    comparison = compared(rows, people)

    assert comparison.counts == [AudienceCounts(11, in_file=1, in_table=1)]
    assert changes(comparison, rows, people) == []


def test_whom_the_table_does_not_have_is_missing() -> None:
    rows = [joined(), joined(customer_id="43", mpid=8), joined(customer_id="44", mpid=9)]
    people = {key_of(mpid=7): state(12), key_of(mpid=8): state(left=(11,), at_ms=EARLIER)}

    comparison = compared(rows, people)

    assert comparison.counts == [AudienceCounts(11, in_file=3, missing=3)]
    assert changes(comparison, rows, people) == rows


def test_whom_only_the_table_has_is_extra_and_is_sent_by_the_hash_in_the_key() -> None:
    key = key_of(mpid=8)
    rows = [joined()]
    people = {
        key_of(mpid=7): state(11),
        key: state(11, 12, at_ms=EARLIER, identifier=known_as("43")),
    }

    comparison = compared(rows, people)

    assert comparison.counts == [AudienceCounts(11, in_file=1, in_table=2, extra=1)]
    (sent,) = changes(comparison, rows, people)
    assert (sent.person_hash, sent.mpid) == (key.partition("#")[2], None)
    assert (sent.identities, sent.is_member, sent.at_ms) == ({"customer": "43"}, False, MADE_MS)


def test_whom_the_file_lets_leave_is_extra() -> None:
    rows = [left()]
    people = {key_of(mpid=7): state(11, at_ms=EARLIER)}

    comparison = compared(rows, people)

    assert comparison.counts == [AudienceCounts(11, in_table=1, extra=1)]
    assert changes(comparison, rows, people) == rows


@pytest.mark.parametrize(
    ("rows", "kept"),
    [
        ([joined()], state(left=(11,), at_ms=LATER)),
        ([joined()], state(left=(11,), at_ms=MADE_MS)),
        ([joined(at_ms=EARLIER)], state(left=(11,), at_ms=EARLIER + 1)),
        ([left(at_ms=EARLIER)], state(11, at_ms=EARLIER + 1)),
        ([joined()], state(erased_at_ms=LATER)),
    ],
)
def test_a_change_after_that_of_the_file_is_no_difference(rows, kept) -> None:
    people = {key_of(mpid=7): kept}

    comparison = compared(rows, people)

    assert [(each.drift, each.newer) for each in comparison.counts] == [(0, 1)]
    assert changes(comparison, rows, people) == []


def test_whoever_entered_after_the_file_was_made_stays() -> None:
    rows = [joined()]
    people = {key_of(mpid=7): state(11), key_of(mpid=8): state(11, at_ms=LATER)}

    comparison = compared(rows, people)

    assert comparison.counts == [AudienceCounts(11, in_file=1, in_table=2, newer=1)]
    assert changes(comparison, rows, people) == []


def test_a_person_without_an_mpid_in_the_file_is_found_by_the_identifier() -> None:
    key = key_of(mpid=7, customer_id="42")
    inside, outside = joined(mpid=None), joined(customer_id="43", mpid=None)
    people = {
        key: state(11, at_ms=EARLIER, identifier=known_as("42")),
        key_of(mpid=8): state(12, at_ms=EARLIER, identifier=known_as("43")),
    }

    comparison = compared([inside, outside], people)

    assert comparison.counts == [AudienceCounts(11, in_file=2, in_table=1, missing=1)]
    (sent,) = changes(comparison, [inside, outside], people)
    assert sent.person_hash == key_of(mpid=8).partition("#")[2]
    assert sent.identities == {"customer": "43"}


def test_two_rows_of_a_person_with_and_without_an_mpid_are_one_person() -> None:
    rows = [joined(), joined(mpid=None)]
    people = {key_of(mpid=7): state(11, identifier=known_as("42"))}

    comparison = compared(rows, people)

    assert [each.drift for each in comparison.counts] == [0]
    assert changes(comparison, rows, people) == []


def test_a_member_who_cannot_be_sent_is_neither_extra_nor_missing() -> None:
    rows = [Unaddressed(7, 11), Unaddressed(8, 11), Unaddressed(9, 11), Unaddressed(None, 11)]
    people = {key_of(mpid=7): state(11, at_ms=EARLIER), key_of(mpid=8): state(left=(11,))}

    comparison = compared(rows, people)

    assert comparison.counts == [AudienceCounts(11, in_file=3, in_table=1)]
    assert changes(comparison, rows, people) == []


def test_other_workspaces_and_other_audiences_are_not_compared() -> None:
    people = {person_key("site-b", profile_of(mpid=8)): state(11), key_of(mpid=7): state(11, 12)}

    assert compared([joined()], people).counts == [AudienceCounts(11, in_file=1, in_table=1)]


def test_the_newer_of_two_rows_of_a_person_counts_and_it_alone_is_sent() -> None:
    rows = [left(at_ms=EARLIER), joined(at_ms=EARLIER + 1), left(at_ms=EARLIER - 1)]

    comparison = compared(rows, {})

    assert comparison.counts == [AudienceCounts(11, in_file=1, missing=1)]
    assert changes(comparison, rows, {}) == [rows[1]]


def test_a_row_that_was_added_to_the_file_meanwhile_is_not_sent() -> None:
    comparison = compared([joined()], {})

    assert comparison.difference(joined(audience_id=12)) is None


def test_an_exit_is_not_sent_if_the_person_has_left_or_come_again_meanwhile() -> None:
    key = key_of(mpid=8)
    comparison = compared([joined()], {key: state(11, at_ms=EARLIER)})

    for now in (state(left=(11,), at_ms=EARLIER + 1), state(11, at_ms=LATER), PersonState()):
        assert comparison.exit_of(key, 11, "VIP", now) is None


# --- any file, any table ---

PEOPLE = st.integers(1, 5)
UNNAMED = {4, 5}
"""Whom all rows of the file name by the customer id alone."""
TIMES = st.integers(-3, 3).map(lambda step: MADE_MS + step * 1000)
AUDIENCES = st.sampled_from([11, 12])
FILES = st.lists(
    st.builds(
        lambda number, audience_id, at_ms, is_member: Change(
            at_ms,
            audience_id,
            "VIP",
            is_member=is_member,
            identities={"customer": f"c{number}"},
            mpid=None if number in UNNAMED else number,
        ),
        PEOPLE,
        AUDIENCES,
        st.just(MADE_MS) | TIMES.filter(lambda at_ms: at_ms <= MADE_MS),
        st.booleans(),
    )
)
TABLES = st.dictionaries(
    PEOPLE, st.dictionaries(AUDIENCES, st.tuples(TIMES, st.booleans()), min_size=1)
)


def kept(number, memberships):
    stamps = {key: stamp(at_ms, removed=removed) for key, (at_ms, removed) in memberships.items()}
    return PersonState(1, identifier=known_as(f"c{number}"), memberships=stamps)


def forwarded(people, sent):
    """Return the table after the function has forwarded what was sent."""
    people = dict(people)
    for body, _ in change_messages(sent, account_id=None, message_id="id"):
        message = read_message(body, now=NOW)
        for profile in map(read_profile, message.profiles):
            key = person_key(SITE, profile)
            update = Update.of(profile, at_ms=message.sent_at_ms, one_attribute_per_audience=False)
            people[key] = merge(people.get(key, PersonState()), [update], now=NOW)
    return people


@given(FILES, TABLES)
def test_after_what_is_sent_nothing_differs_and_no_newer_change_is_undone(rows, table) -> None:
    people = {key_of(mpid=number): kept(number, each) for number, each in table.items()}

    after = forwarded(people, changes(compared(rows, people), rows, people))

    assert sum(each.drift for each in compared(rows, after).counts) == 0
    for key, before in people.items():
        for audience_id, newest in before.memberships.items():
            if newest >> 1 > MADE_MS:
                assert after[key].memberships[audience_id] == newest


@given(FILES, TABLES)
def test_after_an_import_nobody_is_missing(rows, table) -> None:
    named = [row for row in rows if row.mpid is not None]
    people = {key_of(mpid=number): kept(number, each) for number, each in table.items()}

    counts = compared(named, forwarded(people, named)).counts

    assert sum(each.missing for each in counts) == 0

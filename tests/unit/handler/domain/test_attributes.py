"""What a person carries in Customer.io."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.domain.attribute_mapping import mapping_of
from handler.domain.attributes import Person, build_person
from handler.domain.audience import Catalogue
from handler.domain.audience_attributes import AudienceAttributes, attribute_name
from handler.domain.membership import MAX_VALUES, PersonState, merge
from handler.domain.options import DeliveryOptions
from handler.domain.profile import MembershipChange
from handler.domain.update import Identifier
from tests.builders import NOW, NOW_MS, change, state, update


def person(kept: PersonState, updates, catalogue=None, **options) -> Person:
    audiences = AudienceAttributes(catalogue or Catalogue(), DeliveryOptions(**options))
    return build_person(kept, updates, audiences)


def attributes(kept: PersonState, *updates, **options) -> dict[str, object]:
    return dict(person(kept, updates, **options).attributes)


def merged(*updates) -> PersonState:
    return merge(PersonState(), updates, now=NOW)


def test_the_membership_list_is_always_sent() -> None:
    assert attributes(state(11036, 11034)) == {"SegmentMembership": "'11034','11036'"}
    assert attributes(state(left=(5,))) == {"SegmentMembership": ""}


def test_a_long_list_goes_on_in_numbered_attributes() -> None:
    sent = attributes(state(*range(100_000, 100_250)))

    assert list(sent) == ["SegmentMembership", "SegmentMembership 2", "SegmentMembership 3"]
    assert person(state(*range(100_000, 100_250)), []).overflowing


def test_a_continuation_no_longer_needed_is_cleared() -> None:
    sent = attributes(state(11, continuations=2))

    assert sent["SegmentMembership 2"] is None
    assert sent["SegmentMembership 3"] is None


def test_an_attribute_of_an_audience_is_the_current_membership_of_it() -> None:
    late = update(change(11), change(12, joined=False), at_ms=NOW_MS - 1, one_attribute=True)
    known = state(12, 13, left=(11,))

    sent = attributes(known, late)

    assert (sent["In Audience 11"], sent["In Audience 12"]) == (False, True)
    assert "In Audience 13" not in sent


@pytest.mark.parametrize("joined", [11, 12])
def test_an_attribute_is_true_if_the_person_is_in_any_audience_of_that_name(joined) -> None:
    told = update(
        *(change(key, joined=key == joined, name="VIP") for key in (11, 12)), one_attribute=True
    )

    assert attributes(merged(told), told)["In VIP"] is True


def test_an_exit_clears_its_attribute_if_the_setting_says_so() -> None:
    left = update(change(11, joined=False), change(12), one_attribute=True)

    sent = attributes(merged(left), left, clear_on_exit=True)

    assert (sent["In Audience 11"], sent["In Audience 12"]) == (None, True)


def test_audiences_are_counted_if_each_is_an_attribute() -> None:
    known = state(11, 12, left=(13,))

    def counted(**options) -> list[int]:
        told = [update(change(11), one_attribute=one) for one in (True, False)]
        return [person(known, [one], **options).audience_count for one in told]

    assert counted() == [3, 0]
    assert counted(clear_on_exit=True) == [2, 0]


@given(st.text(st.sampled_from("v2. é"), max_size=90), st.sampled_from(["_", "dot"]))
def test_with_a_replacement_no_name_of_an_audience_has_a_dot(name, replacement) -> None:
    told = update(change(11, name=f"v2.0 {name}"), one_attribute=True)

    sent = attributes(merged(told), told, dot_replacement=replacement)

    assert not [name for name in sent if "." in name]
    assert [name for name in sent if name.startswith(f"In v2{replacement}0 ")]


def test_audiences_with_a_dot_in_their_name_are_noted_if_it_is_sent() -> None:
    changes = [change(11), change(12, name="v2.0 users"), change(13, name="a.b")]

    def noted(*, one_attribute: bool = True, **options) -> tuple[int, ...]:
        told = update(*changes, one_attribute=one_attribute)
        return person(merged(told), [told, told], **options).dotted_audiences

    assert noted() == (12, 13)
    assert noted(dot_replacement="_") == ()
    assert noted(one_attribute=False) == ()


def test_without_the_setting_there_is_no_attribute_per_audience() -> None:
    assert list(attributes(state(11), update(change(11)))) == ["SegmentMembership"]


def test_the_email_comes_along_only_where_an_id_names_the_person() -> None:
    by_id = update(email="Ann@example.com")
    by_email = update(customer_id=None, email="Ann@example.com")

    assert attributes(merged(by_id), by_id)["email"] == "Ann@example.com"
    assert "email" not in attributes(merged(by_email), by_email)


def test_names_are_set_and_cleared() -> None:
    told = update(shared={"$FirstName": "Ann", "$LastName": None})

    sent = attributes(merged(told), told)

    assert (sent["first_name"], sent["last_name"]) == ("Ann", None)


def test_a_value_older_than_the_newest_that_ever_came_is_left_out() -> None:
    old = update(email="old@example.com", shared={"$FirstName": "Old"}, at_ms=NOW_MS - 1)
    new = update(email="new@example.com", shared={"$FirstName": "New"})

    assert attributes(merged(new), old) == {"SegmentMembership": ""}
    assert attributes(merged(new, old), old, new)["email"] == "new@example.com"


def test_clearing_wins_on_equal_times_and_the_larger_of_two_values() -> None:
    told = [update(shared={"$FirstName": name}) for name in ("Ann", None, "Bo")]
    both = [update(shared={"$FirstName": name}) for name in ("Bo", "Ann")]

    assert attributes(merged(*told), *told)["first_name"] is None
    assert attributes(merged(*both), *both)["first_name"] == "Bo"


def test_a_name_over_1000_bytes_is_left_out_and_reported() -> None:
    told = update(shared={"$FirstName": "é" * 501, "$LastName": "é" * 500})

    held = person(merged(told), [told])

    assert "first_name" not in held.attributes
    assert held.attributes["last_name"] == "é" * 500
    assert held.attributes_left_out == 1


def test_a_long_audience_name_is_cut_between_characters_and_ends_in_the_id() -> None:
    name = attribute_name("In " + "😀" * 60, 11)

    assert name.endswith("😀 (11)")
    assert 146 < len(name.encode()) <= 150


@given(st.text(min_size=1), st.integers(-(2**63), 2**63 - 1))
def test_an_attribute_name_is_never_too_long(name, audience_id) -> None:
    assert len(attribute_name(f"In {name * 40}", audience_id).encode()) <= 150


def test_two_long_names_that_begin_alike_stay_apart() -> None:
    assert attribute_name("x" * 200, 1) != attribute_name("x" * 200, 2)


def test_a_person_without_an_identifier_cannot_be_delivered() -> None:
    with pytest.raises(ValueError, match="cannot be delivered"):
        person(PersonState(), [])


NAMES = st.text(st.characters(codec="utf-8"), max_size=700)


@given(st.lists(st.tuples(st.integers(1, 5), st.booleans(), st.sampled_from("AB")), max_size=9))
def test_clearing_on_exit_replaces_false_by_null_and_nothing_else(entries) -> None:
    told = update(
        *(change(key, joined=joined, name=name) for key, joined, name in entries),
        one_attribute=True,
    )

    kept = attributes(merged(told), told)
    cleared = attributes(merged(told), told, clear_on_exit=True)

    assert cleared == {name: None if one is False else one for name, one in kept.items()}


@given(
    st.sets(st.integers(1, 10**7), max_size=400),
    st.dictionaries(st.sampled_from(["$FirstName", "$LastName"]), NAMES | st.none()),
    st.lists(NAMES, max_size=5),
)
def test_no_name_and_no_value_breaks_a_limit(ids, names, audience_names) -> None:
    changes = [change(key, name=name or None) for key, name in enumerate(audience_names, 1)]
    told = update(*changes, shared=names, one_attribute=True)

    sent = attributes(merge(state(*ids, at_ms=NOW_MS - 1), [told], now=NOW), told)

    assert all(len(name.encode()) <= 150 for name in sent)
    assert all(len(value.encode()) <= 1000 for value in sent.values() if isinstance(value, str))


def test_a_person_is_addressed_by_what_the_state_knows() -> None:
    known = state(11, identifier=Identifier(is_id=True, set_at_ms=NOW_MS, value="99"))

    held = person(known, [update(change(11), customer_id="42", at_ms=NOW_MS - 1)])

    assert (held.identifier.kind, held.identifier.value) == ("id", "99")


def test_an_audience_without_a_name_is_called_by_its_id() -> None:
    unnamed = update(MembershipChange(11, "", is_member=True), one_attribute=True)

    assert attributes(merged(unnamed), unnamed)["In 11"] is True


@pytest.mark.parametrize("value", ["Ann", None])
def test_a_first_name_that_is_no_text_is_left_out(value) -> None:
    said = update(shared={"$FirstName": 7, "$LastName": value})

    sent = attributes(merged(said), said)

    assert "first_name" not in sent
    assert sent["last_name"] == value


# --- shared user attributes ---

MAPPING = mapping_of({"ltv": "lifetime_value", "*": "mp_*"})
VALUES = st.sampled_from(["Ann", "7", "", 7, 7.0, True, [], ["a", 7, True], None])


def said(values, at_ms=NOW_MS):
    return update(shared=values, at_ms=at_ms, mapping=MAPPING)


@pytest.mark.parametrize("value", ["Ann", "", 7, 7.5, True, ["a", "b"], [], None])
def test_a_mapped_attribute_is_sent_as_it_came(value) -> None:
    shared = said({"ltv": value, "City": value})

    sent = attributes(merged(shared), shared)

    assert (sent["lifetime_value"], sent["mp_City"]) == (value, value)


def test_an_attribute_that_is_not_mapped_is_neither_sent_nor_kept() -> None:
    shared = update(shared={"ltv": "7"})

    assert attributes(merged(shared), shared) == {"SegmentMembership": ""}
    assert merged(shared).set_at == {}


@given(
    st.lists(
        st.tuples(
            st.dictionaries(st.sampled_from(["ltv", "City", "$FirstName"]), VALUES),
            st.sampled_from([NOW_MS, NOW_MS - 1, NOW_MS - 2]),
        ),
        min_size=1,
        max_size=6,
    ),
    st.randoms(use_true_random=False),
    st.integers(1, 6),
)
def test_order_duplication_and_grouping_do_not_matter_to_what_is_sent(told, rng, size) -> None:
    updates = [said(values, at_ms) for values, at_ms in told]
    again = rng.sample(updates, len(updates)) + rng.sample(updates, 1)
    kept = PersonState()
    for first in range(0, len(again), size):
        kept = merge(kept, again[first : first + size], now=NOW)

    sent = attributes(merged(*updates), *updates)

    assert repr(sorted(attributes(kept, *again).items())) == repr(sorted(sent.items()))


@pytest.mark.parametrize(
    "values",
    [
        {"ltv": "é" * 501},
        {"ltv": ["x" * 497, "x" * 497]},
        {"x" * 148: "its name would have 151 bytes"},
    ],
    ids=["a text", "a list", "a name"],
)
def test_what_customerio_cannot_hold_is_left_out_and_told(values) -> None:
    shared = said({**values, "City": "Rome"})

    held = person(merged(shared), [shared])

    assert held.attributes == {"SegmentMembership": "", "mp_City": "Rome"}
    assert held.attributes_left_out == 1


def test_a_list_within_1000_bytes_as_json_is_sent() -> None:
    shared = said({"ltv": ["x" * 497, "x" * 496]})

    assert "lifetime_value" in attributes(merged(shared), shared)


def test_a_value_whose_time_the_state_has_no_room_for_is_reported() -> None:
    mapping = mapping_of({"*": "mp_*"})
    said = update(shared={f"k{n:03}": "x" for n in range(MAX_VALUES + 5)}, mapping=mapping)

    person_sent = person(merged(said), [said])

    assert len([name for name in person_sent.attributes if name.startswith("mp_")]) == MAX_VALUES
    assert person_sent.attributes_left_out == 5

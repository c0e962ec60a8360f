"""`In <audience name>`: what is written and what is cleared when audiences have been renamed."""

from __future__ import annotations

import pytest

from handler.domain.attribute_mapping import MAX_NAME_BYTES
from handler.domain.attributes import former_persons
from handler.domain.audience import AudienceAction, AudienceUpdate, Catalogue
from handler.domain.audience_attributes import AudienceAttributes
from handler.domain.options import DeliveryOptions
from handler.domain.profile import MembershipChange
from handler.domain.update import Identifier
from tests.builders import change, state, update


def said(
    audience_id: int, name: str, at_ms: int, action: AudienceAction = "update"
) -> AudienceUpdate:
    return AudienceUpdate(audience_id, at_ms, name, action)


def learned(*news: AudienceUpdate) -> Catalogue:
    return Catalogue().learn(news)


def attributes(
    catalogue: Catalogue, kept, *changes: MembershipChange, **options
) -> dict[str, bool | None]:
    return AudienceAttributes(catalogue, DeliveryOptions(**options)).of(kept.memberships, changes)


RENAMED = learned(said(11, "VIP", 10), said(11, "Gold", 20))
SWAPPED = learned(
    said(11, "VIP", 10), said(12, "Gold", 10), said(11, "Gold", 20), said(12, "VIP", 21)
)


def test_a_rename_writes_the_new_attribute_and_clears_the_former() -> None:
    assert attributes(RENAMED, state(11), change(11, name="Gold")) == {
        "In Gold": True,
        "In VIP": None,
    }


def test_an_audience_that_the_changes_do_not_name_has_no_attribute() -> None:
    catalogue = RENAMED.learn([said(12, "Loyal", 10)])

    assert attributes(catalogue, state(11, 12), change(12, name="Loyal")) == {"In Loyal": True}


def test_a_late_message_with_the_former_name_writes_the_present_one() -> None:
    late = change(11, name="VIP", joined=False)

    assert attributes(RENAMED, state(11), late) == {"In Gold": True, "In VIP": None}


def test_every_former_name_is_cleared() -> None:
    catalogue = RENAMED.learn([said(11, "Platinum", 30)])

    assert attributes(catalogue, state(11), change(11)) == {
        "In Platinum": True,
        "In VIP": None,
        "In Gold": None,
    }


def test_an_audience_that_was_renamed_back_keeps_its_attribute() -> None:
    back = RENAMED.learn([said(11, "VIP", 30)])

    assert attributes(back, state(11), change(11, name="VIP")) == {"In VIP": True, "In Gold": None}


@pytest.mark.parametrize("named", [(11,), (12,), (11, 12), (12, 11)])
@pytest.mark.parametrize(
    ("kept", "in_gold", "in_vip"),
    [
        (state(11, 12), True, True),
        (state(11, left=(12,)), True, False),
        (state(12, left=(11,)), False, True),
        (state(left=(11, 12)), False, False),
    ],
)
def test_of_two_audiences_that_swapped_names_each_attribute_is_that_of_the_present(
    kept, in_gold, in_vip, named
) -> None:
    changes = [change(audience_id) for audience_id in named]

    assert attributes(SWAPPED, kept, *changes) == {"In Gold": in_gold, "In VIP": in_vip}


def test_a_former_name_of_an_audience_that_the_person_was_never_in_is_cleared() -> None:
    assert attributes(SWAPPED, state(11), change(11)) == {"In Gold": True, "In VIP": None}


def test_a_former_name_that_only_a_removed_audience_has_is_cleared() -> None:
    catalogue = RENAMED.learn([said(12, "VIP", 15), said(12, "VIP", 25, "remove")])

    assert attributes(catalogue, state(11, 12), change(11)) == {"In Gold": True, "In VIP": None}


@pytest.mark.parametrize("kept", [state(11, left=(12,)), state(12, left=(11,)), state(11, 12)])
def test_in_one_of_two_audiences_of_a_name_is_in_it(kept) -> None:
    shared = learned(said(11, "VIP", 10), said(12, "VIP", 10))

    assert attributes(shared, kept, change(11)) == {"In VIP": True}
    assert attributes(shared, state(left=(11, 12)), change(11)) == {"In VIP": False}


def test_a_removed_audience_keeps_nobody_in_the_one_that_took_its_name() -> None:
    remade = learned(said(11, "VIP", 10), said(11, "", 20, "remove"), said(12, "VIP", 30))

    assert attributes(remade, state(11, left=(12,)), change(12)) == {"In VIP": False}
    assert attributes(remade, state(11), change(11)) == {"In VIP": True}


def test_the_name_of_a_message_counts_while_the_catalogue_has_none() -> None:
    assert attributes(Catalogue(), state(11), change(11, name="VIP")) == {"In VIP": True}
    assert attributes(Catalogue(), state(11), MembershipChange(11, "", is_member=True)) == {
        "In 11": True
    }


def test_with_clear_on_exit_an_attribute_is_true_or_cleared() -> None:
    sent = attributes(SWAPPED, state(11, left=(12,)), change(11), clear_on_exit=True)

    assert sent == {"In Gold": True, "In VIP": None}
    assert attributes(RENAMED, state(left=(11,)), change(11), clear_on_exit=True) == {
        "In Gold": None,
        "In VIP": None,
    }


def test_dots_are_replaced_in_former_names_too() -> None:
    catalogue = learned(said(11, "v1.0", 10), said(11, "v2.0", 20))

    sent = attributes(catalogue, state(11), change(11), dot_replacement="_")

    assert sent == {"In v2_0": True, "In v1_0": None}


def test_a_rename_that_the_replacement_undoes_clears_nothing() -> None:
    catalogue = learned(said(11, "v1.0", 10), said(11, "v1_0", 20))

    assert attributes(catalogue, state(11), change(11), dot_replacement="_") == {"In v1_0": True}


LONG = "é" * 100


def test_a_former_name_is_cleared_as_it_was_cut() -> None:
    catalogue = learned(said(11, LONG, 10), said(11, "VIP", 20))
    before = attributes(learned(said(11, LONG, 10)), state(11), change(11))

    after = attributes(catalogue, state(11), change(11))

    (cut,) = before
    assert len(cut.encode()) <= MAX_NAME_BYTES
    assert cut.endswith(" (11)")
    assert after == {"In VIP": True, cut: None}


def test_a_rename_behind_the_cut_changes_no_attribute() -> None:
    catalogue = learned(said(11, LONG + "a", 10), said(11, LONG + "b", 20))

    (value,) = attributes(catalogue, state(11), change(11)).values()

    assert value is True


def test_long_names_that_are_equal_stay_apart_by_the_audience() -> None:
    catalogue = learned(said(11, LONG, 10), said(12, LONG, 10))

    sent = attributes(catalogue, state(11, left=(12,)), change(11), change(12))

    assert [*sent.values()] == [True, False]


def test_under_a_former_identifier_all_audiences_of_the_state_are_cleared_by_all_names() -> None:
    catalogue = SWAPPED.learn([said(13, "Loyal", 10), said(14, "New", 10), said(14, "Newest", 20)])
    former = Identifier(is_id=False, set_at_ms=1, value="old@example.com")
    message = update(change(15, name="Not in the catalogue"), one_attribute=True)

    (cleared,) = former_persons(
        state(11, 13, left=(14,), former={former: 100}),
        [message],
        AudienceAttributes(catalogue, DeliveryOptions()),
        single_audiences=True,
    )

    assert cleared.attributes == {
        "SegmentMembership": "",
        **dict.fromkeys(
            [
                "In Not in the catalogue",
                "In Gold",
                "In VIP",
                "In Loyal",
                "In New",
                "In Newest",
            ]
        ),
    }


def test_without_one_attribute_per_audience_none_is_cleared_under_a_former_identifier() -> None:
    former = Identifier(is_id=False, set_at_ms=1, value="old@example.com")

    (cleared,) = former_persons(
        state(11, former={former: 100}),
        [update(change(11))],
        AudienceAttributes(RENAMED, DeliveryOptions()),
        single_audiences=False,
    )

    assert cleared.attributes == {"SegmentMembership": ""}

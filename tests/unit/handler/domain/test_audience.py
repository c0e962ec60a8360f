from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.domain.audience import (
    MAX_FORMER_NAMES,
    MAX_NAME_BYTES,
    RENEWED_AFTER_MS,
    Audience,
    AudienceAction,
    AudienceUpdate,
    Catalogue,
    pack_catalogue,
    unpack_catalogue,
)
from handler.errors import UnreadableStateError

NAMES = st.text(min_size=1, max_size=4)
TIMES = st.integers(1, 2**47)
# At one time an audience has one name, and no name comes back within a day: see RENEWED_AFTER_MS.
RENAMES = st.dictionaries(NAMES, TIMES, min_size=1, max_size=MAX_FORMER_NAMES)


def named(name: str, at: int, action: AudienceAction = "update") -> AudienceUpdate:
    return AudienceUpdate(11, at, name, action)


def learned(*news: AudienceUpdate) -> Audience:
    return Catalogue().learn(news).audiences[11]


def test_the_first_name_is_learned():
    assert learned(named("VIP", 10)) == Audience("VIP", 10)


def test_a_later_name_replaces_the_former_one_which_is_kept_with_its_end():
    assert learned(named("VIP", 10), named("Gold", 20)) == Audience("Gold", 20, {"VIP": 20})


def test_a_late_message_with_the_former_name_changes_nothing():
    known = Catalogue().learn([named("VIP", 10), named("Gold", 20)])

    assert known.learn([named("VIP", 15)]) is known


def test_a_late_message_teaches_a_former_name_that_was_never_seen():
    assert learned(named("Gold", 20), named("VIP", 15)) == Audience("Gold", 20, {"VIP": 20})


def test_an_audience_that_is_renamed_back_has_its_old_name_again():
    back = learned(named("VIP", 10), named("Gold", 20), named("VIP", 30))

    assert back == Audience("VIP", 30, {"Gold": 30})


def test_the_same_name_again_is_no_news_within_a_day():
    known = Catalogue().learn([named("VIP", 10)])

    assert known.learn([named("VIP", 10 + RENEWED_AFTER_MS)]) is known
    assert known.learn([named("VIP", 11 + RENEWED_AFTER_MS)]) == Catalogue(
        2, {11: Audience("VIP", 11 + RENEWED_AFTER_MS)}
    )


def test_a_message_without_a_name_teaches_none():
    assert Catalogue().learn([named("", 10)]) == Catalogue()


def test_one_long_name_does_not_fill_a_catalogue():
    assert learned(named("é" * MAX_NAME_BYTES, 10)).name == "é" * (MAX_NAME_BYTES // 2)


def test_only_the_last_former_names_are_kept():
    news = [named(f"name {n}", n) for n in range(1, MAX_FORMER_NAMES + 3)]

    former = learned(*news).former

    assert [*former] == [f"name {n}" for n in range(MAX_FORMER_NAMES + 1, 1, -1)]


@given(RENAMES, st.randoms())
def test_the_order_of_messages_changes_neither_the_name_nor_the_former_ones(renames, rng):
    news = [named(name, at) for name, at in renames.items()]
    shuffled = rng.sample(news, len(news))

    one, other = learned(*news), learned(*shuffled)

    assert (one.name, {*one.former}) == (other.name, {*other.former})


def test_removed_and_added_again_in_any_order():
    news = [named("VIP", 10, "add"), named("VIP", 20, "remove"), named("", 30, "add")]

    for order in permutations(news):
        audience = learned(*order)
        assert (audience.removed_at_ms, audience.added_at_ms) == (20, 30)
        assert not audience.is_removed
    assert learned(*news[:2]).is_removed


def test_a_later_change_of_a_removed_audience_shows_that_it_is_there_again():
    removed = [named("VIP", 10, "add"), named("VIP", 20, "remove")]

    assert learned(*removed, named("VIP", 20)).is_removed
    assert not learned(*removed, named("VIP", 21)).is_removed


def test_a_removal_and_an_addition_at_one_time_leave_it_removed():
    assert learned(named("VIP", 10, "add"), named("VIP", 10, "remove")).is_removed


@given(
    st.dictionaries(
        st.integers(-(2**63), 2**63 - 1),
        st.builds(Audience, NAMES, TIMES, st.dictionaries(NAMES, TIMES), TIMES, TIMES),
    )
)
def test_a_catalogue_that_was_packed_is_read_again(audiences):
    catalogue = Catalogue(3, audiences)

    assert unpack_catalogue(pack_catalogue(catalogue), version=3) == catalogue


def test_an_audience_costs_few_bytes():
    names = {n: Audience(f"Audience number {n:05}", 1_790_000_000_000) for n in range(1000)}

    assert len(pack_catalogue(Catalogue(1, names))) / 1000 < 45


@pytest.mark.parametrize("packed", [b"", b"\x00", b"\xc1", b"\x91", b"\x91\xc0"])
def test_bytes_of_no_known_format_are_refused(packed):
    with pytest.raises(UnreadableStateError):
        unpack_catalogue(packed, version=1)


def test_the_bytes_of_format_1_stay_readable():
    packed = bytes.fromhex("91820b95a4476f6c641481a3564950140504fd95a8c39c6d6cc3a4757401800000")

    assert unpack_catalogue(packed, version=7) == Catalogue(
        7, {11: Audience("Gold", 20, {"VIP": 20}, 5, 4), -3: Audience("Ümläut", 1)}
    )

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.domain.ulid import MAX_TIME_MS, ulid

TIMES = st.integers(0, MAX_TIME_MS)
RANDOM = st.binary(min_size=10, max_size=10)


@pytest.mark.parametrize(
    ("at_ms", "random", "expected"),
    [
        (0, bytes(10), "00000000000000000000000000"),
        (MAX_TIME_MS, b"\xff" * 10, "7ZZZZZZZZZZZZZZZZZZZZZZZZZ"),
        (1469918176385, bytes(10), "01ARYZ6S410000000000000000"),
        (1469922850259, bytes.fromhex("d6764c61efb99302bd5b"), "01ARZ3NDEKTSV4RRFFQ69G5FAV"),
    ],
)
def test_the_examples_of_the_specification_come_out(at_ms, random, expected):
    assert ulid(at_ms, random) == expected


@given(TIMES, TIMES, RANDOM, RANDOM)
def test_an_earlier_time_sorts_first(earlier, later, some, other):
    earlier, later = sorted((earlier, later))

    assert earlier == later or ulid(earlier, some) < ulid(later, other)


@given(TIMES, RANDOM, RANDOM)
def test_other_bytes_give_another_ulid(at_ms, some, other):
    assert (ulid(at_ms, some) == ulid(at_ms, other)) == (some == other)


@pytest.mark.parametrize(
    ("at_ms", "random"), [(-1, bytes(10)), (MAX_TIME_MS + 1, bytes(10)), (0, bytes(9))]
)
def test_what_a_ulid_cannot_hold_is_refused(at_ms, random):
    with pytest.raises(ValueError, match="48 bits"):
        ulid(at_ms, random)

"""The token bucket that bounds requests to a workspace."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.customerio.rate_limit import RateLimit
from handler.domain.workspace import MAX_WORKSPACES


class Clock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock():
    return Clock()


def test_half_a_seconds_worth_goes_at_once_and_the_rest_at_the_rate(clock) -> None:
    limit = RateLimit(10, now=clock)

    waits = [limit.reserve("a", within=60) for _ in range(8)]

    assert waits == pytest.approx([0, 0, 0, 0, 0, 0.1, 0.2, 0.3])


@given(st.floats(0.05, 1000), st.lists(st.floats(0, 5), min_size=1, max_size=30))
def test_no_window_of_time_has_more_requests_than_the_rate_allows(per_second, gaps) -> None:
    clock = Clock()
    limit = RateLimit(per_second, now=clock)
    starts = []

    for gap in gaps:
        clock.seconds += gap
        wait = limit.reserve("a", within=1e9)
        assert wait is not None
        starts.append(clock.seconds + wait)

    assert starts == sorted(starts)
    burst = max(1.0, per_second / 2)
    for (i, first), (j, last) in combinations(enumerate(starts), 2):
        assert j - i + 1 <= burst + per_second * (last - first) + 1e-6


def test_a_clock_that_is_set_back_takes_nothing_away(clock) -> None:
    limit = RateLimit(1, now=clock)
    limit.reserve("a", within=0)

    clock.seconds -= 3600

    assert limit.reserve("a", within=60) == 1


def test_what_does_not_fit_reserves_nothing(clock) -> None:
    limit = RateLimit(1, now=clock)

    assert limit.reserve("a", within=0) == 0
    assert [limit.reserve("a", within=0.9) for _ in range(5)] == [None] * 5
    assert limit.reserve("a", within=1) == 1


def test_each_workspace_has_a_bucket(clock) -> None:
    limit = RateLimit(1, now=clock)

    assert [limit.reserve(site_id, within=60) for site_id in "aba"] == [0, 0, 1]


def test_threads_share_a_bucket(clock) -> None:
    limit = RateLimit(4, now=clock)

    with ThreadPoolExecutor(8) as threads:
        waits = list(threads.map(lambda _: limit.reserve("a", within=60), range(42)))

    expected = [0, 0, *(n / 4 for n in range(1, 41))]
    assert sorted(wait or 0.0 for wait in waits) == pytest.approx(expected)


def test_the_buckets_in_memory_are_bounded(clock) -> None:
    limit = RateLimit(1, now=clock)

    for number in range(2 * MAX_WORKSPACES):
        limit.reserve("busy", within=1e9)
        limit.reserve(str(number), within=1e9)

    assert len(limit._buckets) == MAX_WORKSPACES
    assert limit.reserve("busy", within=0) is None

"""Which workspaces are paused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.customerio.circuit_breaker import CircuitBreaker
from handler.domain.workspace import MAX_WORKSPACES, Workspace
from handler.errors import RetryableError, UnavailableError

WORKSPACE = Workspace("site-a", "key-a")
DOWN = UnavailableError("Customer.io answered with an error: 503")


class House:
    def __init__(self, share=1.0) -> None:
        self.now = 1000.0
        self.breaker = CircuitBreaker(
            now=lambda: self.now, draw=lambda low, high: low + share * (high - low)
        )

    def fail(self, workspace=WORKSPACE) -> None:
        self.breaker.begin(workspace)
        self.breaker.end(workspace, DOWN)


@pytest.fixture
def house():
    return House()


def test_only_one_delivery_probes_at_a_time(house) -> None:
    house.fail()
    house.now += 15

    assert house.breaker.paused(WORKSPACE) is None
    assert house.breaker.begin(WORKSPACE) is True
    assert isinstance(house.breaker.paused(WORKSPACE), UnavailableError)
    with pytest.raises(UnavailableError):
        house.breaker.begin(WORKSPACE)


def test_a_probe_that_learns_nothing_leaves_it_to_the_next(house) -> None:
    house.fail()
    house.now += 15

    house.breaker.begin(WORKSPACE)
    house.breaker.end(WORKSPACE, None)

    assert house.breaker.paused(WORKSPACE) is None
    assert house.breaker.begin(WORKSPACE) is True


def test_what_is_returned_is_a_copy_without_a_traceback(house) -> None:
    try:
        raise DOWN
    except UnavailableError as error:
        house.breaker.end(WORKSPACE, error)

    paused = house.breaker.paused(WORKSPACE)

    assert (type(paused), str(paused)) == (UnavailableError, str(DOWN))
    assert paused is not DOWN
    assert paused.__traceback__ is None


def test_a_clock_that_is_set_back_ends_the_pause(house) -> None:
    house.fail()

    house.now -= 3600

    assert house.breaker.paused(WORKSPACE) is None


def test_the_workspaces_in_memory_are_bounded(house) -> None:
    for number in range(MAX_WORKSPACES + 10):
        house.fail(Workspace("site-a", f"key-{number}"))

    assert len(house.breaker._circuits) == MAX_WORKSPACES
    assert house.breaker.paused(Workspace("site-a", "key-9")) is None
    assert house.breaker.paused(Workspace("site-a", "key-10"))


@pytest.mark.parametrize(("asked", "pause"), [(600.0, 600.0), (86_400.0, 900.0), (1.0, 7.5)])
def test_a_pause_is_as_long_as_customer_io_asks_for_within_reason(asked, pause) -> None:
    house = House(share=0.0)
    house.breaker.begin(WORKSPACE)
    house.breaker.end(WORKSPACE, DOWN, retry_after=asked)

    house.now += pause - 0.1
    assert house.breaker.paused(WORKSPACE)
    assert not house.breaker.needs_probe(WORKSPACE)

    house.now += 0.2
    assert house.breaker.paused(WORKSPACE) is None
    assert house.breaker.needs_probe(WORKSPACE)


EVENTS = st.lists(
    st.tuples(st.sampled_from(["fail", "succeed", "learn nothing"]), st.floats(0, 300))
)


@given(EVENTS, st.floats(0, 1))
def test_pauses_grow_within_bounds_and_end_with_a_success(events, share) -> None:
    house = House(share)
    failures = 0

    for event, seconds in events:
        longest = min(240, 15 * 2 ** max(0, failures - 1)) if failures else 0
        paused = house.breaker.paused(WORKSPACE)
        if paused:
            house.now += longest / 2 - 0.001
            assert house.breaker.paused(WORKSPACE)
            house.now += longest / 2 + 0.001
        assert house.breaker.paused(WORKSPACE) is None
        assert house.breaker.begin(WORKSPACE) is (failures > 0)
        match event:
            case "fail":
                house.breaker.end(WORKSPACE, DOWN)
                failures += 1
            case "succeed":
                house.breaker.close(WORKSPACE)
                house.breaker.end(WORKSPACE, None)
                failures = 0
            case _:
                house.breaker.end(WORKSPACE, None)
        assert isinstance(house.breaker.paused(WORKSPACE), RetryableError) is (event == "fail")
        if event != "fail":
            house.now += seconds

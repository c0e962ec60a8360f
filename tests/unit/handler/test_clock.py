"""A deadline, and the earlier ones that are made of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from handler.clock import Deadline
from tests.builders import NOW, deadline


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


def test_a_deadline_comes_nearer_and_passes() -> None:
    clock = Clock()
    soon = deadline(5.0, now=clock)

    clock.now += 2
    assert soon.seconds_left() == 3.0
    assert soon.allows(3.0)
    assert not soon.allows(3.5)

    clock.now += 60
    assert soon.seconds_left() == 0.0
    assert not soon.allows(0.5)


def test_the_deadline_of_an_invocation_is_when_lambda_cuts_it_off() -> None:
    context: Any = SimpleNamespace(get_remaining_time_in_millis=lambda: 2500)

    assert Deadline.of(context, now=Clock()).seconds_left() == 2.5


def test_time_that_is_kept_is_not_there_before() -> None:
    assert deadline(60.0).keeping(10.0).keeping(5.0).seconds_left() == 45.0
    assert not deadline(4.0).keeping(5.0).allows(0.5)


def test_a_share_begins_now_and_never_ends_after_the_whole() -> None:
    clock = Clock()
    whole = deadline(60.0, now=clock)

    clock.now += 30

    assert whole.within(10.0).seconds_left() == 10.0
    assert whole.within(40.0).seconds_left() == 30.0

"""Marks of refused credentials, on the emulator's DynamoDB."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from handler.store import Store
from handler.suspension import HELD_S, Marks
from tests.builders import NOW

PLENTY = {"time_left": lambda: 60.0}


@pytest.fixture
def marks(dynamodb, table) -> Marks:
    return Marks(dynamodb, table)


def test_a_mark_holds_from_when_it_is_set_until_it_is_removed(marks) -> None:
    assert not marks.holds(1001, now=NOW, **PLENTY)

    marks.set([1001, 1002], now=NOW, **PLENTY)
    assert marks.holds(1001, now=NOW, **PLENTY)

    marks.remove([1001], **PLENTY)
    assert not marks.holds(1001, now=NOW, **PLENTY)
    assert marks.holds(1002, now=NOW, **PLENTY)


def test_a_mark_that_nobody_renews_holds_for_an_hour(marks) -> None:
    marks.set([1001], now=NOW, **PLENTY)
    assert marks.holds(1001, now=NOW + HELD_S - 1, **PLENTY)
    assert not marks.holds(1001, now=NOW + HELD_S, **PLENTY)

    marks.set([1001], now=NOW + HELD_S, **PLENTY)
    assert marks.holds(1001, now=NOW + HELD_S, **PLENTY)


def test_a_mark_is_found_among_versions(dynamodb, table, marks) -> None:
    marks.set([1001], now=NOW, **PLENTY)
    keys = [marks.key(1001), marks.key(1002), "site-a#0123"]

    with ThreadPoolExecutor(2) as executor:
        store = Store(dynamodb, table, executor, backoff=lambda _: 0.0, sleep=lambda _: None)
        assert store.versions(keys, **PLENTY) == dict(zip(keys, (1, 0, 0), strict=True))


def test_what_cannot_be_done_is_left_undone(dynamodb, marks) -> None:
    nowhere = Marks(dynamodb, "no-such-table")

    nowhere.set([1001], now=NOW, **PLENTY)
    nowhere.remove([1001], **PLENTY)
    assert not nowhere.holds(1001, now=NOW, **PLENTY)


def test_nothing_is_asked_without_time(marks) -> None:
    marks.set([1001], now=NOW, **PLENTY)
    hurried = {"time_left": lambda: 1.0}

    marks.remove([1001], **hurried)
    marks.set([1002], now=NOW, **hurried)

    assert not marks.holds(1001, now=NOW, **hurried)
    assert marks.holds(1001, now=NOW, **PLENTY)
    assert not marks.holds(1002, now=NOW, **PLENTY)

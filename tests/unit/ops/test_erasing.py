"""Waiting until the function has erased people."""

from __future__ import annotations

import pytest

from handler.domain.membership import merge
from ops.erasing import Subject, Wait
from tests.builders import NOW, NOW_MS, state
from tests.unit.ops.builders import STACK, put_erasure, put_person
from tools.template import table_schema

ANN = Subject(customer_id="42")
KEY = f"site-a#{'a' * 64}"


@pytest.fixture
def table(aws):
    aws.dynamodb.create_table(TableName=STACK.table_name, **table_schema())


def record(aws):
    put_erasure(aws, "site-a", "id:42", at_ms=NOW_MS)


def left(aws, *, seconds=3.0, after_a_second=lambda: None):
    """Return how many subjects are left after each look."""
    times = iter(range(100))
    wait = Wait(
        aws,
        STACK,
        ["site-a"],
        NOW_MS,
        sleep=lambda _: after_a_second(),
        clock=lambda: float(next(times)),
    )
    return [*wait.until_erased([ANN], seconds=seconds)]


def test_nobody_is_erased_before_it_is_recorded(aws, table) -> None:
    assert left(aws) == [1, 1, 1]


def test_nobody_is_erased_while_the_table_has_them_from_before(aws, table) -> None:
    put_person(aws, KEY, state(11, at_ms=NOW_MS - 1))
    record(aws)

    assert left(aws) == [1, 1, 1]


def test_the_wait_ends_when_the_person_is_erased(aws, table) -> None:
    known = state(11, at_ms=NOW_MS - 1)
    put_person(aws, KEY, known)
    record(aws)

    def erase():
        put_person(aws, KEY, merge(known, (), now=NOW, erased_at_ms=NOW_MS))

    assert left(aws, after_a_second=erase) == [1, 0]


def test_whoever_started_anew_is_erased(aws, table) -> None:
    put_person(aws, KEY, state(11, erased_at_ms=NOW_MS))
    record(aws)

    assert left(aws) == [0]

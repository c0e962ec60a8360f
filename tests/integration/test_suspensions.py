"""Suspensions, on the emulator's DynamoDB."""

from __future__ import annotations

import pytest

from handler.table.suspensions import LIFE_S, Suspensions
from tests.builders import NOW, deadline

PLENTY = {"deadline": deadline()}


@pytest.fixture
def suspensions(dynamodb, table) -> Suspensions:
    return Suspensions(dynamodb, table)


def test_an_account_is_suspended_from_the_refusal_until_it_expires(suspensions) -> None:
    assert not suspensions.is_suspended(1001, now=NOW, **PLENTY)

    suspensions.suspend([1001], now=NOW, **PLENTY)

    assert suspensions.is_suspended(1001, now=NOW + LIFE_S - 1, **PLENTY)
    assert not suspensions.is_suspended(1001, now=NOW + LIFE_S, **PLENTY)
    assert not suspensions.is_suspended(1002, now=NOW, **PLENTY)


def test_each_refusal_renews_a_suspension(suspensions) -> None:
    suspensions.suspend([1001], now=NOW, **PLENTY)
    suspensions.suspend([1001], now=NOW + LIFE_S, **PLENTY)

    assert suspensions.is_suspended(1001, now=NOW + LIFE_S, **PLENTY)


def test_errors_of_aws_are_ignored(dynamodb) -> None:
    nowhere = Suspensions(dynamodb, "no-such-table")

    nowhere.suspend([1001], now=NOW, **PLENTY)
    assert not nowhere.is_suspended(1001, now=NOW, **PLENTY)


def test_nothing_is_asked_without_time(suspensions) -> None:
    suspensions.suspend([1001], now=NOW, **PLENTY)
    hurried = {"deadline": deadline(1.0)}

    suspensions.suspend([1002], now=NOW, **hurried)

    assert not suspensions.is_suspended(1001, now=NOW, **hurried)
    assert suspensions.is_suspended(1001, now=NOW, **PLENTY)
    assert not suspensions.is_suspended(1002, now=NOW, **PLENTY)

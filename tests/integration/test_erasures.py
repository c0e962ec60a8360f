"""Who was erased: the table, and the fake that stands for it, against one suite."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from handler.domain.update import Identifier
from handler.errors import UnavailableError
from handler.table.table import open_table
from tests.builders import NOW, NOW_MS, deadline
from tests.stand_ins.ports import MemoryErasures

PLENTY = {"deadline": deadline()}
AT_ONCE: dict[str, Any] = {
    "backoff": lambda _: 0.0,
    "now": lambda: NOW,
    "sleep": lambda _: None,
}
ID = Identifier(is_id=True, set_at_ms=1, value="42")
EMAIL = Identifier(is_id=False, set_at_ms=1, value="ann@example.com")


@pytest.fixture
def real(dynamodb, table):
    with ThreadPoolExecutor(2) as executor:
        yield open_table(dynamodb, table, executor, **AT_ONCE).erasures


@pytest.fixture(params=["real", "fake"])
def erasures(request):
    return MemoryErasures() if request.param == "fake" else request.getfixturevalue("real")


def record(erasures, *identifiers, at_ms=NOW_MS, now=NOW, site_id="site-a"):
    return erasures.record(identifiers, site_id, at_ms=at_ms, now=now, **PLENTY)


def newest(erasures, *identifiers, site_id="site-a"):
    named = [(site_id, each) for each in identifiers]
    times = erasures.newest(named, **PLENTY)
    return [times[each] for each in named]


def test_whoever_was_never_erased_has_no_time(erasures) -> None:
    assert newest(erasures, ID, EMAIL) == [0, 0]


def test_an_erasure_is_found_by_each_identifier_in_its_workspace_alone(erasures) -> None:
    record(erasures, ID, EMAIL)

    assert newest(erasures, ID, EMAIL) == [NOW_MS, NOW_MS]
    assert newest(erasures, ID, site_id="site-b") == [0]


def test_an_id_that_looks_like_an_email_is_not_the_email(erasures) -> None:
    record(erasures, EMAIL)

    assert newest(erasures, Identifier(is_id=True, set_at_ms=1, value=EMAIL.value)) == [0]


def test_of_two_erasures_the_newer_counts_whichever_was_recorded_first(erasures) -> None:
    record(erasures, ID, at_ms=NOW_MS)
    record(erasures, ID, at_ms=NOW_MS - 5)
    assert newest(erasures, ID) == [NOW_MS]

    record(erasures, ID, at_ms=NOW_MS + 5)
    assert newest(erasures, ID) == [NOW_MS + 5]


def test_each_identifier_has_its_own_time(erasures) -> None:
    record(erasures, ID, at_ms=NOW_MS)
    record(erasures, EMAIL, at_ms=NOW_MS - 5)

    assert newest(erasures, EMAIL, ID) == [NOW_MS - 5, NOW_MS]


def test_it_says_since_when_all_identifiers_are_recorded(erasures) -> None:
    assert record(erasures, ID, now=NOW - 60) == int(NOW - 60)
    assert record(erasures, ID, now=NOW) == int(NOW - 60)
    assert record(erasures, ID, EMAIL, now=NOW) == int(NOW)


def test_a_record_has_no_identifier_and_expires_in_thirty_days(real, dynamodb, table) -> None:
    record(real, EMAIL)

    (item,) = dynamodb.scan(TableName=table)["Items"]
    assert "ann" not in str(item)
    assert item["expires_at"] == {"N": str(int(NOW) + 30 * 86_400)}


def test_a_table_that_is_not_there_is_retryable(dynamodb) -> None:
    with ThreadPoolExecutor(1) as executor:
        lost = open_table(dynamodb, "no-such", executor, **AT_ONCE).erasures

        (failure,) = newest(lost, ID)
        assert isinstance(failure, UnavailableError)
        with pytest.raises(UnavailableError):
            record(lost, ID)

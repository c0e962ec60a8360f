"""The events of a delivery stream, and the answers to them."""

from __future__ import annotations

import json
from base64 import b64decode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.domain.transformation import (
    MAX_ANSWER_BYTES,
    StreamRecord,
    Transformation,
    answer,
    read_event,
)
from handler.errors import MisconfiguredError
from tests.builders import NOW_MS, stream_event


def records(*data: bytes) -> list[StreamRecord]:
    return [StreamRecord(f"r-{place}", each, NOW_MS) for place, each in enumerate(data)]


def test_the_records_of_an_event_are_read_with_the_time_of_their_arrival() -> None:
    event = stream_event(b"one", b"two")

    assert read_event(event) == Transformation("i-1", records(b"one", b"two"))


@pytest.mark.parametrize(
    "event",
    [
        *({}, [], None, {"Records": []}, {"invocationId": "i", "records": None}),
        {"invocationId": "i", "records": [{"recordId": "r", "data": "%%%"}]},
        {"records": []},
    ],
)
def test_any_other_event_is_a_misconfiguration(event) -> None:
    with pytest.raises(MisconfiguredError, match="not an event of a delivery stream"):
        read_event(event)


@pytest.mark.parametrize("data", [b"{}", b"{}\n", b"{}\r\n", b"{}\n\n"])
def test_a_record_comes_back_as_one_line(data) -> None:
    (entry,) = answer(records(data), failed=())["records"]

    assert (entry["recordId"], entry["result"]) == ("r-0", "Ok")
    assert b64decode(entry["data"]) == b"{}\n"


def test_a_record_that_failed_comes_back_as_such_with_its_data() -> None:
    results = answer(records(b"a", b"b"), failed={1})["records"]

    assert [each["result"] for each in results] == ["Ok", "ProcessingFailed"]
    assert b64decode(results[1]["data"]) == b"b\n"


@given(st.lists(st.sampled_from([0, 1, 200, 500_000, 1_000_000, 3_000_000]), max_size=12))
def test_an_answer_stays_within_lambdas_limit_and_has_each_record(sizes: list[int]) -> None:
    sent = records(*(b"x" * size for size in sizes))

    told = answer(sent, failed=())

    assert len(json.dumps(told)) <= MAX_ANSWER_BYTES + 100
    assert [each["recordId"] for each in told["records"]] == [each.id for each in sent]
    for each, record in zip(told["records"], sent, strict=True):
        is_ok = each["result"] == "Ok"
        assert is_ok == (b64decode(each["data"]) == record.data + b"\n")
    if sum(sizes) < 4_000_000:
        assert all(each["result"] == "Ok" for each in told["records"])

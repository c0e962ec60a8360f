"""The stream's front door: what it wires."""

from __future__ import annotations

import json
import uuid
from types import SimpleNamespace
from typing import Any

import pytest

from handler import stream as room
from handler.domain.report import StreamReport
from handler.errors import MisconfiguredError
from tests.builders import stream_event

CONTEXT: Any = SimpleNamespace(aws_request_id="r-1", get_remaining_time_in_millis=lambda: 30_000)
WIRED = (room.transformer, room.telemetry, room.settings)


@pytest.fixture(autouse=True)
def environ(monkeypatch):
    for name, value in {
        "QUEUE_URL": "https://queue",
        "DEAD_LETTER_QUEUE_URL": "https://dead-letters",
        "AUDIENCE_STREAM_ACCOUNT": "1001",
        # Loggers of one name share the output of the first.
        "POWERTOOLS_SERVICE_NAME": f"stack-{uuid.uuid4()}",
        "POWERTOOLS_METRICS_NAMESPACE": "AudienceForwarder",
    }.items():
        monkeypatch.setenv(name, value)
    yield
    for wired in WIRED:
        wired.cache_clear()


def test_an_event_without_records_needs_no_queue_and_is_logged_with_counts_only(capsys) -> None:
    answer = room.lambda_handler(stream_event(b" "), CONTEXT)

    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    (line,) = [each for each in lines if each.get("message") == "stream.transformed"]
    assert (line["records"], line["changes"], line["failed"]) == (1, 0, 0)
    assert (line["function_request_id"], line["version"]) == ("r-1", "unknown")
    assert [each["StreamRecords"] for each in lines if "StreamRecords" in each] == [[1.0]]
    assert [each["result"] for each in answer["records"]] == ["Ok"]


def test_records_that_failed_are_a_warning_with_the_reason(capsys) -> None:
    room.telemetry().stream_transformed(StreamReport(2, 2, 1, 0, 1, "AccessDenied"))

    line = json.loads(capsys.readouterr().out)
    assert (line["level"], line["failed"], line["reason"]) == ("WARNING", 1, "AccessDenied")


def test_the_queues_and_the_account_are_the_stack_s() -> None:
    wired: Any = room.transformer()

    assert wired.account_id == 1001
    assert wired.sender.queue_url == "https://queue"
    assert wired.dead_letter_queue.url == "https://dead-letters"


def test_a_setting_that_is_missing_stops_the_function(monkeypatch) -> None:
    monkeypatch.setenv("DEAD_LETTER_QUEUE_URL", "")

    with pytest.raises(MisconfiguredError, match="DEAD_LETTER_QUEUE_URL is missing"):
        room.lambda_handler(stream_event(), CONTEXT)

"""How far a log is read."""

import boto3
from botocore.stub import Stubber

from ops.logs import read_log


def page(*events, more=""):
    content = [
        {"logStreamName": "s", "timestamp": at * 1000, "message": text} for at, text in events
    ]
    return {"events": content, **({"nextToken": more} if more else {})}


def test_the_log_is_read_newest_first_and_no_further_than_the_limit() -> None:
    client = boto3.client("logs")
    asked = {"logGroupName": "l", "startTime": 5000, "startFromHead": False}
    first = asked | {"filterPattern": "WARNING"}
    second = asked | {"filterPattern": "ERROR"}
    counts: list[int] = []
    with Stubber(client) as logs:
        logs.add_response("filter_log_events", page((9, "a"), (8, "b"), more="2"), first)
        logs.add_response("filter_log_events", page(more="3"), first | {"nextToken": "2"})
        third = page((7, "c"), more="4")
        logs.add_response("filter_log_events", third, first | {"nextToken": "3"})
        logs.add_response("filter_log_events", page((8, "b"), (6, "d")), second)

        log = read_log(client, "l", ["WARNING", "ERROR"], since=5, most=3, on_lines=counts.append)
        logs.assert_no_pending_responses()

    assert (sorted(log.lines), log.complete_since) == (["a", "b", "c", "d"], 7)
    assert sum(counts) == 5

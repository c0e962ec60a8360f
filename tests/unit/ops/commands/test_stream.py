"""Replaying the audience stream."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from ops.commands.context import ABORTED, OK, PROBLEM, UNREACHABLE, USAGE, Context
from tests.builders import failed_record
from tests.unit.ops.builders import STREAM, record

EPOCH = "2026-01-01"


@pytest.fixture
def stream(ops, aws, stack, store, monkeypatch):
    """Run a command on the stream of a stack with the mParticle account 1001."""
    of_account = replace(STREAM, account_id=1001)
    monkeypatch.setattr(Context, "stack", replace(stack, stream=of_account))
    hour = f"{datetime.now(UTC):%Y/%m/%d/%H}"
    store(f"failed/processing-failed/{hour}/f", failed_record(record("lost")))
    store(f"records/{hour}/r", record("kept"))

    def ended(command, *arguments, **fields):
        return ops("stream", *command.split(), *arguments, **fields)

    return ended


def people(aws, stack):
    messages = aws.sqs.receive_message(QueueUrl=stack.queue_url).get("Messages", ())
    contents = [json.loads(message["Body"]) for message in messages]
    return [
        (
            content["account"]["account_id"],
            content["user_profiles"][0]["user_identities"][0]["value"],
        )
        for content in contents
    ]


@pytest.mark.parametrize(
    ("options", "person"),
    [("", "lost"), ("--failed", "lost"), ("--archive", "kept")],
)
def test_a_replay_sends_the_changes_of_a_folder(stream, aws, stack, options, person):
    ended = stream(f"replay --from {EPOCH} {options}", answers="y\n")

    assert ended.status == OK
    assert "Send the changes in 1 objects (0.0 MB) of " in ended.err
    assert "Sent 1 changes in 1 messages. Read 1 objects." in ended.out
    assert people(aws, stack) == [(1001, person)]


def test_nothing_is_sent_without_consent_or_in_a_dry_run(stream, aws, stack):
    refused = stream(f"replay --from {EPOCH}", answers="n\n")
    dry = stream(f"replay --from {EPOCH} --dry-run --json")

    assert (refused.status, dry.status) == (ABORTED, OK)
    counts = {"objects": 1, "changes": 1, "messages": 1, "unreadable": 0, "first_unreadable": []}
    assert json.loads(dry.out) == counts
    assert people(aws, stack) == []


def test_what_cannot_be_read_is_a_problem_and_named_without_its_content(stream, store):
    store("records/x", b'{"secret": 1}')

    ended = stream(f"replay --archive --from {EPOCH} --yes")

    assert ended.status == PROBLEM
    assert "Sent 1 changes" in ended.out
    assert "Cannot be read: 1" in ended.out
    assert "records/x" in ended.out
    assert "secret" not in ended.out


def test_a_span_without_objects_sends_nothing(stream):
    ended = stream("replay --from 2020-01-01 --to 2020-01-02T10:00+01:00 --yes")

    assert ended.status == OK
    assert "Sent 0 changes in 0 messages" in ended.out


@pytest.mark.parametrize(
    ("span", "why"),
    [
        ("--from yesterday", "'yesterday' is no time"),
        ("--from 2026-01-02 --to 2026-01-01", "--from is after --to"),
        ("--from 9999-01-01", "--from is after now"),
        ("", "'--from'"),
    ],
)
def test_a_span_that_is_none_is_wrong_usage(stream, span, why):
    ended = stream(f"replay {span}")

    assert ended.status == USAGE
    assert why in ended.err


def test_times_are_in_utc_unless_they_say_otherwise(stream):
    now = datetime.now(UTC)
    hour = f"{now:%Y-%m-%dT%H}"

    assert "Read 1 objects" in stream(f"replay --from {hour}:00 --dry-run").out
    assert (
        "Read 0 objects"
        in stream(f"replay --from {hour}:00-12:00 --to {hour}:01-12:00 --dry-run").out
    )


def test_a_stack_without_a_stream_has_nothing_to_replay(ops):
    ended = ops("stream", "replay", "--from", EPOCH)

    assert ended.status == USAGE
    assert "no audience stream" in ended.err


def test_a_queue_that_takes_nothing_ends_the_replay(stream, aws, stack, monkeypatch):
    aws.sqs.delete_queue(QueueUrl=stack.queue_url)

    ended = stream(f"replay --from {EPOCH} --yes")

    assert ended.status == UNREACHABLE
    assert "the queue did not take 1 of 1 messages" in ended.err

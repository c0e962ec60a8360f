"""Sending, and switching the event source mappings."""

import json

import boto3
import pytest
from botocore.stub import Stubber

from ops.commands.context import OK, PROBLEM
from tests.unit.ops.builders import QUEUE_ARNS, mapping, mapping_uuid


@pytest.fixture
def event(tmp_path):
    file = tmp_path / "event"
    file.write_text(json.dumps({"Records": [{"body": "a"}, {"body": "b"}]}))
    return file


def test_the_messages_of_a_file_are_sent(ops, stack, event, bodies) -> None:
    ended = ops("send", event, answers="y\n")

    assert ended.status == OK
    assert "Sent 2 of 2" in ended.out
    assert bodies(stack.queue_url) == ["a", "b"]


def test_messages_that_sqs_does_not_take_must_be_sent_again(ops, event, taking_last_only) -> None:
    ended = ops("send", event, "--yes")

    assert ended.status == PROBLEM
    assert "Sent 1 of 2" in ended.out
    assert "Send the file again" in ended.err


@pytest.fixture
def functions(aws):
    """Lambda, which answers as a test says."""
    aws.functions = boto3.client("lambda")
    with Stubber(aws.functions) as stubbed:
        yield stubbed
        stubbed.assert_no_pending_responses()


@pytest.mark.parametrize("command", ["enable", "disable"])
def test_a_missing_mapping_cannot_be_switched(ops, functions, command) -> None:
    functions.add_response("list_event_source_mappings", {"EventSourceMappings": []})

    ended = ops("mapping", command, "--yes")

    assert ended.status == PROBLEM
    assert "make deploy" in ended.err


def test_both_mappings_are_switched_and_shown_with_their_queues(ops, functions) -> None:
    both = [mapping(queue) for queue in QUEUE_ARNS]
    functions.add_response("list_event_source_mappings", {"EventSourceMappings": both})
    for queue in QUEUE_ARNS:
        asked = {"UUID": mapping_uuid(queue), "Enabled": False}
        functions.add_response("update_event_source_mapping", mapping(queue, "Disabling"), asked)

    ended = ops("mapping", "disable", "--yes")

    assert ended.status == OK
    assert "of the queue: Disabling" in ended.out
    assert "of the retry queue: Disabling" in ended.out

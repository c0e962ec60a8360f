"""Walks over the table, as executions of the deployed state machine."""

import json
import time
from uuid import uuid4

import pytest

from tests.e2e.messages import join, memberships, somebody

# The functions run in processes that coverage does not see, and it would slow the waiting.
pytestmark = pytest.mark.no_cover


def start(stack, **walk):
    """Start a walk, and return its ARN."""
    answer = stack.walks.start_execution(
        stateMachineArn=stack.walks_arn, name=f"test-{uuid4()}", input=json.dumps(walk)
    )
    return answer["executionArn"]


def ended(stack, arn, seconds=60.0):
    """Wait until an execution ends; return its status and the sums of its counts."""
    deadline = time.monotonic() + seconds
    while (described := stack.walks.describe_execution(executionArn=arn))["status"] == "RUNNING":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    counts = json.loads(described.get("output") or "[]")
    return described["status"], {
        name: sum(each[name] for each in counts) for name in ("read", "delivered", "skipped")
    }


def test_a_resync_brings_back_what_customerio_lost(clean):
    people = [somebody() for _ in range(30)]
    for name in people:
        clean.send([join(name)])
    clean.wait_until_drained()
    clean.customerio.reset()

    status, counts = ended(clean, start(clean, kind="resync"))

    assert status == "SUCCEEDED"
    assert counts["delivered"] >= 30
    assert {memberships(clean, name) for name in people} == {"'30001'"}

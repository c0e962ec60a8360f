"""Walks over the table, as executions of the deployed state machine.

The emulator runs a distributed map, retries and all. It cannot stop what is on its way, nor
redrive it: a walk dies here by the death of the process that takes its step.
"""

import itertools
import json
import os
import signal
import time
from uuid import uuid4

import pytest

from tests.e2e.messages import join, memberships, somebody, subscription
from tests.stand_ins import relay
from tests.stand_ins.relay import POST, SAVE, SCAN, VERSIONS, Moment, caller

AUDIENCES = itertools.count(31_000)


@pytest.fixture
def audience_id():
    """An audience that no other test has: a removal concerns everybody in it, for ever."""
    return next(AUDIENCES)


def start(stack, **walk):
    """Start a walk, and return its ARN."""
    answer = stack.walks.start_execution(
        stateMachineArn=stack.walks_arn, name=f"test-{uuid4()}", input=json.dumps(walk)
    )
    return answer["executionArn"]


def removals(stack, *audience_ids):
    """Return the ARNs of the walks of removed audiences."""
    listed = stack.walks.list_executions(stateMachineArn=stack.walks_arn)["executions"]
    names = tuple(f"removal-{audience_id}-" for audience_id in audience_ids)
    return [each["executionArn"] for each in listed if each["name"].startswith(names)]


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


def arrive(stack, *bodies):
    for place in range(0, len(bodies), 10):
        stack.send(bodies[place : place + 10])
    stack.wait_until_drained()


def test_a_resync_brings_back_what_customerio_lost(clean):
    people = [somebody() for _ in range(12)]
    arrive(clean, *map(join, people))
    clean.customerio.reset()

    status, counts = ended(clean, start(clean, kind="resync"))

    assert status == "SUCCEEDED"
    assert counts["delivered"] >= len(people)
    assert {memberships(clean, name) for name in people} == {"'30001'"}


def test_everybody_leaves_a_removed_audience_and_who_enters_later_stays(clean, audience_id):
    first, second, later = somebody(), somebody(), somebody()
    arrive(clean, join(first, audience_id), join(first, 30001), join(second, audience_id))
    removal = subscription(audience_id, "remove")

    arrive(clean, removal, removal)
    (walk,) = removals(clean, audience_id)

    status, counts = ended(clean, walk)
    assert (status, counts["delivered"]) == ("SUCCEEDED", 2)
    assert (memberships(clean, first), memberships(clean, second)) == ("'30001'", "")
    arrive(clean, subscription(audience_id, "add"), join(later, audience_id))
    assert memberships(clean, later) == f"'{audience_id}'"


def test_two_removals_at_once_and_a_change_meanwhile_all_count(clean, audience_id):
    other_id = next(AUDIENCES)
    people = [somebody() for _ in range(5)]
    arrive(clean, *(join(name, key) for name in people for key in (audience_id, other_id)))

    arrive(clean, *(subscription(key, "remove") for key in (audience_id, other_id)))
    arrive(clean, join(people[0], 30001), join(people[1], audience_id))
    walks = removals(clean, audience_id, other_id)

    assert len(walks) == 2
    assert {ended(clean, walk)[0] for walk in walks} == {"SUCCEEDED"}
    shown = [memberships(clean, name) for name in people]
    assert shown == ["'30001'", f"'{audience_id}'", "", "", ""]


def test_the_operator_resyncs_everybody_or_one_and_sees_the_walk(clean, ops):
    first, second = somebody(), somebody()
    arrive(clean, join(first), join(second))
    clean.customerio.reset()

    status, one = ops("resync", "--id", first, "--yes")
    shown = memberships(clean, first), memberships(clean, second)
    _, everybody = ops("resync", "--yes")
    _, walk = ops("walk", "show", everybody["name"])

    assert (status, one) == (0, {"found": 1, "not_found": 0, "delivered": 1, "skipped": 0})
    assert shown == ("'30001'", None)
    assert memberships(clean, second) == "'30001'"
    assert (walk["status"], walk["segments"], walk["segments_done"]) == ("SUCCEEDED", 16, 16)
    assert walk["delivered"] == everybody["delivered"] >= 2


@pytest.fixture(scope="module")
def between(deployed):
    with relay.between(deployed, deployed.walker_name) as running:
        yield running


@pytest.mark.parametrize(
    ("name", "moment"),
    [
        (SCAN, Moment.BEFORE),
        (SAVE, Moment.AFTER),
        (POST, Moment.BEFORE),
        (POST, Moment.AFTER),
        (VERSIONS, Moment.BEFORE),
    ],
)
def test_wherever_a_step_dies_the_walk_goes_on_to_its_end(
    clean, between, audience_id, name, moment
):
    people = [somebody() for _ in range(3)]
    arrive(clean, *(join(each, audience_id) for each in people))
    between.forget()
    crashes = [
        between.cut(name, moment, lambda call: os.kill(caller(call).pid, signal.SIGKILL))
        for _ in range(3)
    ]

    arrive(clean, subscription(audience_id, "remove"))
    (walk,) = removals(clean, audience_id)

    status, _ = ended(clean, walk)
    assert status == "SUCCEEDED"
    assert crashes[0].done.is_set()
    assert {memberships(clean, each) for each in people} == {""}

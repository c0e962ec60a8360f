"""Wherever the function dies, the redelivery ends as if it had not.

Its calls go through a relay, which knows the moment: the process that made the call is killed
with SIGKILL before the call reached the other side, or after it was carried out there and before
the answer came back. The queues hide what was taken for a second here, where they have 7 minutes
as deployed, and one invocation runs at a time: so nothing is redelivered before the crash.
"""

import json
import os
import signal

import pytest

from local.fake_customerio.faults import Fault, FaultKind
from tests.e2e.function import start_afresh
from tests.e2e.messages import address, join, memberships, new_mpid, of_profile, somebody
from tests.stand_ins import relay
from tests.stand_ins.relay import (
    DELAY,
    LOAD,
    MOVE,
    POST,
    QUERY,
    SAVE,
    SECRET,
    SET_ASIDE,
    VERSIONS,
    Moment,
    caller,
)

BEFORE, AFTER = Moment.BEFORE, Moment.AFTER
POINTS = [
    (name, moment)
    for name in (SECRET, LOAD, SAVE, POST, VERSIONS, SET_ASIDE)
    for moment in (BEFORE, AFTER)
]


@pytest.fixture(scope="module")
def fragile(deployed):
    """The stack with a relay, quick to redeliver, with one invocation at a time."""
    deployed.wait_until_drained()
    name = deployed.function_name
    as_deployed = {
        url: deployed.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["VisibilityTimeout"])[
            "Attributes"
        ]
        for url in (deployed.queue_url, deployed.retry_queue_url)
    }
    for url in as_deployed:
        deployed.sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "1"})
    deployed.functions.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=1)
    try:
        with relay.between(deployed) as between:
            yield deployed, between
            deployed.wait_until_drained()
    finally:
        deployed.functions.delete_function_concurrency(FunctionName=name)
        for url, attributes in as_deployed.items():
            deployed.sqs.set_queue_attributes(QueueUrl=url, Attributes=attributes)


@pytest.fixture
def stack(clean, fragile):
    return clean


@pytest.fixture
def between(clean, fragile):
    _, relay_between = fragile
    relay_between.forget()
    yield relay_between
    relay_between.forget()


@pytest.fixture
def short_of_time(stack):
    """The function's timeout, in seconds: hardly more than what it keeps for the end."""
    name = stack.function_name
    as_deployed = stack.functions.get_function_configuration(FunctionName=name)["Timeout"]
    stack.functions.update_function_configuration(FunctionName=name, Timeout=24)
    yield 24
    stack.functions.update_function_configuration(FunctionName=name, Timeout=as_deployed)


def kill(call):
    os.kill(caller(call).pid, signal.SIGKILL)


def freeze(call):
    """Let the caller's time pass without it: it neither goes on nor gives up."""
    os.kill(caller(call).pid, signal.SIGSTOP)


@pytest.mark.parametrize(("name", "moment"), POINTS)
def test_a_crash_at_any_call_loses_nothing(stack, between, name, moment):
    known, new = somebody(), somebody()
    stack.send([join(known, 30001)])
    stack.wait_until_drained()
    if name == SECRET:
        start_afresh(stack)
    crash = between.cut(name, moment, kill)

    sent = stack.send([join(known, 30002), join(new, 30001), "no message"])
    stack.wait_until_drained()

    assert crash.done.is_set()
    assert memberships(stack, known) == "'30001','30002'"
    assert memberships(stack, new) == "'30001'"
    # What was sent and not answered is sent again.
    times = 2 if (name, moment) == (SET_ASIDE, AFTER) else 1
    assert reasons(stack.take_set_aside()) == [("MalformedMessage", "no message", sent[2])] * times


@pytest.mark.parametrize("name", [MOVE, DELAY])
@pytest.mark.parametrize("moment", [BEFORE, AFTER])
def test_a_crash_while_a_retry_is_delayed_loses_nothing(stack, between, name, moment):
    new = somebody()
    stack.customerio.misbehave(Fault(FaultKind.STATUS, status=404, times=None))
    between.rewrite = sooner

    def kill_and_recover(call):
        kill(call)
        stack.customerio.behave()

    crash = between.cut(name, moment, kill_and_recover)

    sent = stack.send([join(new), "no message"])
    stack.wait_until_drained()

    assert crash.done.is_set()
    assert memberships(stack, new) == "'30001'"
    # Set aside before the crash, and perhaps again, if that was not answered.
    letters = set(reasons(stack.take_set_aside()))
    assert letters == {("MalformedMessage", "no message", sent[1])}


@pytest.mark.parametrize("name", [QUERY, POST])
@pytest.mark.parametrize("moment", [BEFORE, AFTER])
def test_a_crash_while_a_former_identifier_is_cleared_loses_nothing(stack, between, name, moment):
    mpid, before, after = new_mpid(), address(), address()
    stack.send([of_profile(mpid, before, 30001)])
    stack.wait_until_drained()
    crash = between.cut(name, moment, kill)

    stack.send([of_profile(mpid, after, 30002)])
    stack.wait_until_drained()

    assert crash.done.is_set()
    assert memberships(stack, after) == "'30001','30002'"
    assert memberships(stack, before) == ""
    assert stack.take_set_aside() == []


def test_a_crash_of_the_redelivery_too_loses_nothing(stack, between):
    new = somebody()
    crashes = [between.cut(SAVE, AFTER, kill), between.cut(POST, AFTER, kill)]

    stack.send([join(new)])
    stack.wait_until_drained()

    assert all(crash.done.is_set() for crash in crashes)
    assert between.names().count(SAVE) == 1
    assert memberships(stack, new) == "'30001'"
    assert stack.take_set_aside() == []


@pytest.mark.timeout(120)
def test_running_out_of_time_after_the_post_loses_nothing(stack, between, short_of_time):
    new = somebody()
    crash = between.cut(POST, AFTER, freeze)

    sent = stack.send([join(new), "no message"])
    stack.wait_until_drained()

    assert crash.done.is_set()
    assert f"timed out after {short_of_time}" in stack.emulator.log.read_text()
    assert memberships(stack, new) == "'30001'"
    assert reasons(stack.take_set_aside()) == [("MalformedMessage", "no message", sent[1])]


def reasons(letters):
    return [(one.error_type, one.body, one.source_message_id) for one in letters]


def sooner(call):
    """Have a delay of half a minute and more last a second."""
    delay = {MOVE: "DelaySeconds", DELAY: "VisibilityTimeout"}.get(call.name)
    if delay is None:
        return call.body
    content = call.content
    for entry in content["Entries"]:
        entry[delay] = 1
    return json.dumps(content).encode()

"""With a slow Customer.io the function answers in time, and says what is left."""

import json
import time
from uuid import uuid4

import pytest

from local.fake_customerio.faults import Fault, FaultKind
from local.stack import API_KEY
from tests.chaos.changes import ACCOUNTS
from tests.chaos.run import SMALL, open_up
from tests.e2e.function import start_afresh

SLOW, QUICK = ACCOUNTS[0], ACCOUNTS[-1]


def message(account, customer_ids):
    return json.dumps(
        {
            "type": "audience_membership_change_request",
            "id": str(uuid4()),
            "timestamp_ms": int(time.time() * 1000),
            "account": {"account_id": account.id},
            "user_profiles": [
                {
                    "user_identities": [{"type": "customer", "encoding": "raw", "value": each}],
                    "audiences": [{"audience_id": 11, "audience_name": "A", "action": "add"}],
                }
                for each in customer_ids
            ],
        }
    )


def event(*bodies):
    """Return an event of these messages, whose ids are their places."""
    records = [
        {
            "messageId": str(place),
            "receiptHandle": str(place),
            "body": body,
            "attributes": {"ApproximateReceiveCount": "1"},
            "eventSource": "aws:sqs",
        }
        for place, body in enumerate(bodies)
    ]
    return json.dumps({"Records": records}).encode()


def held(chaos):
    return {person.identifiers["id"] for person in chaos.stack.customerio.people()}


@pytest.fixture
def slow(chaos):
    """The stack with a Customer.io that takes longer for one person than the function lives."""
    person = f"slow-{uuid4()}"
    stack = chaos.stack
    stack.wait_until_drained()
    open_up(stack, API_KEY, ACCOUNTS)
    # A new process has kept no older secret and pauses for nobody; and then it is warm.
    start_afresh(stack)
    stack.invoke(event(message(QUICK, ["first"])))
    stack.customerio.reset()
    stack.customerio.misbehave(
        Fault(FaultKind.DELAY, delay=SMALL.timeout_s + 5, person=person, times=None)
    )
    yield person
    stack.customerio.behave()
    stack.sqs.purge_queue(QueueUrl=stack.retry_queue_url)


def test_what_customerio_is_too_slow_for_is_retried_later_and_the_rest_is_done(chaos, slow):
    quick = f"quick-{uuid4()}"

    started = time.monotonic()
    succeeded, answer = chaos.stack.invoke(event(message(SLOW, [slow]), message(QUICK, [quick])))
    seconds = time.monotonic() - started

    assert succeeded, answer
    assert answer == {"batchItemFailures": []}
    assert chaos.stack.waiting() == 1
    assert held(chaos) == {quick}
    assert 1 < seconds < SMALL.timeout_s


def test_of_a_batch_too_slow_as_a_whole_nothing_is_done_and_nothing_lost(chaos, slow):
    started = time.monotonic()
    chaos.stack.send([message(SLOW, [slow])])
    chaos.wait_for_a_retry()
    seconds = time.monotonic() - started
    # On the retry queue, and on the source queue until the function has answered.
    assert chaos.stack.waiting()

    chaos.stack.customerio.behave()
    chaos.stack.wait_until_drained()

    assert held(chaos) == {slow}
    assert seconds < SMALL.timeout_s

import json
import time

import boto3
import pytest

from local.fake_customerio.faults import Fault, FaultKind
from local.stack import API_KEY, SECRET_ENTRIES, SITE_ID
from tests.e2e.function import start_afresh
from tests.e2e.messages import address, join, memberships, new_mpid, of_profile, somebody

SECRET = "customerio/credentials"


@pytest.fixture
def rotate(clean):
    """Have Customer.io accept another key only, and tell nobody but the secret of it."""

    def to(api_key):
        clean.customerio.rotate({SITE_ID: api_key})
        accounts = {key: {**entry, "api_key": api_key} for key, entry in SECRET_ENTRIES.items()}
        clean.secrets.put_secret_value(
            SecretId=SECRET, SecretString=json.dumps({"accounts": accounts})
        )

    yield to
    to(API_KEY)
    # Customer.io has just refused the key, for which the function pauses.
    start_afresh(clean)


def test_a_malformed_message_is_set_aside_with_its_reason(clean):
    (message_id,) = clean.send(["no message"])
    clean.wait_until_drained()

    (letter,) = clean.take_set_aside()
    assert letter.error_type == "MalformedMessage"
    assert letter.error_message
    assert letter.source_message_id == message_id
    assert letter.body == "no message"


def test_a_bad_message_does_not_hold_up_its_neighbours(clean):
    customer_id = somebody()

    clean.send(["no message", join(customer_id), "none either"])
    clean.wait_until_drained()

    assert memberships(clean, customer_id) == "'30001'"
    assert len(clean.take_set_aside()) == 2


def test_rotated_credentials_are_used_at_once(clean, rotate):
    before, after = somebody(), somebody()
    clean.send([join(before)])
    clean.wait_until_drained()
    assert memberships(clean, before)

    rotate("another-key")
    clean.send([join(after)])
    clean.wait_until_drained(seconds=20)

    assert memberships(clean, after) == "'30001'"
    assert clean.take_set_aside() == []


def test_a_redriven_letter_is_delivered_once_its_cause_is_gone(clean):
    customer_id = somebody()
    refusal = Fault(FaultKind.REFUSE, person=customer_id, reason="not today")
    clean.customerio.misbehave(refusal)
    clean.send([join(customer_id)])
    clean.wait_until_drained()
    (letter,) = clean.take_set_aside()
    assert letter.error_type == "RejectedByCustomerIo"
    assert memberships(clean, customer_id) is None

    clean.send([letter.body])
    clean.wait_until_drained()

    assert memberships(clean, customer_id) == "'30001'"


def test_after_a_change_of_email_nobody_is_in_an_audience_under_the_former_one(clean):
    mpid, before, after = new_mpid(), address(), address()
    clean.send([of_profile(mpid, before)])
    clean.wait_until_drained()

    clean.send([of_profile(mpid, after, 30002)])
    clean.wait_until_drained()

    assert memberships(clean, after) == "'30001','30002'"
    assert memberships(clean, before) == ""
    assert clean.take_set_aside() == []


def test_who_leaves_under_a_new_email_is_in_no_audience_under_either(clean):
    mpid, before, after = new_mpid(), address(), address()
    clean.send([of_profile(mpid, before)])
    clean.wait_until_drained()

    clean.send([of_profile(mpid, after, action="delete")])
    clean.wait_until_drained()

    assert memberships(clean, after) == ""
    assert memberships(clean, before) == ""


@pytest.mark.timeout(150)
def test_a_message_is_retried_after_an_outage(clean):
    customer_id = somebody()
    clean.customerio.misbehave(Fault(FaultKind.STATUS, status=503, times=None))
    (message_id,) = clean.send([join(customer_id)])
    wait_until(lambda: was_retried(clean, message_id), seconds=60)
    assert clean.waiting() == 1

    clean.customerio.behave()
    # The function asked for about 30 s; the queue's own visibility timeout is 7 minutes.
    clean.wait_until_drained(seconds=60)

    assert memberships(clean, customer_id) == "'30001'"
    assert clean.take_set_aside() == []


def was_retried(stack, message_id):
    logs = boto3.client("logs", **stack.emulator.client_options)
    answer = logs.filter_log_events(logGroupName=stack.physical_name("ForwarderLogGroup"))
    lines = [event["message"] for event in answer["events"]]
    return any("message.retried" in line and message_id in line for line in lines)


def wait_until(condition, seconds):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)

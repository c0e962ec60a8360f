"""mParticle's own door: a request in at the ingress, attributes out at Customer.io."""

import json
import time
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from handler.domain.update import Identifier
from handler.table.keys import account_key, erasure_key
from local import events
from local.stack import API_KEY, INGRESS_TOKEN, MPARTICLE, SITE_ID
from tests.builders import erasure, record
from tests.e2e.function import post, start_afresh
from tests.e2e.messages import connection_check, join, memberships, somebody
from tests.firehose import SHAPES, misfits


@pytest.mark.parametrize("path", events.all_requests(), ids=lambda path: path.stem)
def test_a_request_ends_as_it_says(clean, path):
    sample = events.read(path)

    succeeded, answer = clean.ask(sample.text.encode())
    clean.wait_until_drained()

    assert succeeded
    assert misfits(answer, SHAPES[sample.type.replace("_request", "_response")]) == []
    people, set_aside = clean.customerio.people(), clean.take_set_aside()
    assert not list(events.differences(sample, people=people, set_aside=set_aside))


def test_a_large_request_is_delivered_whole(clean):
    everybody = [somebody() for _ in range(9)]  # 270 kB: more than one request to SQS
    request = json.loads(join(everybody[0]))
    (profile,) = request["user_profiles"]
    request["user_profiles"] = [
        {
            **profile,
            "note": "x" * 30_000,
            "user_identities": [{"type": "customer", "encoding": "raw", "value": one}],
        }
        for one in everybody
    ]

    succeeded, _ = clean.ask(json.dumps(request).encode())
    clean.wait_until_drained()

    assert succeeded
    assert {memberships(clean, one) for one in everybody} == {"'30001'"}
    assert clean.take_set_aside() == []


def test_a_request_to_erase_a_person_is_carried_out(clean):
    customer_id, at_ms = somebody(), int(time.time() * 1000) + 60_000
    clean.ask(join(customer_id).encode())
    clean.wait_until_drained()
    assert memberships(clean, customer_id) == "'30001'"
    # As a first try would have half a minute ago: so this one confirms it, and nothing waits.
    record_erasure(clean, customer_id, at_ms=at_ms, recorded_at=int(time.time()) - 30)

    succeeded, answer = clean.ask(erasure(customer_id=customer_id, at_ms=at_ms).encode())
    clean.wait_until_drained()

    assert succeeded
    assert misfits(answer, SHAPES["dsr_processing_response"]) == []
    assert clean.customerio.people() == []
    assert clean.take_set_aside() == []


def record_erasure(stack, customer_id: str, *, at_ms: int, recorded_at: int) -> None:
    numbers = {"version": 1, "erased_at_ms": at_ms, "recorded_at": recorded_at}
    identifier = Identifier(is_id=True, set_at_ms=at_ms, value=customer_id)
    boto3.client("dynamodb", **stack.emulator.client_options).put_item(
        TableName=stack.physical_name("MembershipsTable"),
        Item={
            "pk": {"S": erasure_key(SITE_ID, identifier)},
            **{name: {"N": str(number)} for name, number in numbers.items()},
        },
    )


@pytest.mark.parametrize(
    ("body", "error_type"),
    [
        ('{"type": "event_processing_request"}', "UnsupportedMessage"),
        ("not JSON", "MalformedMessage"),
    ],
)
def test_what_is_not_for_us_is_set_aside_with_its_reason(clean, body, error_type):
    status, _ = post(clean, body)
    clean.wait_until_drained()

    assert status == 200
    (letter,) = clean.take_set_aside()
    assert letter.error_type == error_type


def test_mparticle_may_invoke_the_alias(deployed):
    name, _, alias = deployed.ingress_arn.rpartition(":")
    answer = deployed.functions.get_policy(FunctionName=name, Qualifier=alias)
    granted = [
        (statement["Action"], str(statement["Principal"]))
        for statement in json.loads(answer["Policy"])["Statement"]
    ]

    assert len(granted) == 7
    assert sum(MPARTICLE in principal for _, principal in granted) == 5
    assert all(MPARTICLE in principal or "*" in principal for _, principal in granted)


def updated(stack, **told):
    """Ask for an update of the stack that tells some parameters anew."""
    client = boto3.client("cloudformation", **stack.emulator.client_options)
    (deployed,) = client.describe_stacks()["Stacks"]
    kept = {one["ParameterKey"] for one in deployed["Parameters"]} - told.keys()
    parameters: list[Any] = [{"ParameterKey": key, "UsePreviousValue": True} for key in kept]
    parameters += [{"ParameterKey": key, "ParameterValue": told[key]} for key in told]
    return client.update_stack(
        StackName=deployed["StackName"],
        UsePreviousTemplate=True,
        Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
        Parameters=parameters,
    )


@pytest.mark.parametrize(
    "principals",
    [",".join([MPARTICLE] * 6), f",{MPARTICLE}", f"{MPARTICLE}, {MPARTICLE}"],
    ids=["six", "an empty one", "a space"],
)
def test_principals_that_would_be_left_out_are_refused(deployed, principals):
    with pytest.raises(ClientError, match="one to five AWS account ids"):
        updated(deployed, MParticlePrincipals=principals)


def test_what_cannot_be_enqueued_is_not_acknowledged(clean):
    customer_id = somebody()
    where = {"RoleName": clean.physical_name("IngressRole"), "PolicyName": "ingress"}
    policy = clean.iam.get_role_policy(**where)["PolicyDocument"]
    less = [one for one in policy["Statement"] if one["Sid"] != "Enqueue"]
    try:
        clean.iam.put_role_policy(**where, PolicyDocument=json.dumps(policy | {"Statement": less}))
        succeeded, answer = clean.ask(join(customer_id).encode())
        status, _ = post(clean, join(customer_id))
    finally:
        clean.iam.put_role_policy(**where, PolicyDocument=json.dumps(policy))

    assert not succeeded
    assert "AccessDenied" in answer["errorMessage"]
    assert customer_id not in json.dumps(answer)
    assert status >= 500
    assert clean.waiting() == 0
    assert clean.ask(join(customer_id).encode())[0]


def test_a_request_at_the_url_is_delivered_too(clean):
    customer_id = somebody()

    status, answer = post(clean, join(customer_id))
    clean.wait_until_drained()

    assert status == 200
    assert misfits(answer, SHAPES["audience_membership_change_response"]) == []
    assert memberships(clean, customer_id) == "'30001'"


def test_a_request_at_the_url_with_another_token_is_to_be_sent_again(clean):
    customer_id = somebody()
    start_afresh(clean, clean.physical_name("IngressFunction"))

    status, answer = post(clean, join(customer_id), token="another-token-of-somebody")

    assert status == 503
    assert "token is not known" in answer["error"]
    assert clean.waiting() == 0


@pytest.fixture
def refusing(clean):
    """A Customer.io that takes a key which the secret does not have."""
    clean.customerio.rotate({SITE_ID: "a-key-nobody-knows"})
    yield clean
    clean.customerio.rotate({SITE_ID: API_KEY})
    # Nothing waits for the end of the pause and of the delay.
    start_afresh(clean)
    clean.sqs.purge_queue(QueueUrl=clean.retry_queue_url)
    # A suspension lasts for longer than the other tests.
    boto3.client("dynamodb", **clean.emulator.client_options).delete_item(
        TableName=clean.physical_name("MembershipsTable"), Key={"pk": {"S": account_key(1001)}}
    )


def suspended(stack):
    succeeded, answer = stack.ask(connection_check().encode())
    assert succeeded, answer
    return answer["suspend_subscription"]


def test_an_account_is_suspended_while_its_credentials_are_refused(refusing):
    forward = json.dumps({"Records": [record(body=join(somebody()))]}).encode()
    assert not suspended(refusing)

    refusing.invoke(forward)

    assert suspended(refusing)


def test_no_log_line_of_the_ingress_names_a_person_or_a_secret(clean):
    customer_id = somebody()
    clean.ask(join(customer_id).encode())
    post(clean, join(customer_id))
    clean.wait_until_drained()

    logs = boto3.client("logs", **clean.emulator.client_options)
    group = clean.physical_name("IngressLogGroup")
    lines = [event["message"] for event in logs.filter_log_events(logGroupName=group)["events"]]

    assert any("firehose.answered" in line for line in lines)
    assert not [line for line in lines if customer_id in line or INGRESS_TOKEN in line]

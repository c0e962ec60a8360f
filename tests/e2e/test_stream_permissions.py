"""Each action of the audience stream's roles and user is needed, and nothing else is allowed.

What test_permissions.py says of the emulator holds here too. It does not ask IAM about what a
delivery stream does as its role, so of that role it is only shown which calls it may make.
"""

import base64
import functools
import json
import time
from uuid import uuid4

import boto3
import pytest
from botocore.exceptions import ClientError

from tests.e2e.messages import memberships, somebody
from tests.e2e.roles import (
    actions,
    allowed_calls,
    calls_allowed_with,
    credentials,
    less,
    resources,
    write_log,
)
from tests.e2e.test_stream import record
from tests.stack_template import role_statements

ROLE = "StreamRole"
STATEMENTS = {statement["Sid"]: statement for _, statement in role_statements(ROLE)}
# The results of a readable record and another without a statement.
WITHOUT = {
    "Enqueue": ["ProcessingFailed", "Ok"],
    "SetAside": ["Ok", "ProcessingFailed"],
}


@pytest.fixture
def take(deployed):
    """Take actions out of a statement of the role; they are back after the test."""
    where = {"RoleName": deployed.physical_name(ROLE), "PolicyName": "stream"}
    before = deployed.iam.get_role_policy(**where)["PolicyDocument"]

    def put(statements):
        policy = before | {"Statement": [each for each in statements if each]}
        deployed.iam.put_role_policy(**where, PolicyDocument=json.dumps(policy))

    def take(sid, without):
        put(less(each, without) if each["Sid"] == sid else each for each in before["Statement"])

    yield take
    put(before["Statement"])


def transform(stack, *data):
    """Invoke the function as the stream does; return each record's result."""
    records = [
        {
            "recordId": str(place),
            "approximateArrivalTimestamp": int(time.time() * 1000),
            "data": base64.b64encode(each).decode(),
        }
        for place, each in enumerate(data)
    ]
    answer = stack.functions.invoke(
        FunctionName=stack.physical_name("StreamFunction"),
        Payload=json.dumps({"invocationId": str(uuid4()), "records": records}).encode(),
    )
    return [each["result"] for each in json.loads(answer["Payload"].read())["records"]]


def test_every_action_of_the_role_is_one_that_is_taken_out_below() -> None:
    assert STATEMENTS.keys() == {*WITHOUT, "WriteLogs"}
    for sid in WITHOUT:
        assert actions(STATEMENTS[sid]) == ["sqs:SendMessage"]


@pytest.mark.parametrize("sid", WITHOUT)
def test_without_an_action_what_needs_it_fails_and_comes_again(clean, take, sid):
    who, broken = somebody(), b'{"broken": 1}'
    take(sid, {"sqs:SendMessage", "sqs:SendMessageBatch"})

    assert transform(clean, record(who), broken) == WITHOUT[sid]

    take("", set())
    assert transform(clean, record(who), broken) == ["Ok", "Ok"]
    clean.wait_until_drained()
    assert memberships(clean, who) == "'30005'"
    assert {letter.error_type for letter in clean.take_set_aside()} == {"MalformedMessage"}


@pytest.mark.parametrize("action", ["logs:CreateLogStream", "logs:PutLogEvents"])
def test_without_an_action_the_log_is_not_written(deployed, take, action):
    """Lambda's part is acted out: it writes the log in the function's name."""
    call = functools.partial(write_log, deployed, ROLE, "StreamLogGroup")
    assert call() == set()

    take("WriteLogs", {action})

    assert action.removeprefix("logs:") in call()


@pytest.fixture(scope="module")
def about(deployed):
    """What the calls are about."""
    own = resources(
        deployed.queue_url,
        deployed.physical_name("MembershipsTable"),
        "customerio/credentials",
        deployed.physical_name("StreamLogGroup"),
    )
    stream = {"DeliveryStreamName": deployed.stream_name, "Record": {"Data": b" "}}
    return own | {"firehose": stream, "iam": {}}


@pytest.mark.parametrize(
    ("service", "allowed"),
    [
        ("sqs", {"SendMessage", "SendMessageBatch"}),
        ("logs", {"CreateLogStream", "PutLogEvents"}),
        *((service, set()) for service in ("dynamodb", "secretsmanager", "firehose", "iam")),
    ],
)
def test_the_function_may_make_these_calls_of_a_service_only(deployed, about, service, allowed):
    assert allowed_calls(deployed, ROLE, service, about[service]) == allowed


@pytest.fixture(scope="module")
def stream(deployed):
    """The credentials that the delivery stream gets, for streams of this account only."""
    with pytest.raises(ClientError, match="AccessDenied"):
        credentials(deployed, "DeliveryRole", ExternalId="111111111111")
    return credentials(deployed, "DeliveryRole", ExternalId="000000000000")


@pytest.mark.parametrize(
    ("service", "allowed"),
    [
        ("logs", {"PutLogEvents"}),
        *((service, set()) for service in ("sqs", "dynamodb", "secretsmanager", "iam")),
    ],
)
def test_the_stream_may_make_these_calls_of_a_service_only(stream, about, service, allowed):
    assert calls_allowed_with(stream, service, about[service]) == allowed


def test_the_stream_may_invoke_its_function_and_no_other(deployed, stream):
    functions = boto3.client("lambda", **stream)
    own = deployed.physical_name("StreamFunction")

    functions.get_function_configuration(FunctionName=own)
    functions.invoke(FunctionName=own, Payload=b"{}")
    with pytest.raises(ClientError, match="AccessDenied"):
        functions.invoke(FunctionName=deployed.function_name, Payload=b"{}")
    with pytest.raises(ClientError, match="AccessDenied"):
        functions.delete_function(FunctionName=own)


def test_the_stream_may_write_its_bucket_and_no_other(deployed, stream):
    s3 = boto3.client("s3", **stream)

    s3.put_object(Bucket=deployed.stream_bucket, Key="records/none", Body=b"")
    with pytest.raises(ClientError, match="AccessDenied"):
        s3.put_object(Bucket="artifacts", Key="none", Body=b"")
    with pytest.raises(ClientError, match="AccessDenied"):
        s3.delete_object(Bucket=deployed.stream_bucket, Key="records/none")


@pytest.fixture(scope="module")
def mparticle(deployed):
    """The credentials that mParticle gets."""
    user = deployed.physical_name("StreamUser")
    key = deployed.iam.create_access_key(UserName=user)["AccessKey"]
    yield deployed.emulator.client_options | {
        "aws_access_key_id": key["AccessKeyId"],
        "aws_secret_access_key": key["SecretAccessKey"],
    }
    deployed.iam.delete_access_key(UserName=user, AccessKeyId=key["AccessKeyId"])


@pytest.mark.parametrize(
    ("service", "allowed"),
    [
        ("firehose", {"PutRecord", "DescribeDeliveryStream"}),
        *((service, set()) for service in ("sqs", "dynamodb", "secretsmanager", "logs", "iam")),
    ],
)
def test_mparticle_may_make_these_calls_of_a_service_only(mparticle, about, service, allowed):
    assert calls_allowed_with(mparticle, service, about[service]) == allowed


def test_a_record_that_mparticle_puts_is_delivered(clean, mparticle):
    who = somebody()
    stream = boto3.client("firehose", **mparticle)

    stream.put_record(DeliveryStreamName=clean.stream_name, Record={"Data": record(who)})
    clean.wait_until_drained()

    assert memberships(clean, who) == "'30005'"

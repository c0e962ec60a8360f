"""Each statement of the function's policy is needed, and no more is allowed.

The emulator asks IAM about what the function does, but not about what Lambda itself does in its
name: take messages, delete them and write its log. So here Lambda's part is acted out, with the
role's own credentials.
"""

import json
import time
from uuid import uuid4

import boto3
import pytest
from botocore.exceptions import ClientError

from tests.e2e.messages import join, memberships, somebody
from tests.stack_template import statements

SIDS = [statement["Sid"] for statement in statements()]


class Lambda:
    """What Lambda does for the function, as far as its role lets it."""

    def __init__(self, stack):
        self.stack = stack
        self.log_group = stack.physical_name("ForwarderLogGroup")
        options = stack.emulator.client_options
        role = stack.iam.get_role(RoleName=stack.physical_name("ForwarderRole"))["Role"]
        session = boto3.client("sts", **options).assume_role(
            RoleArn=role["Arn"], RoleSessionName="lambda"
        )["Credentials"]
        self.options = options | {
            "aws_access_key_id": session["AccessKeyId"],
            "aws_secret_access_key": session["SecretAccessKey"],
            "aws_session_token": session["SessionToken"],
        }
        self.sqs = self.client("sqs")
        self.logs = self.client("logs")

    def client(self, service):
        return boto3.client(service, **self.options)

    def forward(self, body):
        """Send a message, and do with it what Lambda does; return what the function answered."""
        queue_url = self.stack.queue_url
        self.stack.send([body])
        self.sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["QueueArn"])
        (message,) = self.sqs.receive_message(
            QueueUrl=queue_url, MessageSystemAttributeNames=["All"], WaitTimeSeconds=5
        )["Messages"]
        succeeded, answer = self.stack.invoke(json.dumps({"Records": [record(message)]}).encode())
        if not succeeded:
            raise RuntimeError(answer)
        if answer["batchItemFailures"]:
            self.sqs.change_message_visibility(
                QueueUrl=queue_url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0
            )
            raise RuntimeError(answer)
        self.sqs.delete_message(QueueUrl=queue_url, ReceiptHandle=message["ReceiptHandle"])
        self.log("END")

    def log(self, line):
        where = {"logGroupName": self.log_group, "logStreamName": str(uuid4())}
        self.logs.create_log_stream(**where)
        now = int(time.time() * 1000)
        self.logs.put_log_events(**where, logEvents=[{"timestamp": now, "message": line}])


def record(message):
    return {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message["Body"],
        "attributes": message["Attributes"],
        "eventSource": "aws:sqs",
    }


@pytest.fixture(scope="module")
def paused(deployed):
    """The stack with its event source mapping at rest, so that only this module takes messages."""
    deployed.wait_until_drained()
    enable_mapping(deployed, enabled=False)
    yield deployed
    enable_mapping(deployed, enabled=True)


@pytest.fixture
def policy(paused):
    """The policy as deployed, put back after the test; the function starts afresh with it."""
    role = paused.physical_name("ForwarderRole")
    (name,) = paused.iam.list_role_policies(RoleName=role)["PolicyNames"]
    document = paused.iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]

    def put(allowed):
        content = json.dumps(document | {"Statement": allowed})
        paused.iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=content)
        # A function that runs already has the credentials secret.
        paused.functions.update_function_configuration(
            FunctionName=paused.function_name, Description=str(uuid4())
        )

    yield document["Statement"], put
    put(document["Statement"])
    paused.sqs.purge_queue(QueueUrl=paused.queue_url)


def enable_mapping(stack, *, enabled):
    (mapping,) = stack.functions.list_event_source_mappings(FunctionName=stack.function_name)[
        "EventSourceMappings"
    ]
    stack.functions.update_event_source_mapping(UUID=mapping["UUID"], Enabled=enabled)


def deliver_and_set_aside(stack):
    """Deliver one person and set one message aside, or raise what is in the way."""
    customer_id = somebody()
    aws_lambda = Lambda(stack)
    aws_lambda.forward(join(customer_id))
    assert memberships(stack, customer_id) == "'30001'"
    aws_lambda.forward("no message")
    (letter,) = stack.take_set_aside()
    assert letter.error_type == "MalformedMessage"


def test_with_the_whole_policy_messages_are_delivered_and_set_aside(paused, policy):
    allowed, put = policy
    put(allowed)

    deliver_and_set_aside(paused)


@pytest.mark.parametrize("sid", SIDS)
def test_without_a_statement_they_are_not(paused, policy, sid):
    allowed, put = policy
    put([statement for statement in allowed if statement["Sid"] != sid])

    with pytest.raises((ClientError, RuntimeError)):
        deliver_and_set_aside(paused)


@pytest.mark.parametrize(
    ("service", "call", "arguments"),
    [
        ("dynamodb", "scan", {"TableName": "MembershipsTable"}),
        ("dynamodb", "delete_table", {"TableName": "MembershipsTable"}),
        ("secretsmanager", "get_secret_value", {"SecretId": "another"}),
        ("secretsmanager", "list_secrets", {}),
        ("sqs", "list_queues", {}),
        ("logs", "describe_log_groups", {}),
        ("iam", "list_roles", {}),
    ],
)
def test_the_role_may_do_nothing_beside(paused, service, call, arguments):
    if "TableName" in arguments:
        arguments = {"TableName": paused.physical_name(arguments["TableName"])}
    client = Lambda(paused).client(service)

    with pytest.raises(ClientError, match=r"AccessDenied|not authorized"):
        getattr(client, call)(**arguments)

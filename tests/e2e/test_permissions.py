"""Each action of the forwarding function's policy is needed, and nothing beside them is allowed.

The emulator asks IAM about what the function calls, but not about what Lambda itself does in its
name: take messages, delete them and write its log. So here Lambda's part is acted out, with the
role's own credentials.

What the emulator cannot show:

* It asks by the name of the call, where AWS asks for what a batch does to its parts: with
  `sqs:SendMessage` goes `sqs:SendMessageBatch` here (local/stack.py).
* It does not know `dynamodb:PartiQLInsert` from `dynamodb:PartiQLUpdate`, nor which table they
  are for: one taken out alone stops nothing here. That each is needed shows in the statements
  that the function sends; the table's ARN is a matter of tests/unit/test_template.py.
* It lets a log group's ARN stand for the streams in it.
* It does not know the condition that of single items only marks may be put and deleted
  (`dynamodb:LeadingKeys`), which is a matter of tests/unit/test_template.py as well.
"""

import base64
import functools
import json
import time
from uuid import uuid4

import boto3
import pytest
from botocore.exceptions import ClientError

from local.fake_customerio.faults import Fault, FaultKind
from tests import relay
from tests.e2e.function import start_afresh
from tests.e2e.messages import join, memberships, somebody
from tests.e2e.roles import actions, allowed_calls, credentials, less, perform, resources
from tests.relay import DELAY, LOAD, SAVE, SECRET, SET_ASIDE, VERSIONS
from tests.stack_template import statements

ROLE = "ForwarderRole"
# What each action is needed for: the call that is refused without it.
CALLS = {
    "sqs:GetQueueAttributes": "GetQueueAttributes",
    "sqs:ReceiveMessage": "ReceiveMessage",
    "sqs:DeleteMessage": "DeleteMessage",
    "sqs:ChangeMessageVisibility": DELAY,
    "sqs:SendMessage": SET_ASIDE,
    "dynamodb:BatchGetItem": LOAD,
    "dynamodb:PartiQLInsert": SAVE,
    "dynamodb:PartiQLUpdate": SAVE,
    "secretsmanager:GetSecretValue": SECRET,
    "logs:CreateLogStream": "CreateLogStream",
    "logs:PutLogEvents": "PutLogEvents",
}
# What the emulator asks for instead, or with it.
BATCHES = {
    "sqs:ChangeMessageVisibility": {"sqs:ChangeMessageVisibilityBatch"},
    "sqs:SendMessage": {"sqs:SendMessageBatch"},
    "dynamodb:PartiQLInsert": {"dynamodb:BatchExecuteStatement"},
    "dynamodb:PartiQLUpdate": {"dynamodb:BatchExecuteStatement"},
}
# What the function says when it lacks one. Messages it could not delay come back all the same.
REASONS = {
    LOAD: "DynamoDB: AccessDeniedException",
    SAVE: "DynamoDB: AccessDeniedException",
    SECRET: "secret customerio/credentials cannot be read: AccessDeniedException",
    SET_ASIDE: "the dead-letter queue took nothing",
}
CONNECTION_CHECK = json.dumps(json.loads(join("nobody")) | {"user_profiles": []})


class Lambda:
    """What Lambda does for the function, noting what its role does not let it do."""

    def __init__(self, stack, between):
        self.stack = stack
        self.between = between
        self.log_group = stack.physical_name("ForwarderLogGroup")
        self.logs = boto3.client("logs", **stack.emulator.client_options)
        own = credentials(stack, ROLE)
        self.client = functools.cache(lambda service: boto3.client(service, **own))
        self.called = set()
        self.refused = set()
        self.said = ""

    def ask(self, service, call, **arguments):
        """Make a call as the role; as root where the role may not, to see what else it may not."""
        self.called.add(f"{service}:{call}")
        try:
            return perform(self.client(service), call, arguments)
        except ClientError as error:
            if "AccessDenied" not in error.response["Error"]["Code"]:
                raise
            self.refused.add(call)
            return perform({"sqs": self.stack.sqs, "logs": self.logs}[service], call, arguments)

    def forward(self, bodies):
        """Send messages, and do with them what Lambda does; return how many failed."""
        where = {"QueueUrl": self.stack.queue_url}
        self.stack.send(bodies)
        self.ask("sqs", "GetQueueAttributes", **where, AttributeNames=["QueueArn"])
        taken = self.ask(
            "sqs",
            "ReceiveMessage",
            **where,
            MaxNumberOfMessages=10,
            MessageSystemAttributeNames=["All"],
        )["Messages"]
        assert len(taken) == len(bodies)
        failed = self.invoke(taken)
        for message in taken:
            if message["MessageId"] not in failed:
                handle = message["ReceiptHandle"]
                self.ask("sqs", "DeleteMessage", **where, ReceiptHandle=handle)
        self.log("END")
        return len(failed)

    def invoke(self, taken):
        event = json.dumps({"Records": [record(message) for message in taken]}).encode()
        answer = self.stack.functions.invoke(
            FunctionName=self.stack.function_name, Payload=event, LogType="Tail"
        )
        payload = answer["Payload"].read().decode()
        self.said += base64.b64decode(answer["LogResult"]).decode() + payload
        if "FunctionError" in answer:
            return {message["MessageId"] for message in taken}
        failures = json.loads(payload)["batchItemFailures"]
        return {failure["itemIdentifier"] for failure in failures}

    def log(self, line):
        where = {"logGroupName": self.log_group, "logStreamName": str(uuid4())}
        self.ask("logs", "CreateLogStream", **where)
        now = int(time.time() * 1000)
        self.ask("logs", "PutLogEvents", **where, logEvents=[{"timestamp": now, "message": line}])

    def act_out(self):
        """Have the function do all it ever does: create, change, set aside and delay."""
        self.stack.customerio.reset()
        self.between.forget()
        customer_id = somebody()
        failed = self.forward([join(customer_id), "no message"])
        delivered = memberships(self.stack, customer_id)
        self.stack.customerio.misbehave(Fault(FaultKind.STATUS, status=404))
        # With the connection check not all fails: an error would cost a new process.
        self.forward([join(customer_id, 30002), CONNECTION_CHECK])
        self.refused |= {
            LOAD if call.name == VERSIONS else call.name
            for call in self.between.calls
            if b"AccessDenied" in call.answer
        }
        return failed, delivered


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


@pytest.fixture(scope="module")
def between(paused):
    with relay.between(paused) as running:
        yield running


@pytest.fixture
def policy(paused, between):
    """The policy as deployed, put back after the test."""
    role = paused.physical_name(ROLE)
    name = "forwarder"
    document = paused.iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]

    def put(allowed):
        content = json.dumps(document | {"Statement": allowed})
        paused.iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=content)
        if "secretsmanager:GetSecretValue" not in content:
            start_afresh(paused)

    yield document["Statement"], put
    put(document["Statement"])
    paused.sqs.purge_queue(QueueUrl=paused.queue_url)
    paused.take_set_aside()
    paused.customerio.reset()


@pytest.fixture
def aws_lambda(paused, between):
    return Lambda(paused, between)


def enable_mapping(stack, *, enabled):
    (mapping,) = stack.functions.list_event_source_mappings(FunctionName=stack.function_name)[
        "EventSourceMappings"
    ]
    stack.functions.update_event_source_mapping(UUID=mapping["UUID"], Enabled=enabled)


def test_with_the_whole_policy_all_works_and_each_of_its_actions_is_used(
    paused, between, aws_lambda
):
    start_afresh(paused)

    assert aws_lambda.act_out() == (0, "'30001'")

    assert aws_lambda.refused == set()
    (letter,) = paused.take_set_aside()
    assert letter.error_type == "MalformedMessage"
    used = aws_lambda.called | {action for call in between.calls for action in used_by(call)}
    assert used == {action for statement in statements() for action in actions(statement)}


def used_by(call):
    """Return the actions that AWS asks for when the function makes this call."""
    if call.name == relay.POST:
        return set()
    if call.name == SAVE:
        verbs = {one["Statement"].split()[0] for one in call.content["Statements"]}
        return {f"dynamodb:PartiQL{verb.capitalize()}" for verb in verbs}
    name = LOAD if call.name == VERSIONS else call.name
    return {action for action, needed_for in CALLS.items() if needed_for == name}


@pytest.mark.parametrize("action", CALLS)
def test_without_an_action_its_call_is_refused_and_no_other(aws_lambda, policy, action):
    allowed, put = policy
    without = {action} | BATCHES.get(action, set())
    put([remaining for one in allowed if (remaining := less(one, without))])

    failed, delivered = aws_lambda.act_out()

    assert aws_lambda.refused == {CALLS[action]}
    assert REASONS.get(CALLS[action], "") in aws_lambda.said
    assert bool(failed) == (CALLS[action] in REASONS)
    assert delivered == (None if CALLS[action] in {LOAD, SAVE, SECRET} else "'30001'")


@pytest.mark.parametrize("statement", statements(), ids=lambda statement: statement["Sid"])
def test_without_a_statement_what_it_allows_is_refused(aws_lambda, policy, statement):
    allowed, put = policy
    put([one for one in allowed if one["Sid"] != statement["Sid"]])

    aws_lambda.act_out()

    assert aws_lambda.refused == {CALLS[action] for action in actions(statement)}


NOTHING: set[str] = set()


@pytest.fixture(scope="module")
def another(paused):
    """What the role has nothing to do with: a queue, a table, a secret, a log group."""
    options, name = paused.emulator.client_options, f"another-{uuid4()}"
    sqs, dynamodb = boto3.client("sqs", **options), boto3.client("dynamodb", **options)
    secrets, logs = boto3.client("secretsmanager", **options), boto3.client("logs", **options)
    queue_url = sqs.create_queue(QueueName=name)["QueueUrl"]
    dynamodb.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    secrets.create_secret(Name=name, SecretString="nothing to see")
    logs.create_log_group(logGroupName=name)
    yield resources(queue_url, name, name, name)
    sqs.delete_queue(QueueUrl=queue_url)
    dynamodb.delete_table(TableName=name)
    secrets.delete_secret(SecretId=name, ForceDeleteWithoutRecovery=True)
    logs.delete_log_group(logGroupName=name)


@pytest.fixture(scope="module")
def own(paused):
    return resources(
        paused.queue_url,
        paused.physical_name("MembershipsTable"),
        "customerio/credentials",
        paused.physical_name("ForwarderLogGroup"),
    )


@pytest.fixture(scope="module")
def dead_letters(paused):
    return {"sqs": {"QueueUrl": paused.dead_letter_queue_url, "WaitTimeSeconds": 0}}


@pytest.mark.parametrize(
    ("service", "whose", "allowed"),
    [
        (
            "sqs",
            "own",
            {
                "ChangeMessageVisibility",
                "ChangeMessageVisibilityBatch",
                "DeleteMessage",
                "GetQueueAttributes",
                "ReceiveMessage",
            },
        ),
        ("sqs", "dead_letters", {"SendMessage", "SendMessageBatch"}),
        ("sqs", "another", NOTHING),
        ("dynamodb", "own", {"BatchGetItem", "BatchExecuteStatement", "DeleteItem", "PutItem"}),
        ("dynamodb", "another", {"BatchExecuteStatement"}),
        ("secretsmanager", "own", {"GetSecretValue"}),
        ("secretsmanager", "another", NOTHING),
        ("logs", "own", {"CreateLogStream", "PutLogEvents"}),
        ("logs", "another", NOTHING),
        ("cloudformation", "own", NOTHING),
        ("cloudwatch", "own", NOTHING),
        ("iam", "own", NOTHING),
        ("kms", "own", NOTHING),
    ],
)
def test_of_all_calls_that_a_service_has_the_role_may_make_these_only(
    paused, request, service, whose, allowed
):
    about = request.getfixturevalue(whose).get(service, {})

    may = allowed_calls(paused, ROLE, service, about)

    assert may == allowed


@pytest.mark.parametrize(
    ("service", "call", "arguments"),
    [
        ("lambda", "list_functions", {}),
        ("lambda", "get_function", {"FunctionName": "audience-forwarder"}),
        ("s3", "list_buckets", {}),
        ("s3", "list_objects_v2", {"Bucket": "artifacts"}),
        ("sts", "assume_role", {"RoleArn": "another" * 3, "RoleSessionName": "another"}),
    ],
)
def test_nor_may_it_look_around(paused, service, call, arguments):
    client = boto3.client(service, **credentials(paused, ROLE))

    with pytest.raises(ClientError, match=r"AccessDenied|not authorized"):
        getattr(client, call)(**arguments)

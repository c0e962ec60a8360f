"""Each action of the forwarding function's role is needed, and nothing beside them is allowed.

The emulator asks IAM about what the function calls, but not about what Lambda itself does in its
name: take messages, delete them and write its log. So here Lambda's part is acted out, with the
role's own credentials.

What the emulator cannot show:

* It asks by the name of the call, where AWS asks for what a batch does to its parts: with
  `sqs:SendMessage` goes `sqs:SendMessageBatch` here (local/ministack.py).
* It does not know `dynamodb:PartiQLInsert` from `dynamodb:PartiQLUpdate`, nor which table they
  are for: one taken out alone stops nothing here. That each is needed shows in the statements
  that the function sends; the table's ARN is a matter of tests/unit/test_template.py.
* It lets a log group's ARN stand for the streams in it.
* It does not know the condition that of single items only suspensions may be put
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

from local.stack import API_KEY, SITE_ID
from tests.e2e.function import start_afresh
from tests.e2e.messages import (
    address,
    connection_check,
    join,
    memberships,
    new_mpid,
    of_profile,
    somebody,
    subscription,
)
from tests.e2e.roles import actions, allowed_calls, credentials, less, perform, resources
from tests.stack_template import role_statements
from tests.stand_ins import relay
from tests.stand_ins.relay import (
    DELAY,
    LOAD,
    MOVE,
    QUERY,
    SAVE,
    SECRET,
    SET_ASIDE,
    START,
    SUSPEND,
    VERSIONS,
)

ROLE = "ForwarderRole"
ON_CHANGES, ON_RETRIES = "of changes", "of retries"
# By statement: what each of its actions is needed for, the call that is refused without it.
CALLS = {
    "TakeChangesAndDelayRetries": {
        "sqs:GetQueueAttributes": f"GetQueueAttributes {ON_CHANGES}",
        "sqs:ReceiveMessage": f"ReceiveMessage {ON_CHANGES}",
        "sqs:DeleteMessage": f"DeleteMessage {ON_CHANGES}",
        "sqs:ChangeMessageVisibility": f"{DELAY} {ON_CHANGES}",
    },
    "RetryLater": {
        "sqs:SendMessage": MOVE,
        "sqs:GetQueueAttributes": f"GetQueueAttributes {ON_RETRIES}",
        "sqs:ReceiveMessage": f"ReceiveMessage {ON_RETRIES}",
        "sqs:DeleteMessage": f"DeleteMessage {ON_RETRIES}",
        "sqs:ChangeMessageVisibility": f"{DELAY} {ON_RETRIES}",
    },
    "SetAside": {"sqs:SendMessage": SET_ASIDE},
    "ReadMemberships": {"dynamodb:BatchGetItem": LOAD},
    "WriteMemberships": {"dynamodb:PartiQLInsert": SAVE, "dynamodb:PartiQLUpdate": SAVE},
    "FindPeopleByIdentifier": {"dynamodb:Query": QUERY},
    "ReadCredentials": {"secretsmanager:GetSecretValue": SECRET},
    "WriteLogs": {
        "logs:CreateLogStream": "CreateLogStream",
        "logs:PutLogEvents": "PutLogEvents",
    },
    "SuspendAccountsWithRefusedCredentials": {"dynamodb:PutItem": SUSPEND},
    "StartWalksOfRemovedAudiences": {"states:StartExecution": START},
}
NEEDED = [(sid, action) for sid, needed in CALLS.items() for action in needed]
# What the emulator asks for instead, or with it.
BATCHES = {
    "sqs:ChangeMessageVisibility": {"sqs:ChangeMessageVisibilityBatch"},
    "sqs:SendMessage": {"sqs:SendMessageBatch"},
    "dynamodb:PartiQLInsert": {"dynamodb:BatchExecuteStatement"},
    "dynamodb:PartiQLUpdate": {"dynamodb:BatchExecuteStatement"},
}
# What the function says if it lacks one that a good message needs, which then waits on a queue.
REASONS = {
    LOAD: "DynamoDB: AccessDeniedException",
    SAVE: "DynamoDB: AccessDeniedException",
    QUERY: "DynamoDB: AccessDeniedException",
    SECRET: "secret customerio/credentials cannot be read: AccessDeniedException",
    SET_ASIDE: "the dead-letter queue did not take a letter",
    START: "a walk cannot be started: AccessDenied",
}
# Always the same removal, so that it is walked once.
REMOVAL = subscription(30_999, "remove", int(time.time() * 1000))


class Lambda:
    """What Lambda does for the function, noting what its role does not let it do."""

    def __init__(self, stack, between):
        self.stack = stack
        self.between = between
        self.log_group = stack.physical_name("ForwarderLogGroup")
        self.logs = boto3.client("logs", **stack.emulator.client_options)
        own = credentials(stack, ROLE)
        self.client = functools.cache(lambda service: boto3.client(service, **own))
        self.queue_urls = {ON_CHANGES: stack.queue_url, ON_RETRIES: stack.retry_queue_url}
        self.called = set()
        self.refused = set()
        self.said = ""

    def ask(self, service, call, on="", **arguments):
        """Make a call as the role; as root where the role may not, to see what else it may not."""
        name = f"{call} {on}".strip()
        self.called.add(name)
        try:
            return perform(self.client(service), call, arguments)
        except ClientError as error:
            if "AccessDenied" not in error.response["Error"]["Code"]:
                raise
            self.refused.add(name)
            return perform({"sqs": self.stack.sqs, "logs": self.logs}[service], call, arguments)

    def forward(self, bodies, on=ON_CHANGES):
        """Send messages to a queue, and do with them what Lambda does."""
        url = self.queue_urls[on]
        for text in bodies:
            self.stack.sqs.send_message(QueueUrl=url, MessageBody=text)
        self.ask("sqs", "GetQueueAttributes", on, QueueUrl=url, AttributeNames=["QueueArn"])
        taken = self.ask(
            "sqs",
            "ReceiveMessage",
            on,
            QueueUrl=url,
            MaxNumberOfMessages=10,
            MessageSystemAttributeNames=["All"],
        )["Messages"]
        assert len(taken) == len(bodies)
        failed = self.invoke([record(message, url) for message in taken])
        for message in taken:
            if message["MessageId"] not in failed:
                handle = message["ReceiptHandle"]
                self.ask("sqs", "DeleteMessage", on, QueueUrl=url, ReceiptHandle=handle)
        self.log("END")

    def invoke(self, records):
        """Invoke the function; return the ids of the messages that it leaves on their queue."""
        event = json.dumps({"Records": records}).encode()
        answer = self.stack.functions.invoke(
            FunctionName=self.stack.function_name, Payload=event, LogType="Tail"
        )
        payload = answer["Payload"].read().decode()
        self.said += base64.b64decode(answer["LogResult"]).decode() + payload
        if "FunctionError" in answer:
            return {one["messageId"] for one in records}
        failures = json.loads(payload)["batchItemFailures"]
        return {failure["itemIdentifier"] for failure in failures}

    def log(self, line):
        where = {"logGroupName": self.log_group, "logStreamName": str(uuid4())}
        self.ask("logs", "CreateLogStream", **where)
        now = int(time.time() * 1000)
        self.ask("logs", "PutLogEvents", **where, logEvents=[{"timestamp": now, "message": line}])

    def act_out(self):
        """Have the function do all it ever does.

        It creates, sets aside, changes an identifier, suspends an account and moves its message
        to the retry queue, delays there, and delays on the source queue what it cannot move.
        Returns how many messages are left of those that nothing is wrong with, and what came of
        the first.
        """
        start_afresh(self.stack)
        mpid, before = new_mpid(), address()
        self.forward([of_profile(mpid, before), "no message"])
        delivered = memberships(self.stack, before)
        self.forward([of_profile(mpid, address()), REMOVAL])
        left = self.stack.waiting()
        self.stack.customerio.rotate({SITE_ID: "a-key-nobody-knows"})
        # With the connection check not all fails: an error would cost a new process.
        failing = [join(somebody()), connection_check()]
        self.forward(failing)
        self.forward(failing, ON_RETRIES)
        self.between.rewrite = moving_nothing
        self.forward(failing)
        self.called |= {named(call) for call in self.between.calls if call.name != relay.POST}
        self.refused |= {
            named(call) for call in self.between.calls if b"AccessDenied" in call.answer
        }
        return left, delivered


def named(call):
    """Return the name that CALLS has for a call of the function."""
    if call.name == DELAY:
        on_retries = call.content["QueueUrl"].endswith("-retries")
        return f"{DELAY} {ON_RETRIES if on_retries else ON_CHANGES}"
    return LOAD if call.name == VERSIONS else call.name


def moving_nothing(call):
    """Have SQS refuse to take what is moved to the retry queue."""
    return json.dumps(call.content | {"Entries": []}).encode() if call.name == MOVE else call.body


def record(message, queue_url):
    name = queue_url.rpartition("/")[2]
    return {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message["Body"],
        "attributes": message["Attributes"],
        "eventSource": "aws:sqs",
        "eventSourceARN": f"arn:aws:sqs:us-east-1:000000000000:{name}",
    }


@pytest.fixture(scope="module")
def paused(deployed):
    """The stack with its event source mappings at rest: only this module takes messages."""
    deployed.wait_until_drained()
    enable_mappings(deployed, enabled=False)
    yield deployed
    enable_mappings(deployed, enabled=True)


@pytest.fixture(scope="module")
def between(paused):
    with relay.between(paused) as running:
        yield running


@pytest.fixture
def less_one(paused):
    """Take an action out of a statement of one of the role's policies until the test is over."""
    role = paused.physical_name(ROLE)
    before = {}

    def take_out(sid, action):
        (name,) = [policy for policy, one in role_statements(ROLE) if one["Sid"] == sid]
        policy = paused.iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
        before[name] = policy
        without = {action} | BATCHES.get(action, set())
        left = [
            remaining
            for one in policy["Statement"]
            if (remaining := less(one, without) if one["Sid"] == sid else one)
        ]
        write(name, policy | {"Statement": left})

    def write(name, policy):
        where = {"RoleName": role, "PolicyName": name}
        if policy["Statement"]:
            paused.iam.put_role_policy(**where, PolicyDocument=json.dumps(policy))
        else:
            paused.iam.delete_role_policy(**where)

    yield take_out
    for name, policy in before.items():
        write(name, policy)


@pytest.fixture
def aws_lambda(paused, between):
    between.forget()
    yield Lambda(paused, between)
    between.forget()
    paused.customerio.rotate({SITE_ID: API_KEY})
    for url in (paused.queue_url, paused.retry_queue_url):
        paused.sqs.purge_queue(QueueUrl=url)
    paused.take_set_aside()


def enable_mappings(stack, *, enabled):
    mappings = stack.functions.list_event_source_mappings(FunctionName=stack.function_name)
    for mapping in mappings["EventSourceMappings"]:
        stack.functions.update_event_source_mapping(UUID=mapping["UUID"], Enabled=enabled)


def test_with_all_policies_everything_works_and_every_action_is_used(paused, between, aws_lambda):
    assert aws_lambda.act_out() == (0, "'30001'")

    assert aws_lambda.refused == set()
    (letter,) = paused.take_set_aside()
    assert letter.error_type == "MalformedMessage"
    assert aws_lambda.called == {call for needed in CALLS.values() for call in needed.values()}
    saved = [call.content["Statements"] for call in between.calls if call.name == SAVE]
    verbs = {one["Statement"].split()[0] for statements in saved for one in statements}
    assert verbs == {"INSERT", "UPDATE"}
    assert {sid: {*needed} for sid, needed in CALLS.items()} == {
        one["Sid"]: {*actions(one)} for _, one in role_statements(ROLE)
    }


@pytest.mark.parametrize(("sid", "action"), NEEDED)
def test_without_an_action_its_call_is_refused_and_no_other(aws_lambda, less_one, sid, action):
    less_one(sid, action)

    left, delivered = aws_lambda.act_out()

    call = CALLS[sid][action]
    assert aws_lambda.refused == {call}
    assert REASONS.get(call, "") in aws_lambda.said
    assert bool(left) == (call in REASONS)
    assert delivered == (None if call in {LOAD, SAVE, SECRET} else "'30001'")


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
    machine = f"arn:aws:states:us-east-1:000000000000:stateMachine:{name}"
    yield resources(queue_url, name, name, name, machine)
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
        paused.walks_arn,
    )


@pytest.fixture(scope="module")
def retries(paused):
    return {"sqs": {"QueueUrl": paused.retry_queue_url, "WaitTimeSeconds": 0}}


@pytest.fixture(scope="module")
def index(own):
    return {"dynamodb": own["dynamodb"] | {"IndexName": "by-identifier"}}


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
        (
            "sqs",
            "retries",
            {
                "ChangeMessageVisibility",
                "ChangeMessageVisibilityBatch",
                "DeleteMessage",
                "GetQueueAttributes",
                "ReceiveMessage",
                "SendMessage",
                "SendMessageBatch",
            },
        ),
        ("sqs", "dead_letters", {"SendMessage", "SendMessageBatch"}),
        ("sqs", "another", NOTHING),
        ("dynamodb", "own", {"BatchGetItem", "BatchExecuteStatement", "PutItem"}),
        ("dynamodb", "index", {"BatchGetItem", "BatchExecuteStatement", "PutItem", "Query"}),
        ("dynamodb", "another", {"BatchExecuteStatement"}),
        ("stepfunctions", "own", {"StartExecution"}),
        ("stepfunctions", "another", NOTHING),
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
def test_the_role_may_make_these_calls_of_a_service_only(paused, request, service, whose, allowed):
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
def test_the_role_is_refused_calls_that_the_function_never_makes(paused, service, call, arguments):
    client = boto3.client(service, **credentials(paused, ROLE))

    with pytest.raises(ClientError, match=r"AccessDenied|not authorized"):
        getattr(client, call)(**arguments)

"""Each action of the ingress's role is needed, and nothing beside them is allowed.

What test_permissions.py says of the emulator holds here too, and Lambda's part is acted out in the
same way: it writes the log.
"""

import json
import time
from dataclasses import dataclass

import boto3
import pytest

from handler.table.keys import account_key
from handler.table.suspensions import Suspensions
from tests.builders import deadline
from tests.e2e.function import post, start_afresh
from tests.e2e.messages import connection_check, join, somebody
from tests.e2e.roles import actions, allowed_calls, less, resources, write_log
from tests.stack_template import ingress_statements
from tests.stand_ins import relay

ROLE = "IngressRole"
SUSPENDED = 4711
"""An account whose credentials are refused. It has no changes, whose success would unmark it."""


@dataclass(frozen=True)
class Done:
    """What came of all that the ingress ever does."""

    enqueued: bool = True
    suspended: bool = True
    let_in: bool = True
    refused: frozenset[str] = frozenset()


# What is not done without an action, and the calls that are refused.
WITHOUT = {
    "sqs:SendMessage": Done(enqueued=False, refused=frozenset({"SendMessageBatch"})),
    "dynamodb:GetItem": Done(suspended=False, refused=frozenset({"GetItem"})),
    "secretsmanager:GetSecretValue": Done(let_in=False, refused=frozenset({"GetSecretValue"})),
    "logs:CreateLogStream": Done(refused=frozenset({"CreateLogStream"})),
    "logs:PutLogEvents": Done(refused=frozenset({"PutLogEvents"})),
}
# What the emulator asks for instead.
BATCHES = {"sqs:SendMessage": {"sqs:SendMessageBatch"}}
STATEMENTS = [pytest.param(*one, id=one[1]["Sid"]) for one in ingress_statements()]


@pytest.fixture(scope="module")
def between(deployed):
    deployed.wait_until_drained()
    with relay.between(deployed, deployed.physical_name("IngressFunction")) as running:
        yield running
    deployed.wait_until_drained()


@pytest.fixture
def suspended(deployed):
    dynamodb = boto3.client("dynamodb", **deployed.emulator.client_options)
    table = deployed.physical_name("MembershipsTable")
    Suspensions(dynamodb, table).suspend([SUSPENDED], now=time.time(), deadline=deadline())
    yield
    dynamodb.delete_item(TableName=table, Key={"pk": {"S": account_key(SUSPENDED)}})


@pytest.fixture
def act_out(deployed, between, suspended):
    """Have the ingress do all it ever does: enqueue, suspend, let in, and log as Lambda does."""

    def do():
        between.forget()
        enqueued, answer = deployed.ask(join(somebody()).encode())
        _, check = deployed.ask(connection_check(SUSPENDED).encode())
        status, _ = post(deployed, connection_check())
        refused = write_log(deployed, ROLE, "IngressLogGroup")
        refused |= {call.name for call in between.calls if b"AccessDenied" in call.answer}
        assert enqueued or "AccessDenied" in answer["errorMessage"]
        assert status == 200 or status >= 500
        return Done(enqueued, check["suspend_subscription"], status == 200, frozenset(refused))

    return do


@pytest.fixture
def put(deployed):
    """Put other statements into one of the role's policies; as deployed again after the test."""
    role = deployed.physical_name(ROLE)
    before = {}

    def put(name, change):
        policy = deployed.iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
        before[name] = policy
        left = [one for statement in policy["Statement"] if (one := change(statement))]
        write(name, policy | {"Statement": left})

    def write(name, policy):
        where = {"RoleName": role, "PolicyName": name}
        if policy["Statement"]:
            deployed.iam.put_role_policy(**where, PolicyDocument=json.dumps(policy))
        else:
            deployed.iam.delete_role_policy(**where)
        if name == "url":
            forget_the_token(deployed)

    yield put
    for name, policy in before.items():
        write(name, policy)


def forget_the_token(stack):
    start_afresh(stack, stack.physical_name("IngressFunction"))


def test_with_all_policies_everything_works_and_every_action_is_used(deployed, act_out, between):
    forget_the_token(deployed)

    assert act_out() == Done()

    called = {call.name.removesuffix("Batch") for call in between.calls}
    assert called == {"SendMessage", "GetItem", "GetSecretValue"}
    assert WITHOUT.keys() == {
        action for _, statement in ingress_statements() for action in actions(statement)
    }


@pytest.mark.parametrize("action", WITHOUT)
def test_without_an_action_exactly_what_needs_it_fails(act_out, put, action):
    without = {action} | BATCHES.get(action, set())
    for policy, statement in ingress_statements():
        if action in actions(statement):
            put(policy, lambda one: less(one, without))

    assert act_out() == WITHOUT[action]


@pytest.mark.parametrize(("policy", "statement"), STATEMENTS)
def test_without_a_statement_what_it_allows_fails(act_out, put, policy, statement):
    put(policy, lambda one: None if one["Sid"] == statement["Sid"] else one)

    lacking = [WITHOUT[action] for action in actions(statement)]
    assert act_out() == Done(
        enqueued=all(one.enqueued for one in lacking),
        suspended=all(one.suspended for one in lacking),
        let_in=all(one.let_in for one in lacking),
        refused=frozenset().union(*(one.refused for one in lacking)),
    )


@pytest.fixture(scope="module")
def own(deployed):
    return resources(
        deployed.queue_url,
        deployed.physical_name("MembershipsTable"),
        "mparticle/token",
        deployed.physical_name("IngressLogGroup"),
    )


@pytest.fixture(scope="module")
def of_the_forwarder(deployed):
    return resources(
        deployed.dead_letter_queue_url,
        "no-table",
        "customerio/credentials",
        deployed.physical_name("ForwarderLogGroup"),
    )


NOTHING: set[str] = set()


@pytest.mark.parametrize(
    ("service", "whose", "allowed"),
    [
        ("sqs", "own", {"SendMessage", "SendMessageBatch"}),
        ("sqs", "of_the_forwarder", NOTHING),
        ("dynamodb", "own", {"GetItem"}),
        ("secretsmanager", "own", {"GetSecretValue"}),
        ("secretsmanager", "of_the_forwarder", NOTHING),
        ("logs", "own", {"CreateLogStream", "PutLogEvents"}),
        ("logs", "of_the_forwarder", NOTHING),
        ("iam", "own", NOTHING),
    ],
)
def test_the_role_may_make_these_calls_of_a_service_only(
    deployed, request, service, whose, allowed
):
    about = request.getfixturevalue(whose).get(service, {})

    may = allowed_calls(deployed, ROLE, service, about)

    assert may == allowed

"""Each action of the walker's role is needed, and nothing beside them is allowed.

What test_permissions.py says of the emulator holds here too. When it runs an execution, it does
not ask about the state machine's role, so only what that role may call is shown.
"""

import json
import time
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import boto3
import pytest
from botocore.exceptions import ClientError

from handler.domain.membership import PersonState, stamp
from handler.domain.update import Identifier
from local.stack import SITE_ID
from ops.stack import NO_DEADLINE
from ops.table import opened
from tests.e2e.function import start_afresh
from tests.e2e.messages import somebody
from tests.e2e.roles import NOBODY, actions, allowed_calls, credentials, less, resources, write_log
from tests.stack_template import role_statements
from tests.stand_ins import relay
from tests.stand_ins.relay import LOAD, QUERY, SAVE, SCAN, SECRET, VERSIONS

ROLE = "WalkerRole"
AUDIENCE = 32_000
# The call that is refused without an action.
CALLS = {
    "dynamodb:Scan": SCAN,
    "dynamodb:BatchGetItem": LOAD,
    "dynamodb:PartiQLUpdate": SAVE,
    "dynamodb:Query": QUERY,
    "secretsmanager:GetSecretValue": SECRET,
    "logs:CreateLogStream": "CreateLogStream",
    "logs:PutLogEvents": "PutLogEvents",
}
# What the emulator asks for instead.
BATCHES = {"dynamodb:PartiQLUpdate": {"dynamodb:BatchExecuteStatement"}}
NOTHING: set[str] = set()


@pytest.fixture(scope="module")
def between(deployed):
    deployed.wait_until_drained()
    with relay.between(deployed, deployed.walker_name) as running:
        yield running


@pytest.fixture
def act_out(deployed, between):
    """Have the walker do all it ever does, and log as Lambda does; return what is refused."""

    def do():
        between.forget()
        start_afresh(deployed, deployed.walker_name)
        who = put_somebody(deployed)
        walk = {"kind": "removal", "site_id": SITE_ID, "audience_id": AUDIENCE}
        walk["removed_at_ms"] = int(time.time() * 1000)
        answer = deployed.functions.invoke(
            FunctionName=deployed.walker_name, Payload=json.dumps({"walk": walk}).encode()
        )
        refused = write_log(deployed, ROLE, "WalkerLogGroup")
        refused |= {
            LOAD if call.name == VERSIONS else call.name
            for call in between.calls
            if b"AccessDenied" in call.answer
        }
        return "FunctionError" not in answer and is_left(deployed, who), refused

    return do


def put_somebody(stack):
    """Put somebody into the table who is in the audience, with an email to be cleared."""
    name, now = somebody(), time.time()
    at_ms = int(now * 1000) - 1000
    state = PersonState(
        version=1,
        timestamp=int(now),
        identifier=Identifier(is_id=True, set_at_ms=at_ms, value=name),
        memberships={AUDIENCE: stamp(at_ms, removed=False)},
        former={Identifier(is_id=False, set_at_ms=0, value=f"{name}@example.com"): int(now) - 5},
    )
    key = f"{SITE_ID}#{uuid4().hex * 2}"
    aws: Any = SimpleNamespace(dynamodb=boto3.client("dynamodb", **stack.emulator.client_options))
    where: Any = SimpleNamespace(table_name=stack.physical_name("MembershipsTable"))
    with opened(aws, where) as table:
        assert table.people.save({key: state}, now=now, deadline=NO_DEADLINE) == {}
    return name


def is_left(stack, name):
    (person,) = [each for each in stack.customerio.people() if name in each.identifiers.values()]
    return person.attributes["SegmentMembership"] == ""


@pytest.fixture
def take_out(deployed):
    """Take an action out of the role's policy until the test is over."""
    where = {"RoleName": deployed.physical_name(ROLE), "PolicyName": "walker"}
    policy = deployed.iam.get_role_policy(**where)["PolicyDocument"]

    def take_out(action):
        without = {action} | BATCHES.get(action, set())
        left = [one for statement in policy["Statement"] if (one := less(statement, without))]
        document = json.dumps(policy | {"Statement": left})
        deployed.iam.put_role_policy(**where, PolicyDocument=document)

    yield take_out
    deployed.iam.put_role_policy(**where, PolicyDocument=json.dumps(policy))


def test_with_all_actions_everything_works_and_each_is_used(act_out, between):
    assert act_out() == (True, set())

    called = {call.name for call in between.calls}
    of_logs = {"CreateLogStream", "PutLogEvents"}
    assert called >= {*CALLS.values()} - of_logs
    assert CALLS.keys() == {
        action for _, statement in role_statements(ROLE) for action in actions(statement)
    }


@pytest.mark.parametrize("action", CALLS)
def test_without_an_action_its_call_is_refused_and_no_other(act_out, take_out, action):
    take_out(action)

    is_done, refused = act_out()

    assert refused == {CALLS[action]}
    assert is_done == action.startswith("logs:")


@pytest.fixture(scope="module")
def own(deployed):
    return resources(
        deployed.queue_url,
        deployed.physical_name("MembershipsTable"),
        "customerio/credentials",
        deployed.physical_name("WalkerLogGroup"),
        deployed.walks_arn,
    )


@pytest.fixture(scope="module")
def others(deployed):
    return resources(
        deployed.dead_letter_queue_url,
        "no-table",
        "mparticle/token",
        deployed.physical_name("ForwarderLogGroup"),
        f"{deployed.walks_arn}-of-others",
    )


@pytest.fixture
def about(request):
    return request.getfixturevalue(request.param)


@pytest.mark.parametrize(
    ("role", "service", "about", "allowed"),
    [
        (ROLE, "sqs", "own", NOTHING),
        (ROLE, "dynamodb", "own", {"BatchExecuteStatement", "BatchGetItem", "Scan"}),
        (ROLE, "secretsmanager", "own", {"GetSecretValue"}),
        (ROLE, "secretsmanager", "others", NOTHING),
        (ROLE, "logs", "own", {"CreateLogStream", "PutLogEvents"}),
        (ROLE, "logs", "others", NOTHING),
        (ROLE, "stepfunctions", "own", NOTHING),
        ("WalksRole", "stepfunctions", "own", {"StartExecution"}),
        ("WalksRole", "stepfunctions", "others", NOTHING),
        ("WalksRole", "dynamodb", "own", NOTHING),
    ],
    indirect=["about"],
)
def test_a_role_may_make_these_calls_of_a_service_only(deployed, about, role, service, allowed):
    assert allowed_calls(deployed, role, service, about.get(service, {})) == allowed


def test_the_state_machine_invokes_the_walker_and_no_other_function(deployed):
    client = boto3.client("lambda", **credentials(deployed, "WalksRole"))
    step = {"walk": json.loads(NOBODY)}

    answer = client.invoke(FunctionName=deployed.walker_name, Payload=json.dumps(step))

    assert json.loads(answer["Payload"].read())["done"]
    with pytest.raises(ClientError, match="AccessDenied"):
        client.invoke(FunctionName=deployed.function_name, Payload="{}")

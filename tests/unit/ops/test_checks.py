"""What must be in order for a change to reach Customer.io."""

import json
import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from handler.domain.attribute_mapping import mapping_of
from handler.domain.options import DeliveryOptions
from handler.domain.workspace import Workspace
from ops.checks import Checks, check_entries, check_options
from ops.stack import Ingress
from tests.unit.ops.builders import QUEUE_ARNS, STACK, mapping


def check_mappings(*existing):
    functions = boto3.client("lambda")
    aws: Any = SimpleNamespace(functions=functions)
    with Stubber(functions) as stubbed:
        for _ in QUEUE_ARNS:
            stubbed.add_response("list_event_source_mappings", {"EventSourceMappings": existing})
        return [*Checks(aws, STACK).of_mappings()]


def test_each_queue_needs_an_enabled_mapping_that_reports_failures() -> None:
    checks = check_mappings(mapping("retry queue"), mapping("queue"))

    names = ["mapping of the queue", "mapping of the retry queue"]
    assert [check.name for check in checks if check.is_ok] == names


@pytest.mark.parametrize(
    ("of_retries", "result", "fix"),
    [
        ([mapping("retry queue", "Disabled")], "Disabled", "ops mapping enable"),
        ([mapping("retry queue", reports=False)], "ReportBatchItemFailures", "make deploy"),
        ([], "there is none", "make deploy"),
    ],
)
def test_a_mapping_that_is_not_in_order_is_named_by_its_queue(of_retries, result, fix) -> None:
    (queue, retries) = check_mappings(mapping("queue"), *of_retries)

    assert (queue.is_ok, retries.is_ok) == (True, False)
    assert result in retries.result
    assert fix in retries.fix


@pytest.mark.parametrize(("target", "is_ok"), [("d", True), ("another", False)])
def test_both_queues_need_the_dead_letter_queue(aws, stack, target, is_ok) -> None:
    aws.sqs.create_queue(QueueName="another")
    arn = {name: f"arn:aws:sqs:{aws.sqs.meta.region_name}:123456789012:{name}" for name in "dr"}
    policy = {"deadLetterTargetArn": arn["d"].replace(":d", f":{target}"), "maxReceiveCount": "9"}
    for url in (stack.queue_url, stack.retry_queue_url):
        attributes = {"RedrivePolicy": json.dumps(policy)}
        aws.sqs.set_queue_attributes(QueueUrl=url, Attributes=attributes)

    checks = [*Checks(aws, replace(stack, dead_letter_queue_arn=arn["d"])).of_queues()]

    assert [check.name for check in checks] == ["queue", "retry queue"]
    assert [check.is_ok for check in checks] == [is_ok, is_ok]


@pytest.fixture
def check_ingress(aws):
    """Check an ingress whose function Lambda describes so; None if there is no such function."""
    aws.functions = boto3.client("lambda")
    stack = replace(STACK, ingress=Ingress("arn:i:live", "i", "li"))

    def checks(described):
        with Stubber(aws.functions) as stubbed:
            if described:
                asked = {"FunctionName": "arn:i:live"}
                stubbed.add_response("get_function_configuration", described, asked)
            else:
                gone = "ResourceNotFoundException"
                stubbed.add_client_error("get_function_configuration", gone)
            return [*Checks(aws, stack).of_ingress()]

    return checks


def configured(state="Active", **variables):
    settings = {"QUEUE_URL": "q", "TABLE_NAME": "t"} | variables
    return {"State": state, "Environment": {"Variables": settings}}


def test_a_stack_without_an_ingress_has_no_check_of_it() -> None:
    aws: Any = SimpleNamespace()

    assert list(Checks(aws, STACK).of_ingress()) == []


@pytest.mark.parametrize(
    ("described", "is_ok"),
    [
        (configured(), True),
        (configured("Failed"), False),
        (configured(QUEUE_URL=""), False),
        (None, False),
    ],
)
def test_the_ingress_must_exist_with_its_settings(check_ingress, described, is_ok) -> None:
    (check,) = check_ingress(described)

    assert (check.name, check.is_ok, bool(check.fix)) == ("ingress", is_ok, not is_ok)


@pytest.mark.parametrize(
    ("text", "is_ok"),
    [
        ("a" * 16, True),
        (f"{'a' * 16} {'b' * 20}\n", True),
        (f"{'a' * 16} tiny-token", False),
        (" ", False),
        (None, False),
    ],
)
def test_every_token_of_the_url_s_secret_must_be_long(aws, check_ingress, text, is_ok) -> None:
    if text is not None:
        aws.secrets.create_secret(Name="mparticle/token", SecretString=text)

    _, check = check_ingress(configured(URL_SECRET_NAME="mparticle/token"))

    assert (check.name, check.is_ok) == ("secret of the URL", is_ok)
    assert ("mparticle/token" in check.fix) is not is_ok
    assert text is None or "tokens: " in check.result
    assert "tiny-token" not in check.result + check.fix


@pytest.fixture
def check_audience_names(aws):
    """Check a log of these lines."""

    def check(*lines):
        aws.logs.create_log_group(logGroupName="l")
        aws.logs.create_log_stream(logGroupName="l", logStreamName="s")
        now = int(time.time() * 1000)
        events = [{"timestamp": now, "message": line} for line in (*lines, "another line")]
        aws.logs.put_log_events(logGroupName="l", logStreamName="s", logEvents=events)
        (only_check,) = Checks(aws, STACK).of_audience_names()
        return only_check

    return check


def dot_in_name(audience_id):
    return json.dumps(
        {"level": "WARNING", "message": "audience.dot_in_name", "audience_id": audience_id}
    )


def test_audiences_with_a_dot_in_their_name_are_a_warning(check_audience_names) -> None:
    check = check_audience_names(
        dot_in_name(13), dot_in_name(12), dot_in_name(13), "audience.dot_in_name"
    )

    assert (check.is_ok, check.result) == (True, "a dot in the name of audience 12, 13")
    assert "DotsInNames" in check.fix


def test_without_a_warning_in_the_log_audience_names_are_in_order(check_audience_names) -> None:
    check = check_audience_names()

    assert (check.is_ok, check.fix) == (True, "")


def test_entries_that_describe_one_workspace_differently_are_a_warning() -> None:
    (check,) = check_entries(
        {
            "1": Workspace("site-a", "key"),
            "2": Workspace("site-a", "old-key", create_people=False),
            "3": Workspace("site-b", "key"),
        }
    )

    assert (check.name, check.is_ok) == ("entries of site-a", True)
    assert check.result == "the entries of account 1, 2 differ in api_key, create_people"
    assert "make them equal" in check.fix


def test_equal_entries_of_one_workspace_are_in_order() -> None:
    twins = {account: Workspace("site-a", "key") for account in ("1", "2")}

    assert [*check_entries(twins)] == []


def test_a_workspace_has_the_options_of_the_stack_where_it_has_none_of_its_own() -> None:
    stack = DeliveryOptions(attribute_mapping=mapping_of({"ltv": "lifetime_value", "*": "mp_*"}))
    own = Workspace(
        "site",
        "key",
        membership_events=True,
        attribute_mapping=mapping_of({}),
        on_erasure="delete",
    )

    of_stack = check_options(Workspace("site", "key"), "of account 1", stack)
    of_secret = check_options(own, "of account 2", stack)

    assert of_stack.name == "options of account 1"
    assert of_stack.result == (
        "CreatePeople true, MembershipEvents false, "
        'AttributeMapping {"ltv": "lifetime_value", "*": "mp_*"}, OnErasure none'
    )
    assert of_secret.result == (
        "CreatePeople true, MembershipEvents true (in the secret), "
        "AttributeMapping empty (in the secret), OnErasure delete (in the secret)"
    )
    assert of_stack.fix == of_secret.fix == ""


def test_events_that_are_not_sent_because_nobody_is_created_are_a_warning() -> None:
    stack = DeliveryOptions(membership_events=True)

    check = check_options(Workspace("site", "key", create_people=False), "of account 1", stack)

    assert check.is_ok
    assert "no events are sent" in check.fix

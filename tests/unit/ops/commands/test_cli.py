"""What all commands have in common."""

from datetime import UTC, datetime
from types import SimpleNamespace

import boto3
import pytest
from botocore.stub import Stubber
from click.testing import CliRunner

from ops.cli import cli, run
from ops.commands.context import UNREACHABLE, Context


@pytest.mark.parametrize(
    "command",
    [
        *("", "status", "check", "smoke", "send", "audiences"),
        *("person show", "person explain", "person erase"),
        *("credentials put", "credentials remove", "mapping enable", "mapping disable"),
        *("dlq list", "dlq show", "dlq redrive", "dlq save", "dlq purge"),
    ],
)
def test_every_command_explains_itself_and_the_options_that_all_have(command) -> None:
    result = CliRunner().invoke(cli, [*command.split(), "--help"])

    assert result.exit_code == 0
    for option in ("--stack-name", "--region", "--profile", "--endpoint-url", "--json"):
        assert option in result.output


@pytest.fixture
def describe_stack(monkeypatch):
    """Have CloudFormation describe the stack so."""
    aws = SimpleNamespace(cloudformation=boto3.client("cloudformation"))
    monkeypatch.setattr(Context, "aws", aws)
    with Stubber(aws.cloudformation) as stubbed:

        def described(status, outputs=()):
            stack = {
                "StackName": "audience-forwarder",
                "CreationTime": datetime(2026, 1, 1, tzinfo=UTC),
                "StackStatus": status,
                "Outputs": [{"OutputKey": name, "OutputValue": "x"} for name in outputs],
            }
            stubbed.add_response("describe_stacks", {"Stacks": [stack]})
            stubbed.add_response("describe_stack_resources", {"StackResources": []})

        yield described


def test_a_stack_without_outputs_is_an_error_that_names_its_state(describe_stack, capsys) -> None:
    describe_stack("ROLLBACK_COMPLETE")

    assert run(["status"]) == UNREACHABLE
    assert "ROLLBACK_COMPLETE" in capsys.readouterr().err


def test_a_stack_of_an_older_version_must_be_deployed_again(describe_stack, capsys) -> None:
    older = ("QueueUrl", "QueueArn", "DeadLetterQueueUrl", "DeadLetterQueueArn")
    describe_stack("CREATE_COMPLETE", [*older, "FunctionName", "TableName"])

    assert run(["status"]) == UNREACHABLE

    error = capsys.readouterr().err
    assert "RetryQueueUrl" in error
    assert "make deploy" in error


def test_without_credentials_a_command_ends_with_a_reason_in_one_line(monkeypatch, capsys) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")

    assert run(["status"]) == UNREACHABLE
    assert capsys.readouterr() == ("", "Unable to locate credentials\n")

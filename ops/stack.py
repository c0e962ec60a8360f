"""Stack: what is deployed, by CloudFormation's word, and the clients to talk to it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

import boto3
from botocore.config import Config

from handler import clock
from handler.errors import MisconfiguredError

if TYPE_CHECKING:
    from mypy_boto3_cloudformation.client import CloudFormationClient
    from mypy_boto3_cloudwatch.client import CloudWatchClient
    from mypy_boto3_dynamodb.client import DynamoDBClient
    from mypy_boto3_lambda.client import LambdaClient
    from mypy_boto3_logs.client import CloudWatchLogsClient
    from mypy_boto3_secretsmanager.client import SecretsManagerClient
    from mypy_boto3_sqs.client import SQSClient

# Reading waits up to 20 s for what a long poll of 1 s answers; more is an outage.
_CONFIG: Final = Config(
    connect_timeout=5, read_timeout=20, retries={"mode": "standard", "total_max_attempts": 3}
)

NO_DEADLINE: Final = clock.Deadline(math.inf, clock.now)
"""For rooms that ask for one: a person at a terminal waits, or stops the tool."""

_OUTPUTS: Final = frozenset(
    {
        *("QueueUrl", "QueueArn", "RetryQueueUrl", "DeadLetterQueueUrl", "DeadLetterQueueArn"),
        *("FunctionName", "TableName"),
    }
)

READY: Final = frozenset({"CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE"})
"""The states of a stack that is as a template says."""


@dataclass(frozen=True, slots=True)
class Ingress:
    """mParticle's own door; `arn` is what it invokes."""

    arn: str
    function_name: str
    log_group: str


@dataclass(frozen=True, slots=True)
class Stack:
    """A deployed stack: the names and URLs of what it made; `ingress` None where it has none."""

    name: str
    status: str
    queue_url: str
    queue_arn: str
    retry_queue_url: str
    dead_letter_queue_url: str
    dead_letter_queue_arn: str
    table_name: str
    function_name: str
    log_group: str
    alarm_names: tuple[str, ...]
    ingress: Ingress | None = None


class Aws:
    """Clients of one account and region, made when first asked for."""

    def __init__(
        self, *, region: str | None, profile: str | None, endpoint_url: str | None
    ) -> None:
        """Use what the environment says for each that is None, as every AWS tool does."""
        self._session = boto3.session.Session(region_name=region, profile_name=profile)
        self._endpoint_url = endpoint_url

    @cached_property
    def cloudformation(self) -> CloudFormationClient:
        """What is deployed."""
        return self._session.client(
            "cloudformation", config=_CONFIG, endpoint_url=self._endpoint_url
        )

    @cached_property
    def cloudwatch(self) -> CloudWatchClient:
        """Metrics and alarms."""
        return self._session.client("cloudwatch", config=_CONFIG, endpoint_url=self._endpoint_url)

    @cached_property
    def dynamodb(self) -> DynamoDBClient:
        """People's states."""
        return self._session.client("dynamodb", config=_CONFIG, endpoint_url=self._endpoint_url)

    @cached_property
    def functions(self) -> LambdaClient:
        """The functions and the mapping."""
        return self._session.client("lambda", config=_CONFIG, endpoint_url=self._endpoint_url)

    @cached_property
    def logs(self) -> CloudWatchLogsClient:
        """The functions' logs."""
        return self._session.client("logs", config=_CONFIG, endpoint_url=self._endpoint_url)

    @cached_property
    def secrets(self) -> SecretsManagerClient:
        """The credentials secret."""
        return self._session.client(
            "secretsmanager", config=_CONFIG, endpoint_url=self._endpoint_url
        )

    @cached_property
    def sqs(self) -> SQSClient:
        """The queues."""
        return self._session.client("sqs", config=_CONFIG, endpoint_url=self._endpoint_url)


def find(aws: Aws, name: str) -> Stack:
    """Return the stack of this name.

    Raises botocore's ClientError if there is none, and MisconfiguredError if it lacks outputs: it
    is another kind of stack, an older version, or one whose first deployment failed.
    """
    described = aws.cloudformation.describe_stacks(StackName=name)["Stacks"][0]
    outputs = {item["OutputKey"]: item["OutputValue"] for item in described.get("Outputs", ())}
    resources = aws.cloudformation.describe_stack_resources(StackName=name)["StackResources"]
    if missing := _OUTPUTS - outputs.keys():
        raise MisconfiguredError(
            f"stack {name} is {described['StackStatus']} and lacks outputs of an audience "
            f"forwarder: {', '.join(sorted(missing))}; if it is one, make deploy"
        )
    made = {one["LogicalResourceId"]: one.get("PhysicalResourceId", "") for one in resources}
    return Stack(
        name=name,
        status=described["StackStatus"],
        queue_url=outputs["QueueUrl"],
        queue_arn=outputs["QueueArn"],
        retry_queue_url=outputs["RetryQueueUrl"],
        dead_letter_queue_url=outputs["DeadLetterQueueUrl"],
        dead_letter_queue_arn=outputs["DeadLetterQueueArn"],
        table_name=outputs["TableName"],
        function_name=outputs["FunctionName"],
        log_group=made["ForwarderLogGroup"],
        alarm_names=tuple(
            one.get("PhysicalResourceId", "")
            for one in resources
            if one["ResourceType"] == "AWS::CloudWatch::Alarm"
        ),
        ingress=Ingress(outputs["IngressArn"], made["IngressFunction"], made["IngressLogGroup"])
        if "IngressArn" in outputs
        else None,
    )

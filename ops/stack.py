"""Stack: the deployed stack, as CloudFormation describes it, and the AWS clients."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from handler import clock
from handler.aws.dynamodb_json import ParserFactory
from handler.errors import MisconfiguredError

if TYPE_CHECKING:
    from mypy_boto3_cloudformation.client import CloudFormationClient
    from mypy_boto3_cloudwatch.client import CloudWatchClient
    from mypy_boto3_dynamodb.client import DynamoDBClient
    from mypy_boto3_iam.client import IAMClient
    from mypy_boto3_lambda.client import LambdaClient
    from mypy_boto3_logs.client import CloudWatchLogsClient
    from mypy_boto3_secretsmanager.client import SecretsManagerClient
    from mypy_boto3_sqs.client import SQSClient

# The slowest call is a long poll of 1 s, so an answer that takes 20 s is an outage.
_CONFIG: Final = Config(
    connect_timeout=5, read_timeout=20, retries={"mode": "standard", "total_max_attempts": 3}
)

# A step of a walk may take 15 minutes, and must not be sent again meanwhile.
_WALKER_CONFIG: Final = Config(
    connect_timeout=5, read_timeout=910, tcp_keepalive=True, retries={"total_max_attempts": 1}
)

NO_DEADLINE: Final = clock.Deadline(math.inf, clock.now)
"""For calls that need a deadline: an operator waits, or stops the tool."""

_OUTPUTS: Final = frozenset(
    {
        *("QueueUrl", "QueueArn", "RetryQueueUrl", "DeadLetterQueueUrl", "DeadLetterQueueArn"),
        *("FunctionName", "TableName", "WalksArn", "WalkerFunctionName"),
    }
)

READY: Final = frozenset({"CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE"})
"""The states of a stack that is deployed completely."""


@dataclass(frozen=True, slots=True)
class Ingress:
    """The function for mParticle's requests; `arn` is what mParticle invokes.

    `url` is empty if it has none.
    """

    arn: str
    function_name: str
    log_group: str
    url: str = ""


@dataclass(frozen=True, slots=True)
class AudienceStream:
    """The delivery stream that mParticle writes to, and what belongs to it.

    `bucket` keeps its records; the access key of the user `user_name` is for mParticle.
    `account_id` is the mParticle account that its records are for; None for the default.
    """

    name: str
    bucket: str
    user_name: str
    function_name: str
    log_group: str
    account_id: int | None = None


@dataclass(frozen=True, slots=True)
class Stack:
    """A deployed stack: the names and URLs of its resources.

    `ingress` and `stream` are None if it has none.
    """

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
    walks_arn: str = ""
    walker_name: str = ""
    walker_log_group: str = ""
    ingress: Ingress | None = None
    stream: AudienceStream | None = None


class Aws:
    """Clients of one account and region, created at first use."""

    def __init__(
        self, *, region: str | None, profile: str | None, endpoint_url: str | None
    ) -> None:
        """Read each argument that is None from the environment, as other AWS tools do."""
        session = botocore.session.Session(profile=profile)
        session.register_component("response_parser_factory", ParserFactory())
        self._session = boto3.session.Session(botocore_session=session, region_name=region)
        self._endpoint_url = endpoint_url

    @property
    def is_emulated(self) -> bool:
        """Whether calls go to an address that is not one of AWS's own."""
        return ".amazonaws." not in self.functions.meta.endpoint_url

    @cached_property
    def cloudformation(self) -> CloudFormationClient:
        """The stack and its resources."""
        return self._session.client(
            "cloudformation", config=_CONFIG, endpoint_url=self._endpoint_url
        )

    @cached_property
    def cloudwatch(self) -> CloudWatchClient:
        """Metrics and alarms."""
        return self._session.client("cloudwatch", config=_CONFIG, endpoint_url=self._endpoint_url)

    @cached_property
    def dynamodb(self) -> DynamoDBClient:
        """The table."""
        return self._session.client("dynamodb", config=_CONFIG, endpoint_url=self._endpoint_url)

    @cached_property
    def firehose(self) -> Any:
        """The audience stream."""
        return self._session.client("firehose", config=_CONFIG, endpoint_url=self._endpoint_url)

    @cached_property
    def functions(self) -> LambdaClient:
        """The functions and the event source mappings."""
        return self._session.client("lambda", config=_CONFIG, endpoint_url=self._endpoint_url)

    @cached_property
    def walker(self) -> LambdaClient:
        """The walker, when it is invoked without a walk."""
        return self._session.client(
            "lambda", config=_WALKER_CONFIG, endpoint_url=self._endpoint_url
        )

    @cached_property
    def iam(self) -> IAMClient:
        """The user whose access key mParticle has."""
        return self._session.client("iam", config=_CONFIG, endpoint_url=self._endpoint_url)

    @cached_property
    def step_functions(self) -> Any:
        """The walks over the table."""
        return self._session.client(
            "stepfunctions", config=_CONFIG, endpoint_url=self._endpoint_url
        )

    @cached_property
    def logs(self) -> CloudWatchLogsClient:
        """The functions' logs."""
        return self._session.client("logs", config=_CONFIG, endpoint_url=self._endpoint_url)

    @cached_property
    def s3(self) -> Any:
        """The bucket of the audience stream."""
        return self._session.client("s3", config=_CONFIG, endpoint_url=self._endpoint_url)

    @cached_property
    def secrets(self) -> SecretsManagerClient:
        """The secrets."""
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
    is another kind of stack, an older version, or its first deployment failed.
    """
    described = aws.cloudformation.describe_stacks(StackName=name)["Stacks"][0]
    outputs = {item["OutputKey"]: item["OutputValue"] for item in described.get("Outputs", ())}
    parameters = {
        item["ParameterKey"]: item.get("ParameterValue", "")
        for item in described.get("Parameters", ())
    }
    resources = aws.cloudformation.describe_stack_resources(StackName=name)["StackResources"]
    if missing := _OUTPUTS - outputs.keys():
        raise MisconfiguredError(
            f"stack {name} is {described['StackStatus']} and lacks outputs of an audience "
            f"forwarder: {', '.join(sorted(missing))}; if it is one, deploy it again: make deploy"
        )
    physical_ids = {
        item["LogicalResourceId"]: item.get("PhysicalResourceId", "") for item in resources
    }
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
        walks_arn=outputs["WalksArn"],
        walker_name=outputs["WalkerFunctionName"],
        walker_log_group=physical_ids["WalkerLogGroup"],
        log_group=physical_ids["ForwarderLogGroup"],
        alarm_names=tuple(
            item.get("PhysicalResourceId", "")
            for item in resources
            if item["ResourceType"] == "AWS::CloudWatch::Alarm"
        ),
        ingress=Ingress(
            outputs["IngressArn"],
            physical_ids["IngressFunction"],
            physical_ids["IngressLogGroup"],
            outputs.get("IngressUrl", ""),
        )
        if "IngressArn" in outputs
        else None,
        stream=AudienceStream(
            outputs["AudienceStreamName"],
            outputs["AudienceStreamBucket"],
            outputs["AudienceStreamUserName"],
            physical_ids["StreamFunction"],
            physical_ids["StreamLogGroup"],
            int(account) if (account := parameters.get("AudienceStreamAccount")) else None,
        )
        if "AudienceStreamName" in outputs
        else None,
    )


def describe_error(error: BotoCoreError | ClientError) -> str:
    """Return the reason that AWS or botocore gives, in one line."""
    if isinstance(error, ClientError):
        return "{Code}: {Message}".format(**error.response["Error"])
    return str(error)

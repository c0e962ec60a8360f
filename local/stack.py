"""Stack: a stack on this machine, and what people and tests do with it.

deployment.py builds and deploys it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import boto3
import msgspec

from local.emulator import Emulator
from local.events import SetAside
from local.fake_customerio.process import FakeCustomerio

if TYPE_CHECKING:
    from mypy_boto3_iam.client import IAMClient
    from mypy_boto3_lambda.client import LambdaClient
    from mypy_boto3_secretsmanager.client import SecretsManagerClient
    from mypy_boto3_sqs.client import SQSClient

SITE_ID: Final = "local-workspace"
API_KEY: Final = "local-api-key"
_ENTRY: Final = {"site_id": SITE_ID, "api_key": API_KEY}
SECRET_ENTRIES: Final[Mapping[str, Mapping[str, object]]] = {
    "1001": _ENTRY,
    "1002": _ENTRY,
    "1003": {**_ENTRY, "membership_events": True},
    "default": _ENTRY,
}
"""The credentials secret, by mParticle account. All have one workspace; 1003 has events on."""
INGRESS_TOKEN: Final = "local-ingress-token"  # noqa: S105 - of this stack alone
"""The token of requests to the ingress over HTTP."""
MPARTICLE: Final = "210987654321"
"""The AWS account that may invoke the ingress; it is fictitious."""

NAME: Final = "audience-forwarder"
"""The name of the stack."""


class _Outputs(msgspec.Struct, frozen=True, rename="pascal"):
    queue_url: str
    dead_letter_queue_url: str
    function_name: str
    ingress_arn: str
    ingress_url: str
    retry_queue_url: str = ""  # None in the first versions.
    walks_arn: str = ""
    walker_function_name: str = ""
    audience_stream_name: str = ""
    audience_stream_bucket: str = ""


class Address(msgspec.Struct, frozen=True):
    """Where a running stack is, for another process."""

    emulator_url: str
    emulator_directory: str
    customerio_url: str


class Stack:
    """A deployed stack, and what people and tests do with it."""

    def __init__(self, running_emulator: Emulator, customerio: FakeCustomerio) -> None:
        """Find the stack that is deployed to this emulator."""
        self.emulator = running_emulator
        self.customerio = customerio
        self._cloudformation = boto3.client("cloudformation", **running_emulator.client_options)
        described = self._cloudformation.describe_stacks(StackName=NAME)["Stacks"][0]
        outputs = {item["OutputKey"]: item["OutputValue"] for item in described["Outputs"]}
        self._outputs = msgspec.convert(outputs, _Outputs)

    @classmethod
    def at(cls, address: Address) -> Stack:
        """Return the running stack at this address."""
        return cls(
            Emulator(address.emulator_url, Path(address.emulator_directory)),
            FakeCustomerio.at(address.customerio_url),
        )

    @property
    def address(self) -> Address:
        """The address for another process."""
        return Address(self.emulator.url, str(self.emulator.directory), self.customerio.url)

    @property
    def queue_url(self) -> str:
        """The URL of the source queue."""
        return self._outputs.queue_url

    @property
    def retry_queue_url(self) -> str:
        """The URL of the retry queue."""
        return self._outputs.retry_queue_url

    @property
    def dead_letter_queue_url(self) -> str:
        """The URL of the dead-letter queue."""
        return self._outputs.dead_letter_queue_url

    @property
    def function_name(self) -> str:
        """The name of the forwarder."""
        return self._outputs.function_name

    @property
    def ingress_arn(self) -> str:
        """The ARN of the ingress, which mParticle invokes."""
        return self._outputs.ingress_arn

    @property
    def ingress_url(self) -> str:
        """The URL of the ingress, at the emulator's own address."""
        url_id = self._outputs.ingress_url.removeprefix("https://").partition(".")[0]
        return f"{self.emulator.url}/_aws/lambda-url/{url_id}/"

    @property
    def stream_name(self) -> str:
        """The name of the audience stream, which mParticle writes to."""
        return self._outputs.audience_stream_name

    @property
    def stream_bucket(self) -> str:
        """The name of the bucket with the stream's records."""
        return self._outputs.audience_stream_bucket

    @cached_property
    def firehose(self) -> Any:
        """A client of the emulator's root user."""
        return boto3.client("firehose", **self.emulator.client_options)

    @cached_property
    def sqs(self) -> SQSClient:
        """A client of the emulator's root user."""
        return boto3.client("sqs", **self.emulator.client_options)

    @cached_property
    def functions(self) -> LambdaClient:
        """A client of the emulator's root user."""
        return boto3.client("lambda", **self.emulator.client_options)

    @property
    def walks_arn(self) -> str:
        """The ARN of the state machine of walks."""
        return self._outputs.walks_arn

    @property
    def walker_name(self) -> str:
        """The name of the walker."""
        return self._outputs.walker_function_name

    @cached_property
    def walks(self) -> Any:  # Any: the stubs of this service are not installed
        """A client of Step Functions, of the emulator's root user."""
        return boto3.client("stepfunctions", **self.emulator.client_options)

    @cached_property
    def iam(self) -> IAMClient:
        """A client of the emulator's root user."""
        return boto3.client("iam", **self.emulator.client_options)

    @cached_property
    def secrets(self) -> SecretsManagerClient:
        """A client of the emulator's root user."""
        return boto3.client("secretsmanager", **self.emulator.client_options)

    def physical_name(self, logical_id: str) -> str:
        """Return the physical name of a resource of the template."""
        answer = self._cloudformation.describe_stack_resource(
            StackName=NAME, LogicalResourceId=logical_id
        )
        return answer["StackResourceDetail"]["PhysicalResourceId"]

    def roles(self) -> list[str]:
        """Return the names of all roles."""
        described = self._cloudformation.describe_stack_resources(StackName=NAME)
        return [
            each["PhysicalResourceId"]
            for each in described["StackResources"]
            if each["ResourceType"] == "AWS::IAM::Role"
        ]

    def send(self, bodies: Sequence[str]) -> list[str]:
        """Send messages, at most ten; return the ids that SQS gave them, in the same order."""
        answer = self.sqs.send_message_batch(
            QueueUrl=self.queue_url,
            Entries=[{"Id": str(place), "MessageBody": body} for place, body in enumerate(bodies)],
        )
        ids = {int(sent["Id"]): sent["MessageId"] for sent in answer["Successful"]}
        return [ids[place] for place in range(len(bodies))]

    def waiting(self) -> int:
        """Return how many messages are on the source and the retry queue, visible or not."""
        return self._on(self.queue_url) + self._on(self.retry_queue_url)

    def _on(self, queue_url: str) -> int:
        counts = self.sqs.get_queue_attributes(
            QueueUrl=queue_url,
            AttributeNames=[
                "ApproximateNumberOfMessages",
                "ApproximateNumberOfMessagesDelayed",
                "ApproximateNumberOfMessagesNotVisible",
            ],
        )["Attributes"]
        return sum(int(count) for count in counts.values())

    def dead_letters(self) -> int:
        """Return how many messages are in the dead-letter queue."""
        name: Final = "ApproximateNumberOfMessages"
        answer = self.sqs.get_queue_attributes(
            QueueUrl=self.dead_letter_queue_url, AttributeNames=[name]
        )
        return int(answer["Attributes"][name])

    def wait_until_drained(self, seconds: float = 60.0) -> None:
        """Wait until no message is on either queue, or raise TimeoutError."""
        # A retry arrives on the retry queue before it leaves the source queue.
        _wait_until(
            lambda: not self._on(self.queue_url) and not self._on(self.retry_queue_url),
            seconds,
            "messages are still on the queue",
        )

    def wait_for_walks(self, seconds: float = 60.0) -> None:
        """Wait until no walk over the table is on its way, or raise TimeoutError."""
        running: Final = {"stateMachineArn": self.walks_arn, "statusFilter": "RUNNING"}
        _wait_until(
            lambda: not self.walks.list_executions(**running, maxResults=1)["executions"],
            seconds,
            "a walk is still on its way",
        )

    def take_set_aside(self) -> list[SetAside]:
        """Remove all messages from the dead-letter queue and return them."""
        letters = []
        while True:
            answer = self.sqs.receive_message(
                QueueUrl=self.dead_letter_queue_url,
                MaxNumberOfMessages=10,
                MessageAttributeNames=["All"],
            )
            for message in answer.get("Messages", ()):
                attributes = message.get("MessageAttributes", {})
                reasons = {name: value["StringValue"] for name, value in attributes.items()}
                letters.append(msgspec.convert(reasons | {"Body": message["Body"]}, SetAside))
                self.sqs.delete_message(
                    QueueUrl=self.dead_letter_queue_url,
                    ReceiptHandle=message["ReceiptHandle"],
                )
            if not answer.get("Messages"):
                return letters

    def put(self, record: bytes) -> None:
        """Put a record into the audience stream, as mParticle does."""
        self.firehose.put_record(DeliveryStreamName=self.stream_name, Record={"Data": record})

    def invoke(self, event: bytes) -> tuple[bool, Any]:
        """Invoke the function; return whether it succeeded, and what it answered."""
        return self._invoke(self.function_name, event)

    def ask(self, request: bytes) -> tuple[bool, Any]:
        """Invoke the ingress, as mParticle does; return whether it succeeded, and its answer."""
        return self._invoke(self.ingress_arn, request)

    def _invoke(self, name: str, event: bytes) -> tuple[bool, Any]:
        answer = self.functions.invoke(FunctionName=name, Payload=event)
        return "FunctionError" not in answer, json.loads(answer["Payload"].read())


def _wait_until(is_over: Callable[[], bool], seconds: float, otherwise: str) -> None:
    deadline = time.monotonic() + seconds
    pause = 0.05
    while not is_over():
        if time.monotonic() > deadline:
            message = f"{otherwise} after {seconds:.0f} s"
            raise TimeoutError(message)
        time.sleep(pause)
        # Each question takes 7 ms of CPU, so ask less often in a wait of half a minute.
        pause = min(1.2 * pause, 0.5)

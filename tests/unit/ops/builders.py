"""A stack, its messages and its secrets, as the tests of the operator's tool need them."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError

from handler.domain.audience import Audience, Catalogue, pack_catalogue
from handler.domain.membership import PersonState
from handler.domain.state_codec import pack
from handler.domain.update import Identifier
from handler.table.keys import catalogue_key, erasure_key
from ops.dead_letters import DeadLetter
from ops.stack import AudienceStream, Stack
from tests.builders import NOW, stream_record

STACK = Stack("s", "", "q", "arn:q", "r", "d", "arn:d", "t", "f", "l", ())
STREAM = AudienceStream("stream", "bucket", "user", "stream-function", "stream-log")
SECRET = "credentials"

CREDENTIALS = {"site_id": "site-a", "api_key": "old-key"}
OTHER_CREDENTIALS = {"site_id": "site-b", "api_key": "key-b"}
UNUSABLE = {"site_id": "local:x", "api_key": "k"}

QUEUE_ARNS = {"queue": "arn:aws:sqs:eu-west-1:1:q", "retry queue": "arn:aws:sqs:eu-west-1:1:r"}


def letter(
    error_type: str = "NoIdentity", source: str = "m-1", sent_at: float = NOW, text: str = "{}"
) -> DeadLetter:
    return DeadLetter("id", error_type, "why", source, sent_at, text)


def record(customer_id: str = "c-1", *, at: int = int(NOW)) -> bytes:
    """Return a record of a stream about this customer."""
    identities = {"CustomerId": customer_id}
    return stream_record(MembershipChangedTimestamp=at, UserIdentities=identities).encode()


def text_attributes(**values: str) -> dict[str, Any]:
    """Message attributes of SQS."""
    return {name: {"DataType": "String", "StringValue": value} for name, value in values.items()}


def mapping_uuid(queue: str) -> str:
    return f"{queue:->36}"


def mapping(queue: str, state: str = "Enabled", *, reports: bool = True) -> dict[str, Any]:
    """An event source mapping, as Lambda returns it."""
    types = {"FunctionResponseTypes": ["ReportBatchItemFailures"]} if reports else {}
    return {
        "UUID": mapping_uuid(queue),
        "State": state,
        "EventSourceArn": QUEUE_ARNS[queue],
        **types,
    }


def put_catalogue(aws: Any, site_id: str, audiences: Mapping[int, Audience]) -> None:
    """Put the catalogue of a workspace into the table."""
    item = {
        "pk": {"S": catalogue_key(site_id)},
        "version": {"N": "1"},
        "audiences": {"B": pack_catalogue(Catalogue(1, audiences))},
    }
    aws.dynamodb.put_item(TableName=STACK.table_name, Item=item)


def put_person(aws: Any, key: str, state: PersonState) -> None:
    """Put a person into the table."""
    item = {
        "pk": {"S": key},
        "version": {"N": str(state.version)},
        "timestamp": {"N": str(state.timestamp)},
        "memberships": {"B": pack(state)},
    }
    if state.identifier is not None:
        item["identifier"] = {"S": state.identifier.text}
    aws.dynamodb.put_item(TableName=STACK.table_name, Item=item)


def put_erasure(aws: Any, site_id: str, identifier: str, *, at_ms: int) -> None:
    """Put the record of an erasure into the table, by an `Identifier.text`."""
    item = {
        "pk": {"S": erasure_key(site_id, Identifier.parse(identifier, set_at_ms=0))},
        "version": {"N": "1"},
        "erased_at_ms": {"N": str(at_ms)},
        "recorded_at": {"N": "0"},
    }
    aws.dynamodb.put_item(TableName=STACK.table_name, Item=item)


class StepFunctions:
    """The executions of one state machine, in memory; each has a map run once it has ended."""

    def __init__(self, machine: str) -> None:
        self._machine = machine
        self.executions: dict[str, dict[str, Any]] = {}
        self._counts: dict[str, dict[str, int]] = {}

    def _arn(self, name: str) -> str:
        return f"{self._machine.replace(':stateMachine:', ':execution:')}:{name}"

    def end(self, name: str, counts: list[tuple[int, int, int]]) -> None:
        """End a walk with the counts of its segments: read, delivered, skipped."""
        fields = ("read", "delivered", "skipped")
        output = json.dumps([dict(zip(fields, each, strict=True)) for each in counts])
        self.executions[self._arn(name)] |= {"status": "SUCCEEDED", "output": output}
        done = {"total": len(counts), "succeeded": len(counts), "failed": 0}
        self._counts[self._arn(name)] = done

    def start_execution(self, **started: str) -> None:
        assert started["stateMachineArn"] == self._machine
        arn = self._arn(started["name"])
        self.executions[arn] = {
            "executionArn": arn,
            "name": started["name"],
            "status": "RUNNING",
            "startDate": datetime.fromtimestamp(NOW, UTC),
            "input": started["input"],
        }

    def describe_execution(self, *, executionArn: str) -> Any:  # noqa: N803 - AWS's names
        return self._execution(executionArn)

    def list_executions(self, **_: Any) -> Any:
        return {"executions": [*reversed(self.executions.values())]}

    def list_map_runs(self, *, executionArn: str) -> Any:  # noqa: N803
        return {"mapRuns": [{"mapRunArn": arn} for arn in self._counts if arn == executionArn]}

    def describe_map_run(self, *, mapRunArn: str) -> Any:  # noqa: N803
        return {"itemCounts": self._counts[mapRunArn]}

    def stop_execution(self, *, executionArn: str, error: str) -> None:  # noqa: N803
        self.executions[executionArn] |= {"status": "ABORTED", "error": error}

    def redrive_execution(self, *, executionArn: str) -> None:  # noqa: N803
        self._execution(executionArn)["status"] = "RUNNING"

    def _execution(self, arn: str) -> dict[str, Any]:
        if arn not in self.executions:
            error: Any = {"Code": "ExecutionDoesNotExist", "Message": "no such execution"}
            raise ClientError({"Error": error}, "DescribeExecution")
        return self.executions[arn]

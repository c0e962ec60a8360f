"""A stack, its messages and its secrets, as the tests of the operator's tool need them."""

from collections.abc import Mapping
from typing import Any

from handler.domain.audience import Audience, Catalogue, pack_catalogue
from handler.domain.membership import PersonState
from handler.domain.state_codec import pack
from handler.table.keys import catalogue_key
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

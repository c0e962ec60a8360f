"""DynamoDB JSON: msgspec writes the requests of the two batch operations, and reads their answers
and those of scans.

botocore looks up the shape of every value, which takes 20 times as long. The results are the same
as botocore's: tests/unit/handler/aws/test_dynamodb_json.py compares them.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, TypedDict

import msgspec
from botocore.parsers import JSONParser, ResponseParser, ResponseParserFactory

if TYPE_CHECKING:
    from botocore.model import Shape

_CONTEXT_KEY: Final = "audience-forwarder-params"
_ENCODER: Final = msgspec.json.Encoder()


def write_with_msgspec(events: Any) -> None:
    """Make msgspec write the bodies of a DynamoDB client's two batch operations."""
    for operation in ("BatchExecuteStatement", "BatchGetItem"):
        events.register(f"provide-client-params.dynamodb.{operation}", _withhold)
        events.register(f"before-call.dynamodb.{operation}", _write)


def _withhold(params: Mapping[str, Any], context: dict[str, Any], **_: object) -> dict[str, Any]:
    # botocore serializes empty values. The real ones are in the context of the call.
    context[_CONTEXT_KEY] = params
    return {name: type(value)() for name, value in params.items()}


def _write(params: dict[str, Any], context: dict[str, Any], **_: object) -> None:
    params["body"] = _ENCODER.encode(context.pop(_CONTEXT_KEY))


# The parts of the answers that this project's requests ask for.


class _AttributeValue(TypedDict, total=False):
    S: str
    N: str
    B: bytes
    BOOL: bool
    NULL: bool
    SS: list[str]
    NS: list[str]
    BS: list[bytes]
    M: dict[str, _AttributeValue]
    L: list[_AttributeValue]


_Item = dict[str, _AttributeValue]


class _KeysAndAttributes(TypedDict, total=False):
    Keys: list[_Item]
    ConsistentRead: bool
    ProjectionExpression: str
    ExpressionAttributeNames: dict[str, str]


class _BatchGetItemOutput(TypedDict, total=False):
    Responses: dict[str, list[_Item]]
    UnprocessedKeys: dict[str, _KeysAndAttributes]


class _StatementError(TypedDict, total=False):
    Code: str
    Message: str
    Item: _Item


class _StatementResponse(TypedDict, total=False):
    Error: _StatementError
    TableName: str
    Item: _Item


class _BatchExecuteStatementOutput(TypedDict, total=False):
    Responses: list[_StatementResponse]


class _ScanOutput(TypedDict, total=False):
    Items: list[_Item]
    Count: int
    ScannedCount: int
    LastEvaluatedKey: _Item


_DECODERS: Final[Mapping[str, msgspec.json.Decoder[Any]]] = {
    "BatchExecuteStatementOutput": msgspec.json.Decoder(_BatchExecuteStatementOutput),
    "BatchGetItemOutput": msgspec.json.Decoder(_BatchGetItemOutput),
    "ScanOutput": msgspec.json.Decoder(_ScanOutput),
}


class _Parser(JSONParser):
    """Reads the answers that are large with msgspec, and leaves the rest to botocore."""

    def parse(self, response: Mapping[str, Any], shape: Shape) -> Any:
        """Return the answer as botocore documents it."""
        decoder = _DECODERS.get(shape.name) if shape else None
        if decoder is not None and response["status_code"] == 200:
            # If the answer has an unexpected form, botocore reads it.
            with suppress(msgspec.DecodeError, UnicodeError, RecursionError):
                metadata = {"HTTPStatusCode": 200, "HTTPHeaders": dict(response["headers"])}
                return {**decoder.decode(response["body"]), "ResponseMetadata": metadata}
        return super().parse(response, shape)


class ParserFactory(ResponseParserFactory):
    """Makes botocore's parsers, except the one for JSON."""

    def create_parser(self, protocol_name: str) -> ResponseParser:
        """Return the parser for a protocol."""
        return _Parser() if protocol_name == "json" else super().create_parser(protocol_name)

"""AWS: botocore's clients over connections of our own, and DynamoDB's batches by msgspec.

Requests are addressed, signed and their errors named by botocore. What goes over the wire goes
over the pool that Customer.io is reached by, too: one TLS context for all, as loading the
authorities that it trusts takes 20 ms, which botocore spends on every connection.
"""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, TypedDict

import botocore.session
import msgspec
import urllib3
from botocore import exceptions
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.parsers import JSONParser, ResponseParser, ResponseParserFactory
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    NewConnectionError,
    ProtocolError,
    ReadTimeoutError,
    SSLError,
)

if TYPE_CHECKING:
    from botocore.awsrequest import AWSPreparedRequest
    from botocore.exceptions import BotoCoreError
    from botocore.model import Shape

_TIMEOUT: Final = urllib3.Timeout(connect=1.0, read=2.0)  # seconds; see clock.AWS_CALL_S
_LAST_READ_S: Final = 2.0  # after a call's start, as the read timeout is that of each read


def connections(each: int) -> urllib3.PoolManager:
    """Return a pool that keeps so many connections to each host.

    Trusted are the authorities that Python trusts, and those in AWS_CA_BUNDLE, botocore's setting.
    """
    context = ssl.create_default_context()
    if bundle := os.environ.get("AWS_CA_BUNDLE"):
        context.load_verify_locations(bundle)
    return urllib3.PoolManager(maxsize=each, ssl_context=context)


def clients(pool: urllib3.PoolManager) -> Callable[[str], Any]:
    """Return what makes a client of a service by its name; all of them share the pool.

    Their calls make one try: whoever calls tries again while there is time, see
    clock.AWS_CALL_S. They raise botocore's errors.
    """
    session = botocore.session.get_session()
    session.register_component("response_parser_factory", Parsers())
    config = Config(
        retries={"mode": "standard", "total_max_attempts": 1},
        parameter_validation=False,  # a fifth of a batch call's CPU; it quotes what it refuses
        user_agent="audience-forwarder",  # the usual one is put together anew for every call
    )

    def send(request: AWSPreparedRequest, **_: object) -> AWSResponse:
        return _sent(pool, request)

    def client(service: str) -> Any:
        made: Any = session.create_client(service, config=config)
        events = made.meta.events
        # An answer given here is taken for that of the service.
        events.register("before-send", send)
        for operation in ("BatchExecuteStatement", "BatchGetItem"):
            events.register(f"provide-client-params.dynamodb.{operation}", _hold)
            events.register(f"before-call.dynamodb.{operation}", _write)
        return made

    return client


# --- writing ---

# botocore looks up the shape of every value that it writes. What has many is held back from it,
# emptied, and put by msgspec where botocore has written next to nothing.
_HELD: Final = "held"
_ENCODER: Final = msgspec.json.Encoder()


def _hold(params: Mapping[str, Any], context: dict[str, Any], **_: object) -> dict[str, Any]:
    context[_HELD] = params
    return {name: type(value)() for name, value in params.items()}


def _write(params: dict[str, Any], context: dict[str, Any], **_: object) -> None:
    params["body"] = _ENCODER.encode(context.pop(_HELD))


# --- sending ---

# By what botocore calls them itself.
_RAISED: Final[Sequence[tuple[type[HTTPError], Callable[..., BotoCoreError]]]] = (
    (NewConnectionError, exceptions.EndpointConnectionError),
    (ConnectTimeoutError, exceptions.ConnectTimeoutError),
    (ProtocolError, exceptions.ConnectionClosedError),
    (ReadTimeoutError, exceptions.ReadTimeoutError),
    (SSLError, exceptions.SSLError),
    (HTTPError, exceptions.HTTPClientError),
)


def _sent(pool: urllib3.PoolManager, request: AWSPreparedRequest) -> AWSResponse:
    started = time.monotonic()
    try:
        response: Any = pool.urlopen(
            request.method,
            request.url,
            body=request.body,
            headers=request.headers,
            timeout=_TIMEOUT,
            retries=False,
            redirect=False,
            preload_content=False,
            decode_content=False,
        )
        raw = SimpleNamespace(stream=lambda: _pieces(response, request.url, started))
        answer = AWSResponse(request.url, response.status, response.headers, raw)
        answer.content  # noqa: B018 - read now, where a failure is still named
    except HTTPError as error:
        raised = next(raised for kind, raised in _RAISED if isinstance(error, kind))
        raise raised(endpoint_url=request.url, error=type(error).__name__) from None
    return answer


def _pieces(response: urllib3.BaseHTTPResponse, url: str, started: float) -> Iterator[bytes]:
    while piece := response.read1(1 << 16):
        yield piece
        if response.length_remaining != 0 and time.monotonic() > started + _LAST_READ_S:
            response.close()
            raise exceptions.ReadTimeoutError(endpoint_url=url)
    response.release_conn()


# --- reading ---


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


# Of what the operations can return, what is asked for.
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


_READ: Final[Mapping[str, msgspec.json.Decoder[Any]]] = {
    "BatchExecuteStatementOutput": msgspec.json.Decoder(_BatchExecuteStatementOutput),
    "BatchGetItemOutput": msgspec.json.Decoder(_BatchGetItemOutput),
}


class _Parser(JSONParser):
    """Botocore's parser, but for the answers that hold many items: a tenth of the time."""

    def parse(self, response: Mapping[str, Any], shape: Shape) -> Any:
        """Return the answer as botocore documents it."""
        decoder = _READ.get(shape.name) if shape else None
        if decoder is not None and response["status_code"] == 200:
            # What is not as expected is left to botocore.
            with suppress(msgspec.DecodeError, UnicodeError, RecursionError):
                metadata = {"HTTPStatusCode": 200, "HTTPHeaders": dict(response["headers"])}
                return {**decoder.decode(response["body"]), "ResponseMetadata": metadata}
        return super().parse(response, shape)


class Parsers(ResponseParserFactory):
    """Botocore's factory of parsers, but for one of them."""

    def create_parser(self, protocol_name: str) -> ResponseParser:
        """Return the parser for a protocol."""
        return _Parser() if protocol_name == "json" else super().create_parser(protocol_name)

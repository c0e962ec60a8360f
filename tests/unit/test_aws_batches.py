"""DynamoDB's batches: whatever they hold, written and read as botocore does."""

from __future__ import annotations

import base64
import functools
import io
import json
from typing import Any

import botocore.session
import pytest
import urllib3
from botocore.parsers import JSONParser
from botocore.serialize import JSONSerializer
from hypothesis import given
from hypothesis import strategies as st

from handler import aws

texts = st.text(max_size=5)
blobs = st.binary(max_size=5).map(lambda held: base64.b64encode(held).decode())
numbers = st.integers().map(str)
attributes = st.recursive(
    st.one_of(
        st.fixed_dictionaries({"S": texts}),
        st.fixed_dictionaries({"N": numbers}),
        st.fixed_dictionaries({"B": blobs}),
        st.fixed_dictionaries({"BOOL": st.booleans()}),
        st.just({"NULL": True}),
        st.fixed_dictionaries({"SS": st.lists(texts, max_size=2)}),
        st.fixed_dictionaries({"NS": st.lists(numbers, max_size=2)}),
        st.fixed_dictionaries({"BS": st.lists(blobs, max_size=2)}),
    ),
    lambda inner: st.one_of(
        st.fixed_dictionaries({"M": st.dictionaries(texts, inner, max_size=2)}),
        st.fixed_dictionaries({"L": st.lists(inner, max_size=2)}),
    ),
    max_leaves=5,
)
items = st.dictionaries(texts, attributes, max_size=4)
keys = st.fixed_dictionaries({"Keys": st.lists(items, max_size=2)})
read = st.fixed_dictionaries(
    {
        "Responses": st.dictionaries(texts, st.lists(items, max_size=3), max_size=2),
        "UnprocessedKeys": st.dictionaries(texts, keys, max_size=2),
    }
)
errors = st.fixed_dictionaries({"Code": texts}, optional={"Message": texts, "Item": items})
executed = st.fixed_dictionaries(
    {
        "Responses": st.lists(
            st.fixed_dictionaries(
                {}, optional={"Error": errors, "TableName": texts, "Item": items}
            ),
            max_size=3,
        )
    }
)


@functools.cache
def shape(operation: str) -> Any:
    model = botocore.session.get_session().get_service_model("dynamodb")
    return model.operation_model(operation).output_shape


# What we ask with is what we are answered, with bytes where JSON has base64.
asked_blobs = st.binary(max_size=5)
asked_attributes = st.recursive(
    st.one_of(
        st.fixed_dictionaries({"S": texts}),
        st.fixed_dictionaries({"N": numbers}),
        st.fixed_dictionaries({"B": asked_blobs}),
        st.just({"NULL": True}),
        st.fixed_dictionaries({"BS": st.lists(asked_blobs, max_size=2)}),
    ),
    lambda inner: st.fixed_dictionaries({"M": st.dictionaries(texts, inner, max_size=2)}),
    max_leaves=5,
)
asked_keys = st.fixed_dictionaries(
    {"Keys": st.lists(st.dictionaries(texts, asked_attributes, max_size=2), max_size=3)},
    optional={"ConsistentRead": st.booleans(), "ProjectionExpression": texts},
)
to_read = st.fixed_dictionaries({"RequestItems": st.dictionaries(texts, asked_keys, max_size=2)})
statements = st.fixed_dictionaries(
    {"Statement": texts, "Parameters": st.lists(asked_attributes, max_size=3)}
)
to_execute = st.fixed_dictionaries({"Statements": st.lists(statements, max_size=3)})


class Wire:
    """A pool that keeps what is sent, and answers that it is done."""

    def __init__(self) -> None:
        self.sent: list[Any] = []

    def urlopen(self, method: str, url: str, **sent: Any) -> Any:
        self.sent.append({"method": method, "url": url, **sent})
        return urllib3.HTTPResponse(io.BytesIO(b"{}"), status=200, preload_content=False)


@functools.cache
def wired() -> tuple[Any, Wire]:
    wire: Any = Wire()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "x")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        return aws.clients(wire)("dynamodb"), wire


def sent_by(operation: str, **asked: Any) -> Any:
    client, wire = wired()
    getattr(client, operation)(**asked)
    return wire.sent.pop()


@pytest.mark.parametrize(
    ("method", "operation", "asked"),
    [
        ("batch_get_item", "BatchGetItem", to_read),
        ("batch_execute_statement", "BatchExecuteStatement", to_execute),
    ],
)
@given(data=st.data())
def test_what_is_asked(method, operation, asked, data) -> None:
    params = data.draw(asked)
    model = botocore.session.get_session().get_service_model("dynamodb")
    written = JSONSerializer().serialize_to_request(params, model.operation_model(operation))

    sent = sent_by(method, **params)

    assert json.loads(sent["body"]) == json.loads(written["body"])
    assert sent["headers"]["X-Amz-Target"] == written["headers"]["X-Amz-Target"].encode()
    assert int(sent["headers"]["Content-Length"]) == len(sent["body"])


def test_what_else_is_asked_is_left_to_botocore() -> None:
    sent = sent_by("describe_table", TableName="people")

    assert json.loads(sent["body"]) == {"TableName": "people"}


def both(operation: str, body: bytes, status: int = 200) -> tuple[Any, Any]:
    answer = {"status_code": status, "headers": {}, "body": body}
    ours, theirs = (
        parser.parse(answer, shape(operation))
        for parser in (aws.Parsers().create_parser("json"), JSONParser())
    )
    return ours, theirs


@given(told=read)
def test_items_that_were_read(told) -> None:
    ours, theirs = both("BatchGetItem", json.dumps(told).encode())

    assert ours == theirs


@given(told=executed)
def test_statements_that_were_executed(told) -> None:
    ours, theirs = both("BatchExecuteStatement", json.dumps(told).encode())

    assert ours == theirs


@pytest.mark.parametrize(
    ("operation", "body", "status"),
    [
        ("BatchGetItem", b"", 200),
        ("BatchGetItem", b"not JSON", 200),
        ("BatchGetItem", b'{"Responses": null, "UnprocessedKeys": {}}', 200),
        ("BatchExecuteStatement", b'{"Responses": [{"Error": null, "TableName": "t"}]}', 200),
        ("BatchGetItem", b'{"__type": "x#ThrottlingException"}', 400),
        ("BatchGetItem", b"<html>", 503),
        ("DescribeTable", b'{"Table": {"TableName": "t"}}', 200),
    ],
)
def test_what_else_comes_is_left_to_botocore(operation, body, status) -> None:
    ours, theirs = both(operation, body, status)

    assert ours == theirs

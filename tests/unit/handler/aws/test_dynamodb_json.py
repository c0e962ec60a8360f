"""DynamoDB JSON: any batch is written and read as botocore does it."""

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

from handler.aws.clients import client_factory
from handler.aws.dynamodb_json import ParserFactory

texts = st.text(max_size=5)
blobs = st.binary(max_size=5).map(lambda blob: base64.b64encode(blob).decode())
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
items_answers = st.fixed_dictionaries(
    {
        "Responses": st.dictionaries(texts, st.lists(items, max_size=3), max_size=2),
        "UnprocessedKeys": st.dictionaries(texts, keys, max_size=2),
    }
)
errors = st.fixed_dictionaries({"Code": texts}, optional={"Message": texts, "Item": items})
statement_answers = st.fixed_dictionaries(
    {
        "Responses": st.lists(
            st.fixed_dictionaries(
                {}, optional={"Error": errors, "TableName": texts, "Item": items}
            ),
            max_size=3,
        )
    }
)


scan_answers = st.fixed_dictionaries(
    {},
    optional={
        "Items": st.lists(items, max_size=3),
        "Count": st.integers(0, 9),
        "ScannedCount": st.integers(0, 9),
        "LastEvaluatedKey": items,
    },
)


@functools.cache
def operation_model(name: str) -> Any:
    """Return botocore's model of an operation, which takes long to read."""
    return botocore.session.get_session().get_service_model("dynamodb").operation_model(name)


# A request holds bytes where an answer in JSON holds base64.
sent_blobs = st.binary(max_size=5)
sent_attributes = st.recursive(
    st.one_of(
        st.fixed_dictionaries({"S": texts}),
        st.fixed_dictionaries({"N": numbers}),
        st.fixed_dictionaries({"B": sent_blobs}),
        st.just({"NULL": True}),
        st.fixed_dictionaries({"BS": st.lists(sent_blobs, max_size=2)}),
    ),
    lambda inner: st.fixed_dictionaries({"M": st.dictionaries(texts, inner, max_size=2)}),
    max_leaves=5,
)
sent_keys = st.fixed_dictionaries(
    {"Keys": st.lists(st.dictionaries(texts, sent_attributes, max_size=2), max_size=3)},
    optional={"ConsistentRead": st.booleans(), "ProjectionExpression": texts},
)
items_requests = st.fixed_dictionaries(
    {"RequestItems": st.dictionaries(texts, sent_keys, max_size=2)}
)
statements = st.fixed_dictionaries(
    {"Statement": texts, "Parameters": st.lists(sent_attributes, max_size=3)}
)
statement_requests = st.fixed_dictionaries({"Statements": st.lists(statements, max_size=3)})


class RecordingPool:
    """A pool that records each request and answers with an empty object."""

    def __init__(self) -> None:
        self.sent: list[Any] = []

    def urlopen(self, method: str, url: str, **sent: Any) -> Any:
        self.sent.append({"method": method, "url": url, **sent})
        return urllib3.HTTPResponse(io.BytesIO(b"{}"), status=200, preload_content=False)


@functools.cache
def recorded_client() -> tuple[Any, RecordingPool]:
    pool: Any = RecordingPool()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "x")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        return client_factory(pool)("dynamodb"), pool


def sent_by(method: str, **params: Any) -> Any:
    client, pool = recorded_client()
    getattr(client, method)(**params)
    return pool.sent.pop()


@pytest.mark.parametrize(
    ("method", "operation", "requests"),
    [
        ("batch_get_item", "BatchGetItem", items_requests),
        ("batch_execute_statement", "BatchExecuteStatement", statement_requests),
    ],
)
@given(data=st.data())
def test_a_batch_request_is_written_as_botocore_writes_it(
    method, operation, requests, data
) -> None:
    params = data.draw(requests)
    written = JSONSerializer().serialize_to_request(params, operation_model(operation))

    sent = sent_by(method, **params)

    assert json.loads(sent["body"]) == json.loads(written["body"])
    assert sent["headers"]["X-Amz-Target"] == written["headers"]["X-Amz-Target"].encode()
    assert int(sent["headers"]["Content-Length"]) == len(sent["body"])


def test_botocore_writes_every_other_request() -> None:
    sent = sent_by("describe_table", TableName="people")

    assert json.loads(sent["body"]) == {"TableName": "people"}


def both(operation: str, body: bytes, status: int = 200) -> tuple[Any, Any]:
    answer = {"status_code": status, "headers": {}, "body": body}
    ours, theirs = (
        parser.parse(answer, operation_model(operation).output_shape)
        for parser in (ParserFactory().create_parser("json"), JSONParser())
    )
    return ours, theirs


@given(answer=items_answers)
def test_items_are_read_as_botocore_reads_them(answer) -> None:
    ours, theirs = both("BatchGetItem", json.dumps(answer).encode())

    assert ours == theirs


@given(answer=statement_answers)
def test_results_of_statements_are_read_as_botocore_reads_them(answer) -> None:
    ours, theirs = both("BatchExecuteStatement", json.dumps(answer).encode())

    assert ours == theirs


@given(answer=scan_answers)
def test_pages_of_scans_are_read_as_botocore_reads_them(answer) -> None:
    ours, theirs = both("Scan", json.dumps(answer).encode())

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
def test_botocore_reads_every_other_answer(operation, body, status) -> None:
    ours, theirs = both(operation, body, status)

    assert ours == theirs

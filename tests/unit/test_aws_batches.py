"""DynamoDB's answers: whatever they hold, read as botocore reads them."""

from __future__ import annotations

import base64
import functools
import json
from typing import Any

import botocore.session
import pytest
from botocore.parsers import JSONParser
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

"""One emulator for all tests of a process: it starts in two seconds, and stops with them."""

from __future__ import annotations

import uuid
from contextlib import closing

import boto3
import pytest

from local import emulator


@pytest.fixture(scope="session")
def aws(tmp_path_factory):
    with emulator.running(tmp_path_factory.mktemp("emulator")) as running:
        yield running


@pytest.fixture(scope="session")
def dynamodb(aws):
    with closing(boto3.client("dynamodb", **aws.client_options)) as client:
        yield client


@pytest.fixture(scope="session")
def sqs(aws):
    with closing(boto3.client("sqs", **aws.client_options)) as client:
        yield client


@pytest.fixture
def table(dynamodb):
    """A new table, keyed and indexed as the stack's."""
    name = f"people-{uuid.uuid4()}"
    dynamodb.create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[
            {"AttributeName": "pk", "AttributeType": "S"},
            {"AttributeName": "identifier", "AttributeType": "S"},
        ],
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        GlobalSecondaryIndexes=[
            {
                "IndexName": "by-identifier",
                "KeySchema": [{"AttributeName": "identifier", "KeyType": "HASH"}],
                "Projection": {"ProjectionType": "KEYS_ONLY"},
            }
        ],
    )
    return name

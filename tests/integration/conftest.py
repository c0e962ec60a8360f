"""One emulator for all tests of a process: it starts in two seconds, and stops with them."""

from __future__ import annotations

import uuid
from contextlib import closing

import boto3
import pytest

from local import emulator
from tools.template import table_schema


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
    """A new table with the keys and the index of the stack's."""
    name = f"people-{uuid.uuid4()}"
    dynamodb.create_table(TableName=name, **table_schema())
    return name

"""One emulator and one fake Customer.io for all tests of a process, as each start takes CPU."""

from __future__ import annotations

import uuid
from contextlib import closing

import boto3
import pytest

from local import emulator
from local.fake_customerio.process import FakeCustomerio
from tests.builders import WORKSPACE
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


ACCOUNTS = {
    WORKSPACE.site_id: WORKSPACE.api_key,
    "site-b": "key-b",
    "site-eu": "key-eu",
}


@pytest.fixture(scope="session")
def running_fake():
    with FakeCustomerio.start(ACCOUNTS, region="eu") as running:
        yield running


@pytest.fixture
def fake(running_fake):
    """The fake Customer.io as it was when it started."""
    running_fake.reset()
    running_fake.rotate(ACCOUNTS)
    return running_fake

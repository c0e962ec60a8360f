"""One emulator for all tests of a process: it starts in two seconds, and stops with them."""

from __future__ import annotations

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

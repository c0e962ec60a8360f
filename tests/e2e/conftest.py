"""A deployed stack for the end-to-end tests; each finds its people and queues empty."""

import pytest

from local import stack


@pytest.fixture(scope="session")
def deployed():
    with stack.running() as running:
        yield running


@pytest.fixture
def clean(deployed):
    deployed.wait_until_drained()
    deployed.customerio.reset()
    deployed.take_set_aside()
    return deployed

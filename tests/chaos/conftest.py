"""A stack of its own, in a process of its own: chaos changes how the function is deployed."""

from pathlib import Path

import pytest

from local import deployment
from tests.chaos.run import SMALL, prepared


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.chaos)


@pytest.fixture(scope="session")
def chaos(built):
    with deployment.running(template=built) as running, prepared(running, SMALL) as ready:
        yield ready

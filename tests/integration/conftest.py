"""One emulator for all tests of a process: it starts in two seconds, and stops with them."""

from __future__ import annotations

import pytest

from local import emulator


@pytest.fixture(scope="session")
def aws(tmp_path_factory):
    with emulator.running(tmp_path_factory.mktemp("emulator")) as running:
        yield running

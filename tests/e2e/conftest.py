"""A deployed stack for the end-to-end tests; each finds its people and queues empty."""

import json

import pytest

from local import deployment
from ops.cli import run


@pytest.fixture(scope="session")
def deployed(built):
    with deployment.running(template=built) as running:
        yield running


@pytest.fixture
def clean(deployed):
    deployed.wait_until_drained()
    deployed.wait_for_walks()
    deployed.customerio.reset()
    deployed.take_set_aside()
    return deployed


@pytest.fixture
def ops(clean, monkeypatch, capsys):
    """Run a command with `--json`; return its exit status and its output."""
    for name, value in clean.emulator.variables.items():
        monkeypatch.setenv(name, value)

    def output(*arguments):
        status = run([*map(str, arguments), "--json"])
        text = capsys.readouterr().out
        return status, json.loads(text) if text else None

    return output

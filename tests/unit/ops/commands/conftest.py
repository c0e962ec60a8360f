"""The command line, run against the stack in memory."""

import io
from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from handler.domain.options import DeliveryOptions
from ops.cli import run
from ops.commands.context import Context
from tests.unit.ops.builders import SECRET


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    status: int
    out: str
    err: str


@pytest.fixture
def ops(aws, stack, queue, monkeypatch, capsys):
    """Run a command; `answers` are typed at its questions."""
    settings = SimpleNamespace(
        credentials_secret_name=SECRET, track_api_url="", delivery_options=DeliveryOptions()
    )
    for name, value in (("aws", aws), ("stack", stack), ("queue", queue), ("settings", settings)):
        monkeypatch.setattr(Context, name, value)

    def ended(*arguments, answers=""):
        monkeypatch.setattr("sys.stdin", io.StringIO(answers))
        status = run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Ended(status, captured.out, captured.err)

    return ended

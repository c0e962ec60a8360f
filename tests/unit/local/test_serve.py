"""What `make local` prints to be run in another terminal."""

import json
import subprocess
from types import SimpleNamespace
from typing import Any

import pytest

from local import serve
from ops.cli import cli
from tests.stack_template import PROJECT

ARN = "arn:aws:lambda:us-east-1:000000000000:function:ingress:live"


@pytest.fixture
def aws(tmp_path):
    """An AWS CLI in name only, which prints its arguments and what it was given to read."""
    stub = tmp_path / "aws"
    stub.write_text('#!/bin/sh\nprintf "%s\\n" "$*"\ncat\n')
    stub.chmod(0o755)
    return {"PATH": f"{tmp_path}:/usr/bin:/bin"}


def run(command, aws):
    shown = subprocess.run(
        ["/bin/sh", "-c", command],
        env=aws,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    arguments, _, read = shown.partition("\n")
    return arguments.split(), read


def test_the_command_for_the_ingress_is_one_for_every_version_of_the_aws_cli(aws):
    running: Any = SimpleNamespace(ingress_arn=ARN)

    arguments, read = run(serve._invoke_command(running), aws)

    # Version 2 decodes what it is given as text, and version 1 knows no option against that.
    # Both take a file as it is.
    assert arguments == [
        *("lambda", "invoke", "--function-name", ARN),
        *("--payload", "fileb:///dev/stdin", "/dev/stdout"),
    ]
    assert json.loads(read)["type"] == "audience_membership_change_request"


def test_the_command_for_the_queue_names_the_emulator(aws):
    running: Any = SimpleNamespace(
        emulator=SimpleNamespace(url="https://127.0.0.1:4566"), queue_url="https://127.0.0.1/q"
    )

    arguments, _ = run(serve._send_command(running), aws)

    # In the environment it is not seen by version 1.
    assert arguments[:4] == ["sqs", "send-message", "--endpoint-url", "https://127.0.0.1:4566"]


def test_the_commands_for_files_leave_the_project_as_it_is(tmp_path):
    running: Any = SimpleNamespace(emulator=SimpleNamespace(directory=tmp_path))

    copy, *commands = (line.split() for line in serve._file_commands(running))

    assert (PROJECT / copy[1]).exists()
    assert {command[1] for command in commands} <= {*cli.commands}
    files = [word for command in (copy[2:], *commands) for word in command if word[0] == "/"]
    assert files
    assert all(file.startswith(str(tmp_path)) for file in files)

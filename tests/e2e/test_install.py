"""The operator's tool, installed as a person does who has nothing but the sources."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.stack_template import PROJECT


@pytest.fixture
def ops(tmp_path):
    """Install the command into a fresh environment, and return where it is."""
    commands = tmp_path / "bin"
    subprocess.run(
        [Path(sys.executable).with_name("uv"), "tool", "install", "--quiet", PROJECT],
        env={
            **os.environ,
            "UV_PYTHON": sys.executable,
            "UV_TOOL_DIR": str(tmp_path / "tools"),
            "UV_TOOL_BIN_DIR": str(commands),
        },
        check=True,
    )
    return commands / "ops"


def test_ops_is_a_command_of_its_own(ops, tmp_path):
    done = subprocess.run(
        [ops, "--help"], cwd=tmp_path, capture_output=True, text=True, check=True
    )

    assert done.stdout.startswith("Usage: ops ")

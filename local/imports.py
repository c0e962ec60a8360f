"""Imports: files that `ops import` sends to a stack on this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from local.stack import Stack

_OPS: Final = (sys.executable, "-c", "import sys; from ops.cli import run; sys.exit(run())")


def import_file(stack: Stack, file: Path) -> int:
    """Import a file, as an operator does; return the exit status of `ops`."""
    with TemporaryDirectory() as folder:
        # A copy, as the progress file is written beside it.
        copy = shutil.copy(file, folder)
        return subprocess.run(
            [*_OPS, "import", str(copy), "--yes"],
            env=os.environ | stack.emulator.variables,
            cwd=Path(__file__).parents[1],
            check=False,
        ).returncode

"""Operations: what an operator does with a stack on this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import urllib3

from local.stack import API_KEY, SITE_ID, Stack

_OPS: Final = (sys.executable, "-c", "import sys; from ops.cli import run; sys.exit(run())")


def import_file(stack: Stack, file: Path) -> int:
    """Import a file, as an operator does; return the exit status of `ops`."""
    with TemporaryDirectory() as folder:
        # A copy, as the progress file is written beside it.
        return _ops(stack, "import", str(shutil.copy(file, folder)))


def resync_audience(stack: Stack, audience_id: int) -> int:
    """Deliver everybody in an audience again; return the exit status of `ops`."""
    return _ops(stack, "resync", "--audience", str(audience_id))


def delete_in_customerio(stack: Stack, customer_id: str) -> None:
    """Delete a person in Customer.io, as somebody does by mistake."""
    urllib3.request(
        "DELETE",
        f"{stack.customerio.url}/api/v1/customers/{customer_id}",
        headers=urllib3.make_headers(basic_auth=f"{SITE_ID}:{API_KEY}"),
    )


def _ops(stack: Stack, *arguments: str) -> int:
    return subprocess.run(
        [*_OPS, *arguments, "--yes"],
        env=os.environ | stack.emulator.variables,
        cwd=Path(__file__).parents[1],
        check=False,
    ).returncode

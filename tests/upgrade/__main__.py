"""Command line: `python -m tests.upgrade [--no-moves] FROM`. See drill.py.

FROM is the version that is deployed somewhere: a commit, a tag, or what `ops status` shows.
Prints a line for each step; ends with status 1 when anything was lost, stale or there and should
not be.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

from local import deployment, emulator, stack
from local.command import run
from local.fake_customerio.process import FakeCustomerio
from tests.upgrade.build import PROJECT, build, worktree
from tests.upgrade.drill import Drill, tell


def main() -> int:
    """Run the drill, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.upgrade", description=__doc__)
    parser.add_argument("version", metavar="FROM")
    parser.add_argument(
        "--no-moves",
        action="store_true",
        help="nobody gets another identifier: for a FROM that does not follow that",
    )
    options = parser.parse_args()
    emulator.isolate(os.environ)
    with (
        tempfile.TemporaryDirectory(prefix="upgrade-", ignore_cleanup_errors=True) as folder,
        worktree(options.version, Path(folder) / "former") as former,
        FakeCustomerio.start({stack.SITE_ID: stack.API_KEY}) as customerio,
        emulator.running(Path(folder)) as running,
    ):
        tell(f"Building {options.version} and the working copy")
        older = build(options.version, former, Path(folder) / "older")
        newer = build("the working copy", PROJECT, Path(folder) / "newer")
        deployment.prepare(running)
        drill = Drill(running, customerio, older, newer, has_moves=not options.no_moves)
        return drill.run()


if __name__ == "__main__":
    run(main)

"""Version: the version of the sources from git, set in the functions' environment at build.

It is a text in the built template. A stack parameter would keep the version of the last deployment
unless `sam deploy` sets it, and `ops` cannot read a file in the package.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

UNKNOWN: Final = "unknown"
"""The version without git, or without the Makefile."""

_PROJECT: Final = Path(__file__).parents[1]
_SETTING: Final = re.compile(rf"(?m)^( +VERSION: ){UNKNOWN}$")


def describe(project: Path = _PROJECT) -> str:
    """Return the last tag, the commits since and whether files differ, or UNKNOWN without git."""
    command = ["git", "describe", "--tags", "--always", "--dirty"]
    # Without the limit, git would describe a repository around the project.
    environ = {**os.environ, "GIT_CEILING_DIRECTORIES": str(project.parent)}
    try:
        done = subprocess.run(
            command, cwd=project, env=environ, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return UNKNOWN
    return done.stdout.strip()


def stamp(template: Path, version: str) -> None:
    """Set VERSION for each function of a template that was just built.

    Raises ValueError if the template has no VERSION to set.
    """
    text, count = _SETTING.subn(lambda line: line[1] + json.dumps(version), template.read_text())
    if not count:
        raise ValueError(f"{template}: no function has the setting VERSION: {UNKNOWN}")
    template.write_text(text)


def main(arguments: Sequence[str]) -> None:
    """Set the version in the named template."""
    (template,) = arguments
    stamp(Path(template), describe())


if __name__ == "__main__":
    main(sys.argv[1:])

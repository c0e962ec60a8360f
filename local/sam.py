"""Sam: builds and deploys the template with the SAM CLI, as `make deploy` does.

deployment.py names the emulator and the parameters.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final
from zipfile import ZipFile

from local.command import FailedError
from local.emulator import Emulator
from tools import version

_PROJECT: Final = Path(__file__).parents[1]
_SAM: Final = _PROJECT / ".tools/sam/bin/sam"


def build(directory: Path) -> Path:
    """Build the functions into a directory, and return the built template."""
    environ = {**os.environ, "PYTHON": sys.executable, "TMPDIR": str(directory.parent)}
    _run(["build", "--build-dir", str(directory)], environ)
    template = directory / "template.yaml"
    version.stamp(template, version.describe())
    return template


def share_package(template: Path) -> None:
    """Change a built template, in JSON, so that all functions use one archive of their package.

    Only their handlers differ. SAM would compress the package for each function, and each start
    of a function would decompress it.
    """
    content = json.loads(template.read_text())
    functions = [
        resource["Properties"]
        for resource in content["Resources"].values()
        if resource["Type"] == "AWS::Serverless::Function"
    ]
    package = template.parent / functions[0]["CodeUri"]
    archive = template.with_name("package.zip")
    with ZipFile(archive, "w") as zipped:
        for path in package.rglob("*"):
            zipped.write(path, path.relative_to(package))
    for function in functions:
        function["CodeUri"] = archive.name
    template.write_text(json.dumps(content))


def deploy(
    emulator: Emulator,
    template: Path,
    *,
    stack_name: str,
    bucket: str,
    parameters: Mapping[str, str],
) -> None:
    """Deploy a built template to an emulator, for the runtime and architecture of this machine."""
    parameters = {"PythonRuntime": _runtime(), "Architecture": _architecture(), **parameters}
    _run(
        [
            "deploy",
            f"--template-file={template}",
            f"--stack-name={stack_name}",
            "--no-resolve-s3",
            f"--s3-bucket={bucket}",
            "--no-confirm-changeset",
            "--capabilities=CAPABILITY_IAM",
            "--no-progressbar",
            "--parameter-overrides",
            # Without the quotes, SAM would end a value at its first space or quote.
            *(f"{name}='{value}'" for name, value in parameters.items()),
        ],
        {
            **os.environ,
            **emulator.variables,
            "SAM_CLI_POLL_DELAY": "0.2",
            "TMPDIR": str(emulator.directory),
        },
    )


def _runtime() -> str:
    """Return the Lambda runtime of this Python."""
    return f"python{sys.version_info.major}.{sys.version_info.minor}"


def _architecture() -> str:
    """Return the Lambda architecture of this machine."""
    return "arm64" if platform.machine().lower() in {"arm64", "aarch64"} else "x86_64"


def _run(arguments: Sequence[str], environ: Mapping[str, str]) -> None:
    done = subprocess.run(
        [_SAM, *arguments],
        cwd=_PROJECT,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        message = f"sam {arguments[0]} failed:\n{done.stdout}"
        raise FailedError(message)

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
_IN_PACKAGE: Final = """\
import sys

sys.path.insert(0, {folder!r})
__path__ = [sys.path[0] + "/handler"]
"""


def build(directory: Path) -> Path:
    """Build the functions into a directory, and return the built template."""
    environ = {**os.environ, "PYTHON": sys.executable, "TMPDIR": str(directory.parent)}
    _run(["build", "--build-dir", str(directory)], environ)
    template = directory / "template.yaml"
    version.stamp(template, version.describe())
    return template


def share_package(template: Path) -> None:
    """Change a built template, in JSON, so that all functions run from the one built package.

    Only their handlers differ. The functions get an archive of one file, which imports the rest
    from the folder of the package. With all of the package, each start of a function would unpack
    1,200 files, and SAM would compress them for each function.
    """
    content = json.loads(template.read_text())
    functions = [
        resource["Properties"]
        for resource in content["Resources"].values()
        if resource["Type"] == "AWS::Serverless::Function"
    ]
    package = (template.parent / functions[0]["CodeUri"]).resolve()
    archive = template.with_name("package.zip")
    with ZipFile(archive, "w") as zipped:
        zipped.writestr("handler/__init__.py", _IN_PACKAGE.format(folder=str(package)))
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

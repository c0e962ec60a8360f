"""Build: versions of the project, each by its own Makefile, as templates for the emulator."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from local import ministack, sam
from local.command import FailedError

PROJECT: Final = Path(__file__).parents[2]

# stack.py widens the roles once a deployment is over. Without this policy, each deployment would
# refuse the function its calls for some seconds, which AWS does not.
_WIDE_POLICY: Final = {
    "PolicyName": "emulator",
    "PolicyDocument": {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": ["dynamodb:*", "sqs:*", "logs:*"], "Resource": "*"}
        ],
    },
}

# The emulator kills what a function does when it updates the function; its messages come back
# after this time, in seconds. It is twice the function's timeout, and 7 minutes in the template.
_VISIBILITY_TIMEOUT: Final = 120


@dataclass(frozen=True, slots=True)
class Version:
    """What is deployed, and what it is called."""

    name: str
    template: Path
    has_retry_queue: bool


@contextmanager
def worktree(commit: str, folder: Path) -> Iterator[Path]:
    """Check a version out for as long as the block lasts, with the tools of the working copy."""
    git = ["git", "-C", str(PROJECT), "worktree"]
    add = [*git, "add", "--quiet", "--detach", str(folder), commit]
    if subprocess.run(add, check=False).returncode:
        message = f"git cannot check out {commit}"
        raise FailedError(message)
    try:
        (folder / ".tools").symlink_to(PROJECT / ".tools")
        yield folder
    finally:
        subprocess.run([*git, "remove", "--force", str(folder)], check=True)


def build(name: str, project: Path, directory: Path) -> Version:
    """Build the version in a folder, and change its template for the emulator and the drill."""
    environ = {
        **os.environ,
        "PYTHON": sys.executable,
        # The first versions are built for one runtime and architecture.
        "PYTHON_RUNTIME": sam._runtime(),
        "ARCHITECTURE": sam._architecture(),
    }
    command = [str(PROJECT / ".tools/sam/bin/sam"), "build", "--build-dir", str(directory)]
    done = subprocess.run(
        command, cwd=project, env=environ, capture_output=True, text=True, check=False
    )
    if done.returncode:
        message = f"{name} cannot be built:\n{done.stdout}{done.stderr}"
        raise FailedError(message)
    template = ministack.without_metric_math(directory / "template.yaml")
    content = json.loads(template.read_text())
    resources = content["Resources"]
    resources["ForwarderRole"]["Properties"]["Policies"].append(_WIDE_POLICY)
    for resource in resources.values():
        if resource["Type"] == "AWS::SQS::Queue":
            resource["Properties"]["VisibilityTimeout"] = _VISIBILITY_TIMEOUT
    template.write_text(json.dumps(content))
    return Version(name, template, has_retry_queue="RetryQueue" in resources)

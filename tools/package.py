"""Package: the folder that both functions run from.

The Makefile calls this module for `sam build`, with any Python that has pip, so it imports only
the standard library. SAM does not pass the runtime or architecture, and `sam deploy` may set
others later. So one package runs on all of them: Python picks an extension module by the runtime
and architecture in its file name, and the package has those for each.
"""

from __future__ import annotations

import compileall
import hashlib
import json
import os
import py_compile
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import metadata
from itertools import product
from pathlib import Path
from typing import Final

RUNTIMES: Final = ("python3.11", "python3.12", "python3.13", "python3.14")
"""The Lambda runtimes that the template allows."""
ARCHITECTURES: Final = ("arm64", "x86_64")
"""The Lambda architectures that the template allows."""
SERVICES: Final = ("dynamodb", "secretsmanager", "sqs", "stepfunctions", "sts")
"""The services that the functions call, by botocore's names."""
POWERTOOLS: Final = (
    "exceptions",
    "logging",
    "metrics",
    "shared",
    "tracing",
    "utilities",
    "warnings",
)
"""The parts of Powertools that Logger and Metrics import; the others are most of its 7 MB."""
UTILITIES: Final = ("jmespath_utils", "typing")
"""The same of Powertools' utilities."""

_PROJECT: Final = Path(__file__).parents[1]
_CACHE: Final = _PROJECT / ".tools/package"


class PackageError(Exception):
    """The package cannot be built; the text says why."""


@dataclass(frozen=True, slots=True)
class Platform:
    """A Python version and a machine, by pip's names: `3.13` and `manylinux2014_aarch64`."""

    python: str
    machine: str


def platforms() -> list[Platform]:
    """Return all platforms of Lambda that a stack may have, and this machine if it is a Mac.

    On a Mac the emulator runs the functions without a container.
    """
    versions = [name.removeprefix("python") for name in RUNTIMES]
    machines = [f"manylinux2014_{name.replace('arm64', 'aarch64')}" for name in ARCHITECTURES]
    wanted = [Platform(version, machine) for version, machine in product(versions, machines)]
    if sys.platform == "darwin":
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        wanted.append(Platform(version, f"macosx_11_0_{os.uname().machine}"))
    return wanted


def build(target: Path) -> None:
    """Put the package into a folder, which is created if it does not exist.

    Raises PackageError if pip fails, or if a library cannot run on all platforms at once.
    """
    libraries = _cached(
        _CACHE,
        key=[(_PROJECT / "requirements.txt").read_text(), Path(__file__).read_text(), sys.version],
        fill=_libraries,
    )
    shutil.copytree(libraries, target, dirs_exist_ok=True)
    shutil.copytree(
        _PROJECT / "handler", target / "handler", ignore=shutil.ignore_patterns("__pycache__")
    )
    _compile(target / "handler")


def _libraries(folder: Path) -> None:
    install(_PROJECT / "requirements.txt", folder, platforms())
    prune(folder / "botocore/data", SERVICES)
    keep(folder / "aws_lambda_powertools", POWERTOOLS)
    keep(folder / "aws_lambda_powertools/utilities", UTILITIES)
    _compile(folder)


def install(requirements: Path, target: Path, wanted: Sequence[Platform]) -> None:
    """Install requirements into a new folder, for all platforms at once.

    Raises PackageError if pip fails, or if a file differs between platforms.
    """
    first, *others = wanted
    _pip(target, first, "--requirement", str(requirements))
    shutil.rmtree(target / "bin", ignore_errors=True)  # a function runs no commands
    names = [
        f"{library.metadata['Name']}=={library.version}"
        for library in metadata.distributions(path=[str(target)])
        if not _is_pure(library)
    ]
    if not names:
        return
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(os.cpu_count()) as threads:
        pending = []
        for place, platform in enumerate(others):
            folder = Path(scratch, str(place))
            pending.append((folder, threads.submit(_pip, folder, platform, *names)))
        for folder, installed in pending:
            installed.result()
            _merge(folder, target)


def keep(parent: Path, names: Sequence[str]) -> None:
    """Remove all folders from a folder but those with these names."""
    for folder in parent.iterdir():
        if folder.is_dir() and folder.name not in names:
            shutil.rmtree(folder)


def prune(data: Path, services: Sequence[str]) -> None:
    """Remove botocore's data about other services.

    This leaves 3 of 19 MB to upload. The endpoints of all services are a megabyte of JSON, which
    every cold start would read.
    """
    keep(data, services)
    path = data / "endpoints.json"
    endpoints = json.loads(path.read_text())
    for partition in endpoints["partitions"]:
        known = partition["services"]
        partition["services"] = {name: known[name] for name in services if name in known}
    path.write_text(json.dumps(endpoints))


def _pip(target: Path, platform: Platform, *requirements: str) -> None:
    command = [
        *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
        *("--no-deps", "--no-compile", "--only-binary=:all:", "--implementation=cp"),
        *(f"--python-version={platform.python}", f"--platform={platform.machine}"),
        *(f"--target={target}", *requirements),
    ]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise PackageError(
            f"pip cannot install {' '.join(requirements)} for Python {platform.python} "
            f"on {platform.machine}:\n{done.stderr}"
        )


def _is_pure(library: metadata.Distribution) -> bool:
    tags = [
        line for line in (library.read_text("WHEEL") or "").splitlines() if line.startswith("Tag:")
    ]
    return all(tag.endswith("-any") for tag in tags)


def _merge(source: Path, target: Path) -> None:
    for path in source.rglob("*"):
        place = path.relative_to(source)
        # pip's metadata of a wheel contains its platform, and nothing reads it.
        if path.is_dir() or place.parts[0].endswith(".dist-info") or place.parts[0] == "bin":
            continue
        copy = target / place
        if not copy.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, copy)
        elif copy.read_bytes() != path.read_bytes():
            raise PackageError(f"{place} differs between platforms: one package cannot have both")


def _compile(folder: Path) -> None:
    # A function cannot write bytecode, and a cold start without it takes twice as long to import.
    # Bytecode of another Python than the runtime's is ignored.
    if not compileall.compile_dir(
        folder,
        quiet=1,
        workers=0,
        stripdir=str(folder.parent),
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    ):
        raise PackageError(f"a module in {folder} cannot be compiled")


def _cached(cache: Path, *, key: Sequence[str], fill: Callable[[Path], None]) -> Path:
    """Return a folder that `fill` filled for this key, in this build or an earlier one.

    Both functions have the same libraries, and these rarely change.
    """
    folder = cache / hashlib.sha256("\0".join(key).encode()).hexdigest()[:16]
    if not folder.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as scratch:
            filled = Path(scratch, "filled")
            fill(filled)
            try:
                filled.rename(folder)
            except OSError:
                if not folder.exists():  # If it does, another build was faster.
                    raise
    return folder


def main(arguments: Sequence[str]) -> str | None:
    """Build the package into the named folder; return why that failed, or None."""
    if len(arguments) != 1 or not arguments[0]:
        return "expected the folder to build into"
    try:
        build(Path(arguments[0]))
    except PackageError as error:
        return str(error)
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

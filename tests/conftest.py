"""What holds for all tests: markers by folder, sockets for some, nobody's AWS account."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import is_hypothesis_test, settings

from local import emulator

emulator.isolate(os.environ)

# The same examples each time, so that a failure is of the change; `deep` looks for new ones.
settings.register_profile("quick", deadline=None, derandomize=True)
settings.register_profile("deep", deadline=None, max_examples=10_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))

_TESTS = Path(__file__).parent
_MEMORY = Path("/dev/shm")  # noqa: S108 - the fixed name of Linux's file system in memory
_ROOM = 2 * 2**30


def _keep_temporary_files_in_memory() -> None:
    """Each start of the deployed function unpacks 1,200 files, which takes a disk a second."""
    if (
        "TMPDIR" not in os.environ
        and _MEMORY.is_dir()
        and shutil.disk_usage(_MEMORY).free > _ROOM
        and not os.statvfs(_MEMORY).f_flag & os.ST_NOEXEC
    ):
        tempfile.tempdir = os.environ["TMPDIR"] = str(_MEMORY)


_keep_temporary_files_in_memory()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        # Other tests run each line too, and tracing a hundred examples doubles their time.
        if is_hypothesis_test(getattr(item, "function", None)):
            item.add_marker(pytest.mark.no_cover)
        match item.path.relative_to(_TESTS).parts[0]:
            case "unit" | "model" | "simulation" | "fuzz":
                item.add_marker(pytest.mark.disable_socket)
            case "integration":
                item.add_marker(pytest.mark.integration)
            case "e2e":
                item.add_marker(pytest.mark.e2e)
                # One stack is deployed, in one process, and its tests take turns.
                item.add_marker(pytest.mark.xdist_group("stack"))

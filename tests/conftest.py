"""What holds for all tests: markers and processes by folder, nobody's AWS account."""

import fcntl
import functools
import gc
import os
import shutil
import tempfile
from pathlib import Path, PurePath

import pytest
from botocore.loaders import JSONFileLoader, Loader
from hypothesis import is_hypothesis_test, settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling, Scheduling

from local import deployment, emulator

emulator.isolate(os.environ)

# The same examples each time, so that a failure is of the change; `deep` looks for new ones.
settings.register_profile("quick", deadline=None, derandomize=True)
settings.register_profile("deep", deadline=None, max_examples=10_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))

# What is imported and collected stays to the end. Each search for garbage would go through all of
# it, and there is no garbage before the first test.
gc.disable()

_TESTS = Path(__file__).parent
_MEMORY = Path("/dev/shm")  # noqa: S108 - the fixed name of Linux's file system in memory
_ROOM = 2 * 2**30
_SECOND_STACK = ("_crashes.py", "_permissions.py", "_sample_events.py")


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


class _ServiceModels(JSONFileLoader):
    """Reads each file once for all sessions: each command of `ops` has a session of its own."""

    _read = staticmethod(functools.cache(JSONFileLoader().load_file))

    def load_file(self, file_path: str) -> object:
        return self._read(file_path)


Loader.FILE_LOADER_CLASS = _ServiceModels


def pytest_configure(config: pytest.Config) -> None:
    """End the measurement that pytest-cov 7.1 starts in a worker before it knows that it is one.

    Nobody reads it. But while `no_cover` pauses the worker's own, coverage would go on with this.
    """
    plugin = config.pluginmanager.getplugin("_cov")
    if plugin and plugin.cov_controller and hasattr(config, "workerinput"):
        plugin.cov_controller.cov.stop()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        folder = item.path.relative_to(_TESTS).parts[0]
        # Other tests run each line too, and tracing makes these take twice as long.
        if folder in {"chaos", "e2e", "fuzz", "model", "simulation"} or is_hypothesis_test(
            getattr(item, "function", None)
        ):
            item.add_marker(pytest.mark.no_cover)
        match folder:
            case "unit" | "model" | "simulation" | "fuzz":
                item.add_marker(pytest.mark.disable_socket)
            case "integration":
                item.add_marker(pytest.mark.integration)
            case "e2e":
                item.add_marker(pytest.mark.e2e)


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop() -> None:
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def built(tmp_path_factory, worker_id):
    """The stack's template, built for the emulator once for all processes of this run."""
    folder = tmp_path_factory.getbasetemp()
    if worker_id != "master":
        folder = folder.parent
    template = folder / "template"
    with (folder / "build.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not template.exists():
            template.symlink_to(deployment.build(folder / "build"))
    return template.resolve()


class _Scheduling(LoadScopeScheduling):
    """Has the tests that share a stack or an emulator take turns in one process.

    By path: xdist 3.8 does not see its own marker for this, xdist_group, under pytest 9.2.
    """

    def _split_scope(self, nodeid: str) -> str:
        path = PurePath(nodeid.partition("::")[0])
        folder = path.parts[1]
        # All of them would take one process too long. So those that change the functions and
        # their roles have a second stack, and the sample events too, to make the halves even.
        if folder == "e2e" and path.name.endswith(_SECOND_STACK):
            return "e2e of a second stack"
        match folder:
            case "chaos" | "e2e" | "integration":
                return folder
            case "unit":
                return str(path)  # Each is over in a moment, and would cost a message to a worker.
            case _:
                return nodeid


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling:
    config.option.loadscopereorder = False  # The slow folders come first, by their names.
    return _Scheduling(config, log)

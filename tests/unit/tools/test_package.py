"""The package is the same for every platform; the wheels are made here, and pip installs them."""

import json
import sys
import zipfile
from itertools import product
from pathlib import Path

import pytest

from tests.stack_template import PROJECT
from tools import package
from tools.package import PackageError, Platform

REQUIREMENTS = "aws_lambda_powertools==1.0\nbotocore==1.0\n"
ARM = Platform("3.12", "manylinux2014_aarch64")
INTEL = Platform("3.13", "manylinux2014_x86_64")
ARM_TAG = "cp312-cp312-manylinux2014_aarch64"
INTEL_TAG = "cp313-cp313-manylinux2014_x86_64"


@pytest.fixture
def wheels(tmp_path, monkeypatch):
    """A folder of wheels, and the only place that pip looks for any."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.delenv("PIP_CONSTRAINT", raising=False)
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    return folder


def make_wheel(folder, name, tag, **files):
    info = f"{name}-1.0.dist-info"
    content = {
        **{f"{name}/{path}": text for path, text in files.items()},
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n",
        f"{info}/entry_points.txt": f"[console_scripts]\n{name} = {name}:main\n",
    }
    record = "".join(f"{path},,\n" for path in [*content, f"{info}/RECORD"])
    with zipfile.ZipFile(folder / f"{name}-1.0-{tag}.whl", "w") as wheel:
        for path, text in {**content, f"{info}/RECORD": record}.items():
            wheel.writestr(path, text)


@pytest.fixture
def install(tmp_path):
    """Install for both platforms, and return where."""

    def installed(*names):
        requirements = tmp_path / "requirements.txt"
        requirements.write_text("".join(f"{name}==1.0\n" for name in names))
        target = tmp_path / "target"
        package.install(requirements, target, [ARM, INTEL])
        return target

    return installed


def test_a_package_has_the_extension_modules_of_all_platforms(wheels, install):
    make_wheel(wheels, "fast", ARM_TAG, **{"__init__.py": "", "core-arm.so": "arm"})
    make_wheel(wheels, "fast", INTEL_TAG, **{"__init__.py": "", "core-intel.so": "intel"})

    target = install("fast")

    modules = {path.name: path.read_text() for path in (target / "fast").glob("*.so")}
    assert modules == {"core-arm.so": "arm", "core-intel.so": "intel"}


def test_a_package_has_no_commands(wheels, install):
    make_wheel(wheels, "plain", "py3-none-any", **{"__init__.py": ""})

    target = install("plain")

    assert {path.name for path in target.iterdir()} == {"plain", "plain-1.0.dist-info"}


def test_an_extension_module_with_one_name_for_two_platforms_is_refused(wheels, install):
    make_wheel(wheels, "fast", ARM_TAG, **{"core.abi3.so": "arm"})
    make_wheel(wheels, "fast", INTEL_TAG, **{"core.abi3.so": "intel"})

    with pytest.raises(PackageError, match=r"fast/core\.abi3\.so differs between platforms"):
        install("fast")


def test_a_library_without_a_wheel_for_one_platform_is_refused(wheels, install):
    make_wheel(wheels, "fast", ARM_TAG, **{"core-arm.so": "arm"})

    with pytest.raises(PackageError, match=r"Python 3\.13 on manylinux2014_x86_64"):
        install("fast")


def test_a_library_that_is_missing_is_refused(wheels, install):
    with pytest.raises(PackageError, match=r"Python 3\.12 on manylinux2014_aarch64"):
        install("missing")


def test_the_platforms_are_all_that_a_stack_may_have(monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")

    versions, machines = ["3.11", "3.12", "3.13", "3.14"], ["aarch64", "x86_64"]
    assert package.platforms() == [
        Platform(version, f"manylinux2014_{machine}")
        for version, machine in product(versions, machines)
    ]


def test_a_mac_is_a_platform_too(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")

    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert package.platforms()[-1].python == version
    assert package.platforms()[-1].machine.startswith("macosx_11_0_")


def test_botocore_keeps_the_data_of_the_services_that_are_called(tmp_path):
    (tmp_path / "sqs").mkdir()
    (tmp_path / "ec2").mkdir()
    (tmp_path / "partitions.json").write_text("{}")
    partitions = [{"services": {"sqs": {"a": 1}, "ec2": {}}}, {"services": {"ec2": {}}}]
    (tmp_path / "endpoints.json").write_text(json.dumps({"partitions": partitions}))

    package.prune(tmp_path, ["sqs", "sts"])

    kept = json.loads((tmp_path / "endpoints.json").read_text())
    assert {path.name for path in tmp_path.iterdir()} == {
        "sqs",
        "partitions.json",
        "endpoints.json",
    }
    assert kept == {"partitions": [{"services": {"sqs": {"a": 1}}}, {"services": {}}]}


def test_of_a_folder_those_folders_are_kept_that_are_named(tmp_path):
    for name in ("logging", "event_handler"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("")
    (tmp_path / "__init__.py").write_text("")

    package.keep(tmp_path, ["logging"])

    assert {path.name for path in tmp_path.iterdir()} == {"logging", "__init__.py"}


@pytest.fixture
def project(tmp_path, monkeypatch, wheels):
    """A project with two libraries and one module, to build without an index."""
    folder = tmp_path / "project"
    (folder / "handler/__pycache__").mkdir(parents=True)
    (folder / "handler/__pycache__/old.cpython-311.pyc").write_text("")
    (folder / "handler/app.py").write_text("NAME = 'app'\n")
    (folder / "requirements.txt").write_text(REQUIREMENTS)
    make_wheel(wheels, "aws_lambda_powertools", "py3-none-any", **{"utilities/__init__.py": ""})
    make_wheel(
        wheels,
        "botocore",
        "py3-none-any",
        **{"__init__.py": "", "data/endpoints.json": '{"partitions": []}'},
    )
    monkeypatch.setattr(package, "_PROJECT", folder)
    monkeypatch.setattr(package, "_CACHE", folder / "cache")
    return folder


def test_a_build_has_the_sources_the_libraries_and_bytecode_of_this_python(project, tmp_path):
    target = tmp_path / "artifact"

    assert package.main([str(target)]) is None

    assert {path.name for path in target.iterdir()} == {
        "aws_lambda_powertools",
        "aws_lambda_powertools-1.0.dist-info",
        "botocore",
        "botocore-1.0.dist-info",
        "handler",
    }
    (cached,) = (target / "handler/__pycache__").iterdir()
    assert cached.name == f"app.{sys.implementation.cache_tag}.pyc"


def test_the_next_build_needs_no_index(project, tmp_path, wheels):
    package.build(tmp_path / "first")
    for wheel in wheels.iterdir():
        wheel.unlink()

    package.build(tmp_path / "second")

    files = {path.relative_to(tmp_path / "first") for path in (tmp_path / "first").rglob("*")}
    assert files == {
        path.relative_to(tmp_path / "second") for path in (tmp_path / "second").rglob("*")
    }


def test_another_requirement_is_installed_by_the_next_build(project, tmp_path, wheels):
    package.build(tmp_path / "first")
    make_wheel(wheels, "plain", "py3-none-any", **{"__init__.py": ""})
    (project / "requirements.txt").write_text(f"{REQUIREMENTS}plain==1.0\n")

    package.build(tmp_path / "second")

    assert (tmp_path / "second/plain").is_dir()


def test_a_build_that_fails_leaves_nothing_to_the_next(project, tmp_path):
    (project / "requirements.txt").write_text("missing==1.0\n")

    reason = package.main([str(tmp_path / "artifact")])

    assert reason is not None
    assert "pip cannot install" in reason
    assert not list((project / "cache").iterdir())


def test_a_module_that_does_not_compile_stops_the_build(project, tmp_path, capfd):
    (project / "handler/app.py").write_text("this is no Python\n")

    reason = package.main([str(tmp_path / "artifact")])

    assert reason is not None
    assert "cannot be compiled" in reason
    assert "app.py" in capfd.readouterr().out


def test_a_build_that_was_slower_than_another_uses_what_that_made(tmp_path):
    def other_is_faster(folder: Path) -> None:
        folder.mkdir()
        (folder / "mine").write_text("")
        other = package._cached(tmp_path, key=["k"], fill=lambda path: path.mkdir())
        (other / "theirs").write_text("")

    folder = package._cached(tmp_path, key=["k"], fill=other_is_faster)

    assert {path.name for path in folder.iterdir()} == {"theirs"}


def test_a_folder_that_cannot_be_kept_is_an_error(tmp_path):
    with pytest.raises(OSError, match="filled"):
        package._cached(tmp_path, key=["k"], fill=lambda _: None)


@pytest.mark.parametrize("arguments", [[], [""], ["a", "b"]])
def test_no_folder_to_build_into_is_an_error(arguments):
    assert package.main(arguments) == "expected the folder to build into"


def test_the_makefile_builds_every_function_by_it():
    makefile = (PROJECT / "Makefile").read_text()

    assert (
        "build-ForwarderFunction build-IngressFunction build-StreamFunction "
        "build-WalkerFunction:\n"
        '\t@$(PYTHON) -m tools.package "$(ARTIFACTS_DIR)"\n'
    ) in makefile

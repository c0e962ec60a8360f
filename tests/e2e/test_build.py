import subprocess
import sys
from itertools import product

import pytest

from tests.stack_template import PROJECT, TEMPLATE, of_type
from tools import version


@pytest.fixture
def artifact(built):
    """The folder of the package that is deployed."""
    return built.parent / "ForwarderFunction"


def test_each_function_has_the_same_package(built):
    folders = [built.parent / name for name in of_type("AWS::Serverless::Function")]

    one, *others = (
        {
            path.relative_to(folder): path.read_bytes()
            for path in folder.rglob("*")
            # Bytecode of one source may differ in the marks of shared objects.
            if path.is_file() and path.suffix != ".pyc"
        }
        for folder in folders
    )
    assert len(others) == 3
    assert all(other == one for other in others)


def test_the_artifact_holds_the_whole_package_and_nothing_else_of_ours(artifact):
    ours = {path.relative_to(PROJECT) for path in (PROJECT / "handler").rglob("*.py")}
    shipped = {path.name for path in artifact.iterdir()}

    built = (artifact / "handler").rglob("*.*")
    sources = {path for path in built if path.parent.name != "__pycache__"}
    assert {path.relative_to(artifact) for path in sources} == ours
    assert not shipped & {"tests", "local", "events", "docs", "bin", "template.yaml", "Makefile"}


def test_the_artifact_needs_nothing_that_it_does_not_hold(artifact):
    front_doors = "handler.app, handler.ingress, handler.stream, handler.walker"
    program = f"import sys; sys.path.insert(0, sys.argv[1]); import {front_doors}"

    # Neither the environment's libraries nor the user's.
    subprocess.run([sys.executable, "-I", "-S", "-B", "-c", program, artifact], check=True)


def test_the_artifact_carries_bytecode_as_it_is_for_this_python(artifact):
    cached = artifact / "handler/__pycache__"

    assert {path.stem.partition(".")[0] for path in cached.iterdir()} >= {"app", "ingress"}


def test_the_artifact_is_small(artifact):
    size = sum(path.stat().st_size for path in artifact.rglob("*") if path.is_file())

    assert size < 18_000_000


def test_the_artifact_runs_on_each_runtime_and_architecture_that_a_stack_may_have(artifact):
    modules = {path.name for path in (artifact / "msgspec").glob("*.so")}

    expected = {
        f"_core.cpython-{runtime.removeprefix('python').replace('.', '')}-{machine}-linux-gnu.so"
        for runtime, machine in product(
            TEMPLATE["Parameters"]["PythonRuntime"]["AllowedValues"],
            (
                {"arm64": "aarch64"}.get(name, name)
                for name in TEMPLATE["Parameters"]["Architecture"]["AllowedValues"]
            ),
        )
    }
    assert modules >= expected


def test_the_functions_know_the_version_that_was_built(deployed):
    for name in (deployed.function_name, deployed.physical_name("IngressFunction")):
        configuration = deployed.functions.get_function_configuration(FunctionName=name)
        assert configuration["Environment"]["Variables"]["VERSION"] == version.describe()

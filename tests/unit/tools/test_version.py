"""A version is what git calls the sources, in the environment of each function."""

import subprocess

import pytest
import yaml

from tests.stack_template import PROJECT
from tools import version

TEMPLATE = """\
Resources:
  One:
    Environment:
      Variables:
        TABLE_NAME: people
        VERSION: unknown
  Two:
    Environment:
      Variables:
        VERSION: unknown
"""


@pytest.fixture
def git(tmp_path, monkeypatch):
    """Run git in a new repository, with no settings of this machine."""
    for name in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"):
        monkeypatch.setenv(name, "/dev/null")
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments):
        identity = ("-c", "user.name=A", "-c", "user.email=a@example.com")
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True)  # noqa: S607

    run("init", "--quiet")
    (tmp_path / "file").write_text("")
    run("add", "file")
    run("commit", "--quiet", "--message", "First")
    return run


def test_a_tag_is_the_version(git, tmp_path):
    git("tag", "v1.2.0")

    assert version.describe(tmp_path) == "v1.2.0"


def test_files_that_are_not_committed_show(git, tmp_path):
    git("tag", "v1.2.0")
    (tmp_path / "file").write_text("changed")

    assert version.describe(tmp_path) == "v1.2.0-dirty"


def test_sources_without_git_have_no_version(tmp_path):
    assert version.describe(tmp_path) == "unknown"


def test_a_repository_around_the_sources_is_not_described(git, tmp_path):
    sources = tmp_path / "sources"
    sources.mkdir()

    assert version.describe(sources) == "unknown"


def test_a_machine_without_git_has_no_version(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))

    assert version.describe(PROJECT) == "unknown"


@pytest.mark.parametrize("name", ["v1.2.0-3-gabc1234-dirty", "1234567", "1e10000", '"', "\\1"])
def test_each_function_of_a_built_template_has_the_version_as_text(tmp_path, monkeypatch, name):
    template = tmp_path / "template.yaml"
    template.write_text(TEMPLATE)
    monkeypatch.setattr(version, "describe", lambda: name)

    version.main([str(template)])

    resources = yaml.safe_load(template.read_text())["Resources"]
    assert [one["Environment"]["Variables"]["VERSION"] for one in resources.values()] == [
        name,
        name,
    ]
    assert resources["One"]["Environment"]["Variables"]["TABLE_NAME"] == "people"


def test_a_template_without_the_setting_is_an_error(tmp_path):
    template = tmp_path / "template.yaml"
    template.write_text("Resources: {}\n")

    with pytest.raises(ValueError, match="no function has the setting VERSION"):
        version.stamp(template, "v1.2.0")

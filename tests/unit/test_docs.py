"""The documents say what the template and the code do, and their links and commands work."""

import ast
import re
import tomllib

import click
import pytest

from handler import queue
from handler.domain.outcome import DeadLetter, MessageOutcome
from handler.errors import NoIdentityError, PermanentError, RetryableError
from handler.metrics import MetricName
from ops.cli import cli
from tests.builders import message
from tests.stack_template import PROJECT, RESOURCES, TEMPLATE
from tools import docs

PAGES = sorted(
    [
        *PROJECT.glob("*.md"),
        *(PROJECT / "docs").rglob("*.md"),
        *(PROJECT / "tests").rglob("*.md"),
    ]
)
GENERATED = docs.tables(TEMPLATE)
CODE = sorted(
    [
        PROJECT / "template.yaml",
        *(path for name in ("handler", "ops", "local") for path in (PROJECT / name).rglob("*.py")),
    ]
)


def named(path):
    return str(path.relative_to(PROJECT))


def page(name):
    return (PROJECT / name).read_text("utf-8")


def first_cells(text, head):
    """What stands in backticks in the first column of the table with this first line."""
    table = text[text.index(head) :].split("\n\n")[0]
    return re.findall(r"^\| `([^`]+)`", table, re.MULTILINE)


# --- generated tables ----------------------------------------------------------------------------


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_the_generated_tables_are_those_of_the_template_and_the_code(path):
    text = path.read_text("utf-8")

    assert docs.filled(text, GENERATED) == text, f"{named(path)} is out of date: run make docs"


@pytest.mark.parametrize("name", GENERATED)
def test_each_generated_table_is_on_a_page(name):
    assert any(f"<!-- generated: {name} -->" in path.read_text("utf-8") for path in PAGES)


def test_a_marked_table_is_replaced_and_the_rest_of_the_page_stays():
    before = "# A\n\n<!-- generated: outputs -->\nold\n<!-- end -->\n\nrest\n"

    after = docs.filled(before, {"outputs": "| new |\n"})

    assert after == "# A\n\n<!-- generated: outputs -->\n\n| new |\n\n<!-- end -->\n\nrest\n"
    assert docs.filled(after, {"outputs": "| new |\n"}) == after


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("<!-- generated: nothing -->\n<!-- end -->\n", "no generated table 'nothing'"),
        ("<!-- generated: outputs -->\n| old |\n", "not closed"),
    ],
)
def test_a_marker_that_means_nothing_is_an_error(text, why):
    with pytest.raises(ValueError, match=why):
        docs.filled(text, {"outputs": "| new |\n"})


def test_make_docs_writes_the_pages(tmp_path):
    stale, other = tmp_path / "stale.md", tmp_path / "other.md"
    stale.write_text("<!-- generated: metrics -->\n<!-- end -->\n")
    other.write_text("no table\n")

    docs.write(tmp_path)

    assert GENERATED["metrics"] in stale.read_text()
    assert other.read_text() == "no table\n"


def test_an_alarm_without_a_section_in_the_runbook_is_an_error():
    alarm = {"Type": "AWS::CloudWatch::Alarm", "Properties": {"AlarmDescription": "It is bad."}}

    with pytest.raises(ValueError, match="names no section"):
        docs.tables({**TEMPLATE, "Resources": {"SomeAlarm": alarm}})


# --- tables and figures by hand ------------------------------------------------------------------


def logged_events():
    """The first argument of each call of a logger in the code."""
    methods = {"debug", "info", "warning", "error", "exception", "critical", "_log"}
    for path in (PROJECT / "handler").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            match node:
                case ast.Call(
                    func=ast.Attribute(attr=method), args=[ast.Constant(str(event)), *_]
                ) if method in methods:
                    yield event


def test_the_reference_has_every_log_event_and_no_other():
    documented = first_cells(page("docs/reference.md"), "| event | level |")

    assert sorted(documented) == sorted(set(logged_events()))


def test_the_reference_has_every_attribute_of_a_dead_letter_and_no_other():
    outcome = MessageOutcome(message("{}"))
    letter = DeadLetter("{}", NoIdentityError("none"), outcome, profiles=1)
    sent = queue._letter_entry(0, letter)["MessageAttributes"]

    documented = first_cells(page("docs/reference.md"), "| message attribute | value |")

    assert documented == [*sent]


@pytest.mark.parametrize(
    "error_type",
    [
        *(error.error_type for error in PermanentError.__subclasses__()),
        *(error.__name__ for error in RetryableError.__subclasses__()),
    ],
)
def test_the_runbook_says_what_to_do_for_every_error_type(error_type):
    assert re.search(rf"^\|[^|]*`{error_type}`[^|]*\|", page("docs/operations.md"), re.MULTILINE)


def test_the_settings_in_the_readme_have_their_defaults():
    rows = re.findall(r"^\| `(\w+)` \| (\S+) \|", page("README.md"), re.MULTILINE)
    settings = {name: default for name, default in rows if name in TEMPLATE["Parameters"]}

    assert settings
    for name, shown in settings.items():
        default = TEMPLATE["Parameters"][name]["Default"]
        assert shown == ("empty" if default == "" else f"`{default}`")


def test_the_costs_are_of_as_many_alarms_and_metrics_as_there_are():
    alarms = [one for one in RESOURCES.values() if one["Type"] == "AWS::CloudWatch::Alarm"]
    always = [one for one in alarms if "Condition" not in one]

    costs = page("docs/cost.md")
    assert f"| {len(always)} alarms" in costs
    assert f"| {len(alarms) - len(always)} alarms more" in costs
    assert f"| {len(MetricName)} metrics" in costs


def test_the_readme_counts_the_sample_events():
    kinds = ("", "firehose/", "import/", "resync/", "stream/")
    events = [path for kind in kinds for path in (PROJECT / "events").glob(f"{kind}*.json")]

    assert f"# all {len(events)}\n" in page("README.md")


def test_the_changelog_has_the_version_of_the_project():
    project = tomllib.loads(page("pyproject.toml"))["project"]
    releases = re.findall(r"^## \[(\d[^]]*)\]", page("CHANGELOG.md"), re.MULTILINE)

    assert releases[0] == project["version"]


# --- links ---------------------------------------------------------------------------------------


def headings(text):
    without_code = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"^#+ (.+)$", without_code, re.MULTILINE)


def anchors(text):
    return {docs.anchor(heading) for heading in headings(text)}


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_every_link_leads_somewhere(path):
    for link in re.findall(r"\]\(([^)\s]+)\)", path.read_text("utf-8")):
        if link.startswith("https://"):
            continue
        file, _, place = link.partition("#")
        target = path.parent / file if file else path
        assert target.exists(), link
        if place:
            assert place in anchors(target.read_text("utf-8")), link


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_every_file_of_tests_that_a_page_names_is_there(path):
    for name in re.findall(r"`(tests/[\w/.]+)", path.read_text("utf-8")):
        assert (PROJECT / name).exists(), name


@pytest.mark.parametrize("path", CODE, ids=named)
def test_every_page_and_section_that_the_code_names_is_there(path):
    text = " ".join(re.sub(r"^ *#|'\n\s*'|\"\n\s*f?\"", " ", path.read_text("utf-8")).split())

    for name in re.findall(r"docs/[\w/-]+\.md", text):
        assert (PROJECT / name).exists()
    sections = re.findall(r'See "([^"]+)" in (docs/[\w-]+\.md)', text)
    sections += [
        (section, name) for name, section in re.findall(r'(docs/[\w-]+\.md), "([^"]+)"', text)
    ]
    for section, name in sections:
        assert section in headings(page(name))
    for step, name in re.findall(r"step (\d) of (docs/[\w-]+\.md)", text):
        assert any(heading.startswith(f"{step}. ") for heading in headings(page(name)))


# --- commands ------------------------------------------------------------------------------------


def code_in(text):
    """Each line of code on a page, without its comment."""
    blocks = re.findall(r"^ *```\w*\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    return [
        line.partition(" #")[0].strip() for line in [*lines, *re.findall(r"`([^`\n]+)`", text)]
    ]


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_every_ops_command_is_one(path):
    for line in code_in(path.read_text("utf-8")):
        words = line.split()
        if words[:1] != ["ops"] or words == ["ops"]:
            continue
        command: click.Command = cli
        names = words[1:]
        while isinstance(command, click.Group) and names and not names[0].startswith("-"):
            assert names[0] in command.commands, line
            command = command.commands[names.pop(0)]
        known = {name for each in command.params for name in (*each.opts, *each.secondary_opts)}
        given = {name for name in names if name.startswith("--")}
        assert given <= known | {"--help"}, line


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_every_make_target_is_one(path):
    targets = set(re.findall(r"^([\w-]+(?: [\w-]+)*):", page("Makefile"), re.MULTILINE))
    known = {name for group in targets for name in group.split()}

    for line in code_in(path.read_text("utf-8")):
        for target in re.findall(r"^make (?:PYTHON=\S+ )?([a-z][\w-]*)", line):
            assert target in known, line


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_no_page_puts_a_secret_on_a_command_line(path):
    values = re.findall(r"--secret-string[ =](\S+)", path.read_text("utf-8"))

    assert all(value.startswith("file://") for value in values)
    assert "--api-key " not in path.read_text("utf-8")

"""Docs: the tables in docs/ that are generated from the template and the code.

A page has such a table between `<!-- generated: NAME -->` and `<!-- end -->`. `make docs` writes
the tables; a test fails if a page has another one.
"""

from __future__ import annotations

import inspect
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from handler.errors import PermanentError, RetryableError
from handler.metrics import MetricName
from ops.cli import cli
from tools.template import PROJECT, read_template

DOCS: Final = PROJECT / "docs"

_MARKED: Final = re.compile(
    r"(?P<begin>^<!-- generated: (?P<name>[a-z ]+) -->\n).*?(?P<end>^<!-- end -->$)",
    re.MULTILINE | re.DOTALL,
)
_STATUS: Final = re.compile(r"^  (\d)  (.*(?:\n {5}.*)*)", re.MULTILINE)
_SECTION: Final = re.compile(r'See "(.+)" in docs/operations\.md')


def tables(template: Mapping[str, Any]) -> dict[str, str]:
    """Return each generated table by its name, as Markdown."""
    return {
        "layers": _layers(),
        "settings": _settings(template),
        "outputs": _outputs(template),
        "alarms": _alarms(template),
        "metrics": _table(
            ("metric", "what it counts"),
            ((f"`{metric.name}`", metric.value) for metric in MetricName),
        ),
        "permanent errors": _table(
            ("error type", "why it is set aside"),
            ((f"`{error.error_type}`", _doc(error)) for error in PermanentError.__subclasses__()),
        ),
        "retryable errors": _table(
            ("error type", "why it is retried"),
            ((f"`{error.__name__}`", _doc(error)) for error in RetryableError.__subclasses__()),
        ),
        "exit statuses": _table(
            ("status", "meaning"),
            ((status, " ".join(text.split())) for status, text in _STATUS.findall(cli.help or "")),
        ),
    }


def filled(page: str, generated: Mapping[str, str]) -> str:
    """Return the page with each marked table replaced by the generated one.

    Raises ValueError if a marker names no table, or has no end.
    """
    if page.count("<!-- generated:") != len(_MARKED.findall(page)):
        raise ValueError("a marker of a generated table is not closed, or names none")

    def fill(marked: re.Match[str]) -> str:
        if marked["name"] not in generated:
            raise ValueError(f"there is no generated table {marked['name']!r}")
        return f"{marked['begin']}\n{generated[marked['name']]}\n{marked['end']}"

    return _MARKED.sub(fill, page)


def anchor(heading: str) -> str:
    """Return the name by which GitHub links to a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def write(folder: Path = DOCS) -> None:
    """Write the generated tables of each page in a folder."""
    generated = tables(read_template())
    for path in folder.glob("*.md"):
        page = path.read_text("utf-8")
        if (written := filled(page, generated)) != page:
            path.write_text(written, "utf-8")


def _layers() -> str:
    """Return the layers of the function, by the contract that import-linter checks."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    contracts = project["tool"]["importlinter"]["contracts"]
    layers = next(each["layers"] for each in contracts if each.get("containers") == ["handler"])
    rows = (
        (str(number), ", ".join(f"`{module}`" for module in layer.split(" | ")))
        for number, layer in enumerate(layers, 1)
    )
    return _table(("layer", "modules"), rows)


def _settings(template: Mapping[str, Any]) -> str:
    parameters = template["Parameters"]
    groups = template["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    names = re.compile(rf"\b({'|'.join(parameters)})\b")

    def row(name: str) -> tuple[str, str, str]:
        parameter = parameters[name]
        default = f"`{parameter['Default']}`" if parameter["Default"] != "" else "empty"
        # Format examples as code; elsewhere, their angle brackets would be HTML.
        text = names.sub(r"`\1`", re.sub(r'"([^"]+)"', r"`\1`", parameter["Description"]))
        return f"`{name}`", default, text + _choices(parameter)

    return "\n".join(
        f"### {group['Label']['default']}\n\n"
        + _table(("parameter", "default", "meaning"), map(row, group["Parameters"]))
        for group in groups
    )


def _choices(parameter: Mapping[str, Any]) -> str:
    values = parameter.get("AllowedValues", [])
    if not values or set(values) == {"true", "false"}:
        return ""
    return f" One of {', '.join(f'`{value}`' for value in values)}."


def _outputs(template: Mapping[str, Any]) -> str:
    rows = ((f"`{name}`", output["Description"]) for name, output in template["Outputs"].items())
    return _table(("output", "what it is"), rows)


def _alarms(template: Mapping[str, Any]) -> str:
    rows = _alarm_rows(template)
    return _table(("alarm", "what it means", "what to do"), rows)


def _alarm_rows(template: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    for name, resource in template["Resources"].items():
        if resource["Type"] != "AWS::CloudWatch::Alarm":
            continue
        description = resource["Properties"]["AlarmDescription"]
        section = _SECTION.search(description)
        if section is None:
            raise ValueError(f"{name}: its description names no section of docs/operations.md")
        meaning = re.split(r"(?<=\.) (?=[A-Z`]|mParticle )", description)[0]
        link = f"[{section[1]}](#{anchor(section[1])})"
        yield f"`{name}`", meaning, link


def _doc(documented: type) -> str:
    """Return the first paragraph of a docstring, as one line."""
    return " ".join((inspect.getdoc(documented) or "").split("\n\n")[0].split())


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = (head, ["---"] * len(head), *rows)
    escaped = ([cell.replace("|", r"\|") for cell in cells] for cells in lines)
    return "".join(f"| {' | '.join(cells)} |\n" for cells in escaped)


if __name__ == "__main__":
    write()

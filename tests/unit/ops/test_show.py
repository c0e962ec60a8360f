"""Texts for a terminal."""

import re
from datetime import UTC, datetime

import pytest
from rich.console import Console

from ops import show
from ops.check import Check
from tests.stack_template import PROJECT


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0 seconds"),
        (1.4, "1 second"),
        (90, "90 seconds"),
        (7200, "2 hours"),
        (1e6, "12 days"),
    ],
)
def test_an_age_is_shown_in_its_largest_unit(seconds, text) -> None:
    assert show.age(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "a second or less"), (1.4, "a second or less"), (1.6, "about 2 seconds")],
)
def test_a_duration_is_never_zero(seconds, text) -> None:
    assert show.duration(seconds) == text


def test_a_moment_is_shown_in_utc() -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC).timestamp()

    assert show.since(moment, moment + 5) == "2026-01-02 03:04:05 UTC (5 seconds ago)"


def test_a_warning_has_a_mark_of_its_own() -> None:
    warning = Check("b", is_ok=True, result="r", fix="do this")
    console = Console(width=140)
    with console.capture() as captured:
        console.print(show.checks([Check("a", is_ok=True, result="r"), warning]))

    assert "✓" in captured.get()
    assert "! b: do this" in captured.get()
    assert "✗" not in captured.get()


@pytest.mark.parametrize("module", ["smoke", "show_explanation"])
def test_the_sections_that_a_module_names_are_in_the_runbook(module) -> None:
    source = " ".join((PROJECT / f"ops/{module}.py").read_text("utf-8").split())
    sections = re.findall(r"see: ([A-Z][a-z ]+)", source)

    assert sections
    for section in sections:
        assert f"\n## {section}\n" in (PROJECT / "docs/operations.md").read_text("utf-8")

"""What `make run` prints."""

from __future__ import annotations

import re
from io import StringIO

from rich.console import Console

from local import events, results
from local.fake_customerio.people import PersonRecord
from tests.stack_template import PROJECT

README = (PROJECT / "README.md").read_text("utf-8")


def test_the_readme_shows_what_make_run_prints_of_a_join() -> None:
    (expected,) = events.read(PROJECT / "events/join.json").expected.people
    identifiers = expected.identifier | {"email": expected.attributes["email"]}
    person = PersonRecord("site", identifiers, expected.attributes)
    join = results.Outcome("join", [person], [], [], is_drained=True)
    printed = StringIO()
    console = Console(file=printed, width=120)

    results.show_people(console, [person], [join])
    results.show_set_aside(console, [join])

    lines = [line.rstrip() for line in printed.getvalue().strip().splitlines()]
    (shown,) = re.findall(r"^(People, as .*?)\n```$", README, re.MULTILINE | re.DOTALL)
    assert shown.splitlines() == lines

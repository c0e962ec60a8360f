"""Imports of files into the deployed stack, and what differs afterwards."""

import json
from itertools import count

import pytest

from ops.commands.context import ABORTED, OK, PROBLEM
from tests.e2e.messages import join, memberships, new_mpid, somebody

HEAD = "customer_id,mpid,audience_id,audience_name,action,since\n"


@pytest.fixture
def write(tmp_path):
    """Write a file of people in an audience that no other test uses."""

    def written(*customer_ids, audience_id):
        path = tmp_path / f"{audience_id}.csv"
        lines = [f"{each},{new_mpid()},{audience_id},Imported,," for each in customer_ids]
        path.write_text(HEAD + "\n".join(lines))
        return path

    return written


@pytest.fixture
def stopping(monkeypatch):
    """Press Ctrl-C in the pause before the second request, once."""
    pauses = count(1)

    def sleep(_):
        if next(pauses) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("ops.imports.WINDOW", 2)
    with monkeypatch.context() as patch:
        patch.setattr("time.sleep", sleep)
        yield patch


def test_an_import_that_was_stopped_brings_everybody_and_then_nothing_differs(
    clean, ops, write, stopping
) -> None:
    people = [somebody() for _ in range(5)]
    file = write(*people, audience_id=30101)

    stopped, _ = ops("import", file, "--account", "1001", "--yes")
    stopping.undo()
    begun = json.loads(file.with_name("30101.csv.progress").read_text())
    ended, progress = ops("import", file, "--account", "1001", "--yes")
    clean.wait_until_drained()
    status, compared = ops("reconcile", file, "--account", "1001", "--yes")

    assert (stopped, begun["sent_changes"]) == (ABORTED, 2)
    assert (ended, progress["sent_changes"]) == (OK, 5)
    assert [memberships(clean, person) for person in people] == ["'30101'"] * 5
    assert (status, compared["drift"]) == (OK, 0)
    assert compared["audiences"][0]["in_table"] == 5


def test_a_fix_takes_away_what_differs(clean, ops, write) -> None:
    inside, outside = somebody(), somebody()
    clean.send([join(outside, 30102)])
    clean.wait_until_drained()
    file = write(inside, audience_id=30102)

    found, before = ops("reconcile", file, "--account", "1001", "--yes")
    fixed, sent = ops("reconcile", file, "--account", "1001", "--yes", "--fix")
    clean.wait_until_drained()
    status, after = ops("reconcile", file, "--account", "1001", "--yes")

    assert (found, before["drift"]) == (PROBLEM, 2)
    assert (fixed, sent["sent"]) == (OK, 2)
    assert (status, after["drift"]) == (OK, 0)
    assert [memberships(clean, each) for each in (inside, outside)] == ["'30102'", ""]

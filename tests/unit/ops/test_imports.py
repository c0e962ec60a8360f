"""Imports: what is counted, what is sent, and how an import goes on after it was stopped."""

import errno
import json
import os
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.domain.change_messages import Change
from handler.domain.message import read_message
from handler.domain.profile import read_profile
from handler.errors import UnavailableError
from ops import imports
from ops.change_files import Row, Unaddressed
from ops.change_rows import RowError
from ops.downloads import FileError
from ops.imports import BadRow, Importer, Progress, Survey, survey
from tests.builders import NOW, NOW_MS
from tests.stand_ins.aws import ScriptedSqs, taken
from tests.unit.ops.builders import STACK


def change(customer_id, at_ms=NOW_MS, mpid=7):
    return Change(
        at_ms, 11, "VIP", is_member=True, identities={"customer": customer_id}, mpid=mpid
    )


def rows(*contents):
    return [Row("", line, content) for line, content in enumerate(contents, 2)]


def people(count):
    return rows(*(change(str(place)) for place in range(count)))


class Clock:
    """A clock that only sleeping moves on; `stop_after` sleeps raise KeyboardInterrupt."""

    def __init__(self, stop_after=None):
        self.now = 100.0
        self.sleeps = 0
        self._stop_after = stop_after

    def sleep(self, seconds):
        self.sleeps += 1
        if self._stop_after is not None and self.sleeps > self._stop_after:
            raise KeyboardInterrupt
        self.now += seconds


def importer(sqs, clock=None, rate=1_000_000):
    clock = clock or Clock()
    aws: Any = SimpleNamespace(sqs=sqs)
    return Importer(aws, STACK, 1001, rate, sleep=clock.sleep, clock=lambda: clock.now)


def progress(all_rows):
    found, _ = survey(all_rows, on_rows=lambda _: None)
    return Progress("0a" * 32, NOW_MS, found)


def received(sqs):
    """The customer ids in the messages that SQS took, in order."""
    profiles = [
        read_profile(raw)
        for bodies in sqs.bodies
        for body in bodies
        for raw in read_message(body, now=NOW).profiles
    ]
    return [profile.customer_id for profile in profiles]


@pytest.fixture
def file(tmp_path):
    return tmp_path / "people.csv"


@pytest.fixture(autouse=True)
def small_windows(monkeypatch):
    monkeypatch.setattr(imports, "WINDOW", 10)


def test_a_survey_counts_what_would_be_sent_and_keeps_the_first_bad_rows() -> None:
    bad = [RowError(f"reason {place}") for place in range(25)]
    contents = [
        change("1"),
        Unaddressed(8, 11),
        change("2", mpid=None),
        *bad,
        change("3", at_ms=NOW_MS - 1),
    ]
    counts: list[int] = []

    found, shown = survey(rows(*contents), on_rows=counts.append)

    assert found == Survey(rows=29, changes=3, bad=25, unaddressed=1, unnamed=1, messages=2)
    assert shown[0] == BadRow("", 5, "reason 0")
    assert len(shown) == 20
    assert sum(counts) == 29


def test_everybody_is_sent_for_the_account_in_a_group_of_their_own(file) -> None:
    sqs, all_rows = ScriptedSqs(), people(25)
    state = progress(all_rows)
    counts: list[float] = []

    importer(sqs).run(file, all_rows, state, check=lambda: None, on_sent=counts.append)

    assert received(sqs) == [str(place) for place in range(25)]
    message = read_message(sqs.bodies[0][0], now=NOW)
    assert (message.account_id, message.message_id) == (1001, "import-0a0a0a0a0a0a")
    assert sqs.requests[0]["Entries"][0]["MessageGroupId"] == "import"
    assert state.is_done
    assert sum(counts) == 25
    assert imports.load(file) == state


@given(stops=st.lists(st.integers(0, 8), max_size=6))
def test_an_import_that_is_stopped_anywhere_sends_everybody_and_few_twice(
    stops, tmp_path_factory
) -> None:
    file = tmp_path_factory.mktemp("import") / "people.csv"
    all_rows = people(57)
    sqs = ScriptedSqs()
    imports.save(file, progress(all_rows))

    for stop in [*stops, None]:
        begun = imports.load(file)
        assert begun is not None
        try:
            importer(sqs, Clock(stop)).run(
                file, all_rows, begun, check=lambda: None, on_sent=lambda _: None
            )
        except KeyboardInterrupt:
            continue

    ended = imports.load(file)
    assert ended is not None
    assert (ended.is_done, ended.left) == (True, 0)
    assert {*received(sqs)} == {str(place) for place in range(57)}
    # One window of ten was on its way at each stop, at most.
    assert len(received(sqs)) <= 57 + 10 * len(stops)


def test_what_sqs_does_not_take_is_sent_by_the_next_run(file) -> None:
    answers = [taken, *[lambda entries: taken(entries, *"0123456789")] * 4]
    sqs, all_rows = ScriptedSqs(answers), people(25)
    state = progress(all_rows)

    with pytest.raises(UnavailableError, match="the queue did not take 1 of 1"):
        importer(sqs).run(file, all_rows, state, check=lambda: None, on_sent=lambda _: None)
    begun = imports.load(file)
    assert begun is not None
    sent_before = begun.sent_changes
    sent = len(received(sqs))
    importer(sqs).run(file, all_rows, begun, check=lambda: None, on_sent=lambda _: None)

    assert sent_before == 10
    assert received(sqs)[sent:] == [str(place) for place in range(10, 25)]


def test_no_more_is_sent_than_the_rate(file) -> None:
    clock, all_rows = Clock(), people(60)

    importer(ScriptedSqs(), clock, rate=5).run(
        file, all_rows, progress(all_rows), check=lambda: None, on_sent=lambda _: None
    )

    # The last ten need not be waited for.
    assert clock.now == pytest.approx(100 + 50 / 5)


def test_the_progress_file_is_whole_even_after_a_crash_while_it_is_written(
    file, monkeypatch
) -> None:
    before = progress(people(3))
    imports.save(file, before)

    def crash(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("pathlib.Path.replace", crash)
    with pytest.raises(FileError, match="cannot be written: No space left"):
        imports.save(file, progress(people(4)))

    assert imports.load(file) == before


def test_a_progress_file_holds_nobody(file) -> None:
    all_rows = people(3)
    importer(ScriptedSqs()).run(
        file, all_rows, progress(all_rows), check=lambda: None, on_sent=lambda _: None
    )

    content = json.loads(imports.progress_path(file).read_text())

    assert content.keys() == {"fingerprint", "as_of_ms", "survey", "sent_rows", "sent_changes"}


def test_another_file_is_no_progress_file(file) -> None:
    imports.progress_path(file).write_text("{}")

    with pytest.raises(ValueError, match="is no progress file"):
        imports.load(file)

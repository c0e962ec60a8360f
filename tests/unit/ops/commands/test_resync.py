"""Delivering people again, and the walks that do it."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import Any

import pytest

from handler.domain.audience import Audience
from handler.domain.update import Identifier
from ops.commands.context import ABORTED, OK, PROBLEM, USAGE, Context
from tests.builders import state
from tests.unit.ops.builders import (
    CREDENTIALS,
    OTHER_CREDENTIALS,
    SECRET,
    STACK,
    StepFunctions,
    put_catalogue,
    put_person,
)
from tools.template import table_schema

MACHINE = "arn:aws:states:us-east-1:1:stateMachine:s-walks"
SCHEMA = table_schema()


class EndingAtOnce(StepFunctions):
    """Walks that end as they start; `skipped` people of them are skipped."""

    skipped = 0

    def start_execution(self, **started: str) -> None:
        super().start_execution(**started)
        self.end(started["name"], [(3, 2, self.skipped)])

    @property
    def inputs(self) -> list[Any]:
        return [json.loads(each["input"]) for each in self.executions.values()]


@pytest.fixture
def machine(aws, ops, monkeypatch):
    monkeypatch.setattr(Context, "stack", replace(STACK, walks_arn=MACHINE, walker_name="walker"))
    for name, value in (("walk_concurrency", 2), ("walk_people_per_second", 2000)):
        monkeypatch.setattr(Context.settings, name, value, raising=False)
    aws.step_functions = EndingAtOnce(MACHINE)
    aws.dynamodb.create_table(TableName=STACK.table_name, **SCHEMA)
    aws.secrets.create_secret(Name=SECRET, SecretString=json.dumps(CREDENTIALS))
    put_catalogue(aws, "site-a", {11: Audience("VIP", 1), 12: Audience("Gold", 1, {"Silver": 1})})
    return aws.step_functions


@pytest.fixture
def walker(aws, machine):
    """The walker, which delivers whom it is given; return the keys of these."""
    given: list[str] = []

    class Functions:
        def invoke(self, *, FunctionName: str, Payload: bytes) -> Any:  # noqa: N803
            step = json.loads(Payload)
            given.extend(step["keys"])
            step |= {"read": len(given), "delivered": len(given), "done": True}
            return {"Payload": io.BytesIO(json.dumps(step).encode())}

    aws.walker = Functions()
    return given


def test_a_resync_says_what_it_takes_asks_and_shows_the_end(ops, machine) -> None:
    ended = ops("resync", answers="y\n")

    assert ended.status == OK
    assert "as DynamoDB counted in the last six hours" in ended.out
    assert "dollars" in ended.out
    assert "Walk over the whole table?" in ended.err
    assert "3 read, 2 delivered, 0 skipped" in ended.out
    (walk,) = machine.inputs
    assert (walk["kind"], walk["site_id"], walk["audience_id"]) == ("resync", "", None)


@pytest.mark.parametrize(("arguments", "status"), [(["--dry-run"], OK), ([], ABORTED)])
def test_nothing_is_started_without_a_yes(ops, machine, arguments, status) -> None:
    ended = ops("resync", *arguments, answers="n\n")

    assert (ended.status, machine.inputs) == (status, [])


@pytest.mark.parametrize(
    ("arguments", "field", "value"),
    [
        (["--audience", "12"], "audience_id", 12),
        (["--audience", "Gold"], "audience_id", 12),
        (["--audience", "silver"], "audience_id", 12),
        (["--audience", "99"], "audience_id", 99),
        (["--site-id", "site-a"], "site_id", "site-a"),
        (["--since", "1970-01-02"], "since", 86_400),
        (["--since", "1970-01-02T01:00+01:00"], "since", 86_400),
    ],
)
def test_a_resync_can_be_limited(ops, machine, arguments, field, value) -> None:
    ended = ops("resync", *arguments, "--yes")

    assert ended.status == OK
    assert machine.inputs[0][field] == value


@pytest.mark.parametrize(
    "arguments",
    [
        ["--audience", "Bronze"],
        ["--audience", "²"],
        ["--id", "42", "--since", "2026-01-01"],
        ["--site-id", "site-z"],
        ["--site-id", "site-z", "--id", "42"],
        ["--since", "yesterday"],
        ["--since", "9999-01-01"],
    ],
)
def test_what_cannot_be_meant_is_wrong_usage(ops, machine, arguments) -> None:
    assert ops("resync", *arguments, "--yes").status == USAGE
    assert machine.inputs == []


@pytest.mark.parametrize("content", ["", "\n \n"])
def test_a_file_that_names_nobody_delivers_nobody(ops, machine, tmp_path, content) -> None:
    file = tmp_path / "people.txt"
    file.write_text(content)

    ended = ops("resync", "--file", file, "--yes")

    assert (ended.status, machine.inputs) == (USAGE, [])
    assert "people.txt: names nobody" in ended.err


def test_a_number_is_the_id_of_an_audience_before_it_is_a_name(ops, aws, machine) -> None:
    put_catalogue(aws, "site-a", {11: Audience("12", 1), 12: Audience("Gold", 1)})

    assert ops("resync", "--audience", "12", "--yes").status == OK
    assert machine.inputs[0]["audience_id"] == 12


def test_an_unknown_id_of_an_audience_is_pointed_out(ops, machine) -> None:
    assert "No message has named an audience 99" in ops("resync", "--audience", "99").err


def test_a_name_of_several_audiences_needs_the_id_of_one(ops, aws, machine) -> None:
    put_catalogue(aws, "site-b", {13: Audience("Gold", 1)})
    two = {"accounts": {"1": CREDENTIALS, "2": OTHER_CREDENTIALS}}
    aws.secrets.update_secret(SecretId=SECRET, SecretString=json.dumps(two))

    ended = ops("resync", "--audience", "Gold", "--yes")

    assert (ended.status, machine.inputs) == (USAGE, [])
    assert "give the id of one: 12, 13" in ended.err


def test_people_who_were_skipped_are_a_problem(ops, machine) -> None:
    machine.skipped = 1

    assert ops("resync", "--yes").status == PROBLEM


def test_named_people_are_delivered_without_a_walk(ops, aws, machine, walker, tmp_path) -> None:
    by_email = Identifier(is_id=False, set_at_ms=1, value="ann@example.com")
    put_person(aws, "site-a#1", state(11))
    put_person(aws, "site-a#2", state(11, identifier=by_email))
    file = tmp_path / "people.txt"
    file.write_text("42\n ANN@example.com\r\n\n")

    ended = ops("resync", "--file", file, "--id", "42", "--email", "ann@example.com", "--yes")

    assert (ended.status, sorted(walker)) == (OK, ["site-a#1", "site-a#2"])
    assert machine.inputs == []
    assert "2 delivered, 0 skipped.\n" in ended.out


def test_a_line_is_one_id_whatever_it_has(ops, aws, walker, tmp_path) -> None:
    put_person(aws, "site-a#1", state(11))
    file = tmp_path / "people.txt"
    file.write_text("42 43\n")

    assert ops("resync", "--file", file, "--yes").status == PROBLEM
    assert walker == []


def test_who_is_not_in_the_table_is_counted_and_named_only_on_demand(ops, aws, walker) -> None:
    put_person(aws, "site-a#1", state(11))
    arguments = ("resync", "--id", "42", "--id", "43", "--email", "bob@example.com", "--yes")

    hidden = ops(*arguments)
    revealed = ops(*arguments, "--reveal")
    as_json = json.loads(ops(*arguments, "--json").out)

    assert (hidden.status, revealed.status) == (PROBLEM, PROBLEM)
    assert "Not in the table: 2 of 3 named people. `--reveal` names them." in hidden.out
    assert "bob@" not in hidden.out + hidden.err
    assert "2 of 3 named people: 43, bob@example.com" in revealed.out
    assert as_json["not_found"] == 2
    assert "names_not_found" not in as_json
    assert walker == ["site-a#1"] * 3


@pytest.mark.parametrize(("who", "status"), [("42", OK), ("43", PROBLEM)])
def test_a_dry_run_delivers_none_of_the_named_people(ops, aws, walker, who, status) -> None:
    put_person(aws, "site-a#1", state(11))

    ended = ops("resync", "--id", who, "--dry-run")

    assert (ended.status, walker) == (status, [])
    assert "Delivering them takes a second or less" in ended.out
    assert "dollars" in ended.out


@pytest.mark.parametrize(
    ("arguments", "purpose"),
    [
        ([], "a resync, all workspaces\n"),
        (["--audience", "Gold", "--site-id", "site-a"], "audience 12, workspace site-a\n"),
        (["--since", "1970-01-02"], "sent since 1970-01-02 00:00:00 UTC"),
    ],
)
def test_a_walk_is_shown_with_whom_it_concerns(ops, machine, arguments, purpose) -> None:
    assert purpose in ops("resync", *arguments, "--yes").out


def test_a_removal_is_shown_with_its_audience(ops, machine) -> None:
    removal = {"kind": "removal", "site_id": "site-a", "audience_id": 11, "audience_name": "VIP"}
    machine.start_execution(
        stateMachineArn=MACHINE, name="removal-11-0", input=json.dumps(removal)
    )

    shown = ops("walk", "show", "removal-11-0").out

    assert "a removed audience, audience 11 VIP, workspace site-a\n" in shown


def test_a_walk_whose_segments_are_all_done_is_about_to_end(ops, machine) -> None:
    ops("resync", "--yes")
    (walk,) = machine.executions.values()
    walk["status"] = "RUNNING"

    shown = ops("walk", "show", walk["name"]).out

    assert "1 of 1 segments are done, and the walk is about to end" in shown


def test_a_walk_that_has_just_started_has_no_segments_to_count(ops, machine, monkeypatch) -> None:
    monkeypatch.setattr(machine, "end", lambda *_: None)

    ended = ops("resync", "--no-wait", "--yes")

    assert ended.status == OK
    assert "no segment has begun yet" in ended.out


def test_ctrl_c_stops_the_command_and_not_the_walk(ops, machine, monkeypatch) -> None:
    monkeypatch.setattr(machine, "end", lambda *_: None)

    def stop(_) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", stop)

    ended = ops("resync", "--yes")

    assert ended.status == ABORTED
    assert "The walk goes on. `ops walk stop resync-" in ended.err


def test_walks_are_listed_shown_stopped_and_redriven(ops, machine) -> None:
    ops("resync", "--yes")
    (name,) = (each["name"] for each in machine.executions.values())

    assert name in ops("walk", "show").out
    assert "1 of 1 segments are done" in ops("walk", "show", name, "--follow").out
    ended = ops("walk", "stop", name, "--yes")
    assert (ended.status, "not on its way: SUCCEEDED" in ended.out) == (PROBLEM, True)
    assert ops("walk", "redrive", name, "--yes").status == OK
    assert ops("walk", "stop", name, "--yes").status == OK
    stopped = ops("walk", "show", name)
    assert (stopped.status, "StoppedByOperator" in stopped.out) == (PROBLEM, True)
    assert ops("walk", "redrive", name, "--yes").status == OK
    assert ops("walk", "show", name).status == OK


@pytest.mark.parametrize("command", ["show", "stop", "redrive"])
def test_a_walk_that_does_not_exist_is_wrong_usage(ops, machine, command) -> None:
    ended = ops("walk", command, "no-walk", *([] if command == "show" else ["--yes"]))

    assert ended.status == USAGE
    assert "no walk has the name no-walk" in ended.err

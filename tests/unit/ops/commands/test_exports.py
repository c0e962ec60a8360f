"""Exporting the memberships of a workspace."""

import csv
import hashlib
import json

import pytest

from handler.domain.audience import Audience
from handler.domain.update import Identifier
from ops.commands.context import ABORTED, OK, PROBLEM, USAGE
from ops.scan import SEGMENTS
from tests.builders import state
from tests.unit.ops.builders import (
    CREDENTIALS,
    OTHER_CREDENTIALS,
    SECRET,
    STACK,
    put_catalogue,
    put_person,
)
from tools.template import table_schema

SCHEMA = table_schema()
AT_MS = 1_790_000_000_123
SINCE = "2026-09-21T14:13:20.123Z"


def person_hash(name):
    return hashlib.sha256(name.encode()).hexdigest()


def key(name, site_id="site-a"):
    return f"{site_id}#{person_hash(name)}"


def identified(value, *, is_id):
    return Identifier(is_id=is_id, set_at_ms=AT_MS, value=value)


@pytest.fixture(autouse=True)
def table(aws):
    """Have somebody with an id who left audience 12, and somebody with an email."""
    aws.dynamodb.create_table(TableName=STACK.table_name, **SCHEMA)
    aws.secrets.create_secret(Name=SECRET, SecretString=json.dumps(CREDENTIALS))
    put_catalogue(aws, "site-a", {11: Audience(' "Gold", all', 1), 12: Audience("VIP", 1)})
    put_person(
        aws,
        key("id"),
        state(11, left=(12,), at_ms=AT_MS, identifier=identified("=42,\n7", is_id=True)),
    )
    put_person(
        aws,
        key("email"),
        state(13, at_ms=AT_MS, identifier=identified("ann@example.com", is_id=False)),
    )


ROW = {"person_hash": person_hash("id"), "since": SINCE}
GOLD = {"audience_id": "11", "audience_name": ' "Gold", all', "action": "entered"}
VIP = {"audience_id": "12", "audience_name": "VIP", "action": "left"}
UNNAMED = {"audience_id": "13", "audience_name": "", "action": "entered"}
ANN = {"person_hash": person_hash("email"), "since": SINCE}


def exported(ops, path, *options):
    ended = ops("export", path, *options, "--yes")
    assert ended.status == OK
    if path.suffix == ".jsonl":
        rows = [json.loads(line) for line in path.read_text().splitlines()]
    else:
        with path.open(newline="") as file:
            rows = [*csv.DictReader(file)]
    return sorted(rows, key=lambda row: int(row["audience_id"]))


def test_the_file_has_a_row_for_each_audience_that_somebody_entered_or_left(ops, tmp_path) -> None:
    assert exported(ops, tmp_path / "out.csv") == [
        {"identified_by": "id", **ROW, **GOLD},
        {"identified_by": "id", **ROW, **VIP},
        {"identified_by": "email", **ANN, **UNNAMED},
    ]


def test_identifiers_are_in_it_only_if_they_are_to_be_revealed(ops, tmp_path) -> None:
    hidden, revealed = tmp_path / "hidden.csv", tmp_path / "revealed.csv"

    exported(ops, hidden)
    rows = exported(ops, revealed, "--reveal")

    assert rows == [
        {"customer_id": "=42,\n7", "email": "", **ROW, **GOLD},
        {"customer_id": "=42,\n7", "email": "", **ROW, **VIP},
        {"customer_id": "", "email": "ann@example.com", **ANN, **UNNAMED},
    ]
    assert "42,\n7" not in hidden.read_text()
    assert "ann@example.com" not in hidden.read_text()


def test_a_json_line_has_what_is_known(ops, tmp_path) -> None:
    first, *_, last = exported(ops, tmp_path / "out.jsonl", "--reveal")

    assert first == {"customer_id": "=42,\n7", **ROW, **GOLD, "audience_id": 11}
    assert last == {
        "email": "ann@example.com",
        **ANN,
        "audience_id": 13,
        "action": "entered",
    }


@pytest.mark.parametrize("audience", ["12", "vip"])
def test_one_audience_alone_is_exported_by_its_id_or_name(ops, tmp_path, audience) -> None:
    rows = exported(ops, tmp_path / "out.csv", "--audience", audience)

    assert [row["audience_id"] for row in rows] == ["12"]


def test_an_unknown_name_of_an_audience_is_wrong_usage(ops, tmp_path) -> None:
    ended = ops("export", tmp_path / "out.csv", "--audience", "Golf")

    assert ended.status == USAGE
    assert "give its id" in ended.err


def test_a_file_is_of_one_workspace(ops, aws, tmp_path) -> None:
    put_person(aws, key("other", "site-b"), state(14))
    both = {"accounts": {"1001": CREDENTIALS, "1002": OTHER_CREDENTIALS}}
    aws.secrets.put_secret_value(SecretId=SECRET, SecretString=json.dumps(both))

    refused = ops("export", tmp_path / "refused.csv")
    rows = exported(ops, tmp_path / "out.csv", "--site-id", "site-b")

    assert refused.status == USAGE
    assert "--site-id: site-a, site-b" in refused.err
    assert [row["audience_id"] for row in rows] == ["14"]


def test_a_workspace_that_neither_secret_nor_table_has_is_refused_before_the_file_is_written(
    ops, aws, tmp_path
) -> None:
    put_catalogue(aws, "site-c", {11: Audience("Gold", 1)})  # no longer in the secret

    refused = ops("export", tmp_path / "refused.csv", "--site-id", "site-z", "--yes")
    former = ops("export", tmp_path / "former.csv", "--site-id", "site-c", "--yes")

    assert refused.status == USAGE
    assert "--site-id: the secret has no workspace site-z, only: site-a" in refused.err
    assert former.status == OK
    assert [each.name for each in tmp_path.iterdir()] == ["former.csv"]


def test_an_unknown_id_of_an_audience_is_pointed_out(ops, tmp_path) -> None:
    ended = ops("export", tmp_path / "out.csv", "--audience", "99", "--yes")

    assert ended.status == OK
    assert "No message has named an audience 99" in ended.err
    assert "Wrote 0 rows" in ended.out


def test_who_was_erased_and_items_that_are_no_people_are_left_out(ops, aws, tmp_path) -> None:
    put_person(aws, key("erased"), state(identifier=None, erased_at_ms=AT_MS))

    assert len(exported(ops, tmp_path / "out.csv")) == 3


def test_all_people_of_a_large_table_are_in_the_file_once(ops, aws, tmp_path) -> None:
    people = {key(f"{number}"): state(*range(11, 61)) for number in range(40 * SEGMENTS)}
    for each, known in people.items():
        put_person(aws, each, known)

    ended = ops("export", tmp_path / "out.csv", "--json", "--yes")
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = [(row["person_hash"], row["audience_id"]) for row in csv.DictReader(file)]

    assert json.loads(ended.out) == {
        "people": len(people) + 2,
        "memberships": 50 * len(people) + 3,
        "unreadable": 0,
    }
    assert len(rows) == len({*rows}) == 50 * len(people) + 3


def test_before_it_starts_it_says_what_it_takes_and_asks(ops, tmp_path) -> None:
    ended = ops("export", tmp_path / "out.csv", answers="n\n")

    assert ended.status == ABORTED
    assert "The table has about 3 items" in ended.out
    assert "read units, under 0.01 dollars" in ended.out
    assert "Write workspace site-a to" in ended.err
    assert [*tmp_path.iterdir()] == []


def test_a_dry_run_only_says_what_it_takes(ops, tmp_path) -> None:
    ended = ops("export", tmp_path / "out.csv", "--dry-run", "--json")

    estimate = json.loads(ended.out)
    assert (ended.status, estimate["items"]) == (OK, 3)
    assert estimate["read_units"] == estimate["bytes"] / 8192
    assert [*tmp_path.iterdir()] == []


def test_who_cannot_be_read_is_said_to_be_missing(ops, aws, tmp_path) -> None:
    aws.dynamodb.put_item(TableName=STACK.table_name, Item={"pk": {"S": key("newer")}})

    ended = ops("export", tmp_path / "out.csv", "--yes")

    assert ended.status == PROBLEM
    assert "1 people are missing" in ended.err
    assert "Wrote 3 rows, of 2 people" in ended.out


def test_a_file_of_another_kind_or_that_exists_or_cannot_be_written_is_refused_at_once(
    ops, tmp_path
) -> None:
    there = tmp_path / "there.csv"
    there.write_text("mine")

    for path, reason in (
        (tmp_path / "out.txt", "must end in .csv or .jsonl"),
        (there, "exists already"),
        (tmp_path / "no such folder" / "out.csv", "no such folder is no folder"),
    ):
        ended = ops("export", path, answers="n\n")
        assert (ended.status, ended.out) == (USAGE, "")
        assert reason in ended.err
    assert there.read_text() == "mine"


def test_a_file_that_cannot_be_written_after_all_is_refused(ops, tmp_path) -> None:
    # The name is not too long yet, but that of the unfinished file is.
    ended = ops("export", tmp_path / f"{'x' * 248}.csv", "--yes")

    assert ended.status == USAGE
    assert "cannot be written: File name too long" in ended.err

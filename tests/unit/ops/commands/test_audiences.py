"""Listing audiences by name."""

import json

import pytest

from handler.domain.audience import Audience
from ops.commands.context import ABORTED, OK, PROBLEM, UNREACHABLE, USAGE
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
GOLD = Audience("Gold", 20_000, {"VIP": 20_000, "Loyal": 10_000})
REMOVED = Audience("Lapsed", 1_000, removed_at_ms=30_000, added_at_ms=1_000)


@pytest.fixture(autouse=True)
def table(aws):
    """Have a table, and two workspaces in the secret."""
    aws.dynamodb.create_table(TableName=STACK.table_name, **SCHEMA)
    accounts = {"1001": CREDENTIALS, "1002": OTHER_CREDENTIALS}
    aws.secrets.create_secret(Name=SECRET, SecretString=json.dumps({"accounts": accounts}))


def listed(ops, *arguments):
    ended = ops("audiences", *arguments, "--json")
    assert ended.status == OK
    return json.loads(ended.out)


def test_audiences_have_their_names_and_times(ops, aws) -> None:
    put_catalogue(aws, "site-a", {12: REMOVED, 11: GOLD})

    assert listed(ops) == [
        {
            "site_id": "site-a",
            "audience_id": 11,
            "name": "Gold",
            "former_names": [
                {"name": "VIP", "ended_at": 20.0},
                {"name": "Loyal", "ended_at": 10.0},
            ],
            "removed_at": None,
            "members": None,
        },
        {
            "site_id": "site-a",
            "audience_id": 12,
            "name": "Lapsed",
            "former_names": [],
            "removed_at": 30.0,
            "members": None,
        },
    ]


def test_all_workspaces_of_the_secret_are_listed_or_those_that_are_named(ops, aws) -> None:
    put_catalogue(aws, "site-a", {11: GOLD})
    put_catalogue(aws, "site-b", {11: REMOVED})
    put_catalogue(aws, "site-c", {13: GOLD})

    assert [each["site_id"] for each in listed(ops)] == ["site-a", "site-b"]
    assert [each["audience_id"] for each in listed(ops, "--site-id", "site-c")] == [13]


def test_a_workspace_that_does_not_exist_is_wrong_usage(ops) -> None:
    ended = ops("audiences", "--site-id", "site-z")

    assert ended.status == USAGE
    assert "no workspace site-z, only: site-a, site-b" in ended.err


def test_a_person_at_a_terminal_sees_names_and_when_they_ended(ops, aws) -> None:
    put_catalogue(aws, "site-a", {11: GOLD, 12: REMOVED, 13: Audience(added_at_ms=1)})

    shown = ops("audiences").out

    assert "Workspace site-a" in shown
    assert "VIP, until 1970-01-01 00:00:20 UTC" in shown
    assert "1970-01-01 00:00:30 UTC" in shown
    assert "not known" in shown
    assert "members" not in shown
    assert "site-b" not in shown


def key(name: str) -> str:
    return f"site-a#{name:0>64}"


def test_members_are_counted_on_demand_also_of_audiences_without_a_name(ops, aws) -> None:
    put_catalogue(aws, "site-a", {11: GOLD, 12: REMOVED})
    for number in range(3):
        put_person(aws, key(f"{number}"), state(11, 13, left=(12,)))
    put_person(aws, f"site-b#{'0':0>64}", state(11))
    put_person(aws, f"site-c#{'0':0>64}", state(11))

    shown = ops("audiences", "--sizes", "--site-id", "site-a", "--yes").out
    counted = [
        (each["site_id"], each["audience_id"], each["members"])
        for each in listed(ops, "--sizes", "--yes")
    ]

    assert counted == [
        ("site-a", 11, 3),
        ("site-a", 12, 0),
        ("site-a", 13, 3),
        ("site-b", 11, 1),
    ]
    assert "read units" in shown


def test_before_it_counts_it_says_what_that_takes_and_asks(ops, aws) -> None:
    put_catalogue(aws, "site-a", {11: GOLD})

    ended = ops("audiences", "--sizes", answers="n\n")

    assert ended.status == ABORTED
    assert "The table has about 1 items" in ended.out
    assert "Gold" not in ended.out


def test_a_person_who_cannot_be_read_is_said_to_be_missing(ops, aws) -> None:
    aws.dynamodb.put_item(TableName=STACK.table_name, Item={"pk": {"S": key("1")}})

    ended = ops("audiences", "--sizes", "--yes")

    assert ended.status == PROBLEM
    assert "1 people are missing" in ended.err


def test_without_an_audience_it_says_so(ops) -> None:
    ended = ops("audiences")

    assert (ended.status, ended.out) == (OK, "No message has named an audience yet.\n")
    assert listed(ops) == []


def test_a_catalogue_that_cannot_be_read_is_an_error(ops, aws) -> None:
    put_catalogue(aws, "site-a", {11: GOLD})
    aws.dynamodb.update_item(
        TableName=STACK.table_name,
        Key={"pk": {"S": "audiences#site-a"}},
        UpdateExpression="SET audiences = :newer",
        ExpressionAttributeValues={":newer": {"B": b"\x01"}},
    )

    ended = ops("audiences")

    assert ended.status == UNREACHABLE
    assert "a newer version wrote it?" in ended.err

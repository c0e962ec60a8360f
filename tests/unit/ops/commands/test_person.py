"""Showing a person whom two workspaces know."""

import json

import pytest

from handler.domain.audience import Audience
from handler.domain.state_codec import pack
from handler.domain.update import Identifier, person_key
from ops.commands.context import OK, PROBLEM, USAGE
from tests.builders import profile_of, state
from tests.unit.ops.builders import CREDENTIALS, SECRET, STACK, put_catalogue
from tools.template import table_schema

OF_SITE_A = ("--site-id", "site-a", "--id", "42")
BY_FORMER_EMAIL = ("--site-id", "site-a", "--email", "Ann@example.com")
READS_ALL = "Reading the whole table"
SCHEMA = table_schema()


@pytest.fixture
def workspaces(aws):
    """Have two workspaces with a person of the id 42."""
    aws.dynamodb.create_table(TableName=STACK.table_name, **SCHEMA)
    aws.secrets.create_secret(Name=SECRET, SecretString=json.dumps(CREDENTIALS))
    former = Identifier(is_id=False, set_at_ms=1, value="ann@example.com")
    for site_id in ("site-a", "site-b"):
        item = {
            "pk": {"S": person_key(site_id, profile_of())},
            "version": {"N": "1"},
            "timestamp": {"N": "1"},
            "identifier": {"S": "id:42"},
            "memberships": {"B": pack(state(11, former={former: 1}))},
        }
        aws.dynamodb.put_item(TableName=STACK.table_name, Item=item)


def test_a_person_of_another_workspace_is_not_shown(ops, workspaces) -> None:
    shown = ops("person", "show", *OF_SITE_A, "--json")

    assert shown.status == OK
    assert [person["site id"] for person in json.loads(shown.out)] == ["site-a"]


def test_a_workspace_that_does_not_exist_is_wrong_usage(ops, workspaces) -> None:
    ended = ops("person", "show", "--site-id", "site-z", "--id", "42")

    assert ended.status == USAGE
    assert "no workspace site-z, only: site-a" in ended.err


def test_a_person_is_shown_by_a_former_identifier_that_is_not_cleared_yet(ops, workspaces) -> None:
    ended = ops("person", "show", *BY_FORMER_EMAIL, "--reveal", "--json")

    assert ended.status == OK
    (person,) = json.loads(ended.out)
    assert person["site id"] == "site-a"
    assert person["known as"] == {"id": "42"}
    assert person["known as before"] == [{"email": "ann@example.com"}]
    assert READS_ALL in ended.err


def test_an_audience_is_shown_by_its_name(ops, workspaces, aws) -> None:
    before = json.loads(ops("person", "show", *OF_SITE_A, "--json").out)
    put_catalogue(aws, "site-a", {11: Audience("Gold", 20, {"VIP": 20})})

    after = json.loads(ops("person", "show", *OF_SITE_A, "--json").out)

    (unnamed,), (named,) = (list(each[0]["audiences"].values()) for each in (before, after))
    assert unnamed.startswith("in since ")
    assert named == f"Gold: {unnamed}"


def test_what_would_be_sent_is_as_the_workspace_s_entry_says(ops, workspaces, aws) -> None:
    entry = CREDENTIALS | {"create_people": False}
    aws.secrets.put_secret_value(SecretId=SECRET, SecretString=json.dumps(entry))

    (person,) = json.loads(ops("person", "show", *OF_SITE_A, "--json").out)

    assert person["would be sent"][0]["attributes"]["_update"] is True


def test_an_email_is_shown_only_if_it_is_to_be_revealed(ops, workspaces) -> None:
    assert "ann@example.com" in ops("person", "show", *BY_FORMER_EMAIL, "--reveal").out
    assert "ann@example.com" not in ops("person", "show", *BY_FORMER_EMAIL).out


@pytest.mark.parametrize(
    ("query", "status", "reads_all"),
    [
        (("--id", "42"), OK, False),
        (("--mpid", "5"), PROBLEM, False),
        (("--email", "x@example.com"), PROBLEM, True),
    ],
    ids=["known", "an unknown MPID", "an unknown email"],
)
def test_the_whole_table_is_read_only_if_nobody_has_the_identifier_now(
    ops, workspaces, query, status, reads_all
) -> None:
    ended = ops("person", "show", "--site-id", "site-a", *query)

    assert ended.status == status
    assert (READS_ALL in ended.err) is reads_all

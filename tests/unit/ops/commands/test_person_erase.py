"""Erasing people by requests to the function, and removing their dead letters."""

from __future__ import annotations

import json

import pytest

from handler.domain.erasure import read_erasure
from handler.domain.message import read_message
from handler.domain.update import Identifier, person_key
from ops.commands.context import ABORTED, OK, PROBLEM, USAGE
from tests.builders import body, profile, profile_of, state
from tests.unit.ops.builders import CREDENTIALS, SECRET, STACK, put_erasure, put_person
from tools.template import table_schema

FAR_AHEAD_MS = 9_999_999_999_000
EMAIL = "ann@example.com"


@pytest.fixture
def table(aws):
    """The table, with a person of the id 42 and a former email, and the secret."""
    aws.dynamodb.create_table(TableName=STACK.table_name, **table_schema())
    aws.secrets.create_secret(Name=SECRET, SecretString=json.dumps(CREDENTIALS))
    former = Identifier(is_id=False, set_at_ms=1, value=EMAIL)
    known = state(11, former={former: 1}, erased_at_ms=FAR_AHEAD_MS)
    put_person(aws, person_key("site-a", profile_of(mpid=-7)), known)


@pytest.fixture
def erased(aws, table):
    """Have the function's work done for some identifiers before anybody asks."""

    def record(*texts):
        for text in texts:
            put_erasure(aws, "site-a", text, at_ms=FAR_AHEAD_MS)

    return record


def requested(bodies, stack):
    """Return the identifiers in each request on the queue."""
    found = []
    for text in bodies(stack.queue_url):
        erasure = read_erasure(read_message(text, now=FAR_AHEAD_MS / 1000))
        assert erasure is not None
        found.append({identifier.text for identifier in erasure.identifiers})
    return sorted(found, key=sorted)


def test_a_person_is_asked_for_by_both_identifiers_at_once(ops, erased, bodies, stack) -> None:
    erased("id:42", f"email:{EMAIL}")

    ended = ops("person", "erase", "--id", "42", "--email", EMAIL, "--yes", "--json")

    assert ended.status == OK
    assert requested(bodies, stack) == [{"id:42", f"email:{EMAIL}"}]
    known = {"site id": "site-a", "key": person_key("site-a", profile_of(mpid=-7))}
    assert json.loads(ended.out)["erased"] == [known]


def test_an_mpid_stands_for_the_identifier_in_the_table(ops, erased, bodies, stack) -> None:
    erased("id:42")

    assert ops("person", "erase", "--mpid", "-7", "--yes").status == OK

    assert requested(bodies, stack) == [{"id:42"}]


def test_a_former_identifier_stands_for_the_present_one_too(ops, erased, bodies, stack) -> None:
    erased("id:42", f"email:{EMAIL}")

    ended = ops("person", "erase", "--email", EMAIL, "--yes")

    assert ended.status == OK
    assert requested(bodies, stack) == [{f"email:{EMAIL}"}, {"id:42"}]
    assert "Reading the whole table" in ended.err


def test_whoever_is_not_in_the_table_is_erased_too(ops, erased, bodies, stack) -> None:
    erased("id:43")

    assert ops("person", "erase", "--id", "43", "--yes").status == OK

    assert requested(bodies, stack) == [{"id:43"}]


def test_an_unknown_mpid_names_nobody(ops, table, bodies, stack) -> None:
    assert ops("person", "erase", "--mpid", "5", "--yes").status == PROBLEM

    assert bodies(stack.queue_url) == []


def test_all_in_a_file_are_erased(ops, erased, bodies, stack, tmp_path) -> None:
    erased("id:42", "id:43", "email:bo@example.com")
    file = tmp_path / "people.csv"
    file.write_text("customer_id,email\n42,\n 43 ,Bo@example.com\n")

    assert ops("person", "erase", "--file", file, "--yes").status == OK

    assert requested(bodies, stack) == [{"email:bo@example.com", "id:43"}, {"id:42"}]


@pytest.mark.parametrize(
    "text",
    ["", "email\n", "42\n", "customer_id,mpid\n42,7\n", "customer_id,email\n,\n", "email\na,b\n"],
)
def test_a_file_that_cannot_be_read_is_wrong_usage(ops, table, tmp_path, text) -> None:
    file = tmp_path / "people.csv"
    file.write_text(text)

    assert ops("person", "erase", "--file", file, "--yes").status == USAGE


@pytest.mark.parametrize(
    "arguments", [(), ("--id", "42", "--mpid", "7"), ("--mpid", "7", "--file", __file__)]
)
def test_people_are_named_in_one_way(ops, table, arguments) -> None:
    assert ops("person", "erase", *arguments, "--yes").status == USAGE


def test_without_a_yes_nothing_is_sent(ops, table, bodies, stack) -> None:
    ended = ops("person", "erase", "--id", "42", answers="n\n")

    assert ended.status == ABORTED
    assert bodies(stack.queue_url) == []
    assert "42" not in ended.out + ended.err


def test_dead_letters_that_name_the_person_are_named_and_left(
    ops, erased, set_aside, bodies, stack
) -> None:
    erased("id:42")
    set_aside(source="m-1", body=body(profile(mpid=None)))
    set_aside(source="m-2", body=body(profile(mpid=None, customer_id="43")))
    set_aside(source="m-3", body=body(profile(customer_id=None, email="x@example.com")))

    ended = ops("person", "erase", "--id", "42", "--yes", "--json")

    assert ended.status == PROBLEM
    assert sorted(json.loads(ended.out)["dead letters"]) == ["m-1", "m-3"]
    assert len(bodies(stack.dead_letter_queue_url)) == 3


def test_dead_letters_that_name_the_person_are_removed_and_no_others(
    ops, erased, set_aside, bodies, stack
) -> None:
    erased("id:42")
    set_aside(source="m-1", body=body(profile()))
    set_aside(source="m-2", body=body(profile(mpid=8, customer_id="43")))

    ended = ops("person", "erase", "--id", "42", "--letters", "--yes", "--json")

    assert ended.status == OK
    assert json.loads(ended.out)["dead letters removed"] == 1
    assert bodies(stack.dead_letter_queue_url) == [body(profile(mpid=8, customer_id="43"))]

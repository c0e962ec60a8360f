"""The command that compares a file with the table."""

import json
import os
import time

import pytest

from handler.domain.audience import Audience
from handler.domain.membership import PersonState
from handler.domain.message import read_message
from handler.domain.profile import read_profile
from handler.domain.update import Identifier, person_key
from ops.commands.context import ABORTED, OK, PROBLEM, USAGE
from tests.builders import profile_of, state
from tests.unit.ops.builders import CREDENTIALS, SECRET, STACK, put_catalogue, put_person
from tools.template import table_schema

SCHEMA = table_schema()
HEAD = "customer_id,mpid,audience_id,action,since\n"
NOW_S = int(time.time())
EARLIER_MS = (NOW_S - 3600) * 1000


def in_table(number, *member_of, **fields) -> tuple[str, PersonState]:
    known_as = Identifier(is_id=True, set_at_ms=EARLIER_MS, value=f"c-{number}")
    kept = state(*member_of, at_ms=EARLIER_MS, identifier=known_as, **fields)
    return person_key("site-a", profile_of(mpid=number)), kept


@pytest.fixture(autouse=True)
def table(aws):
    """Have a table with people 1 and 2 in audience 11, and person 3, who has left it."""
    aws.dynamodb.create_table(TableName=STACK.table_name, **SCHEMA)
    aws.secrets.create_secret(Name=SECRET, SecretString=json.dumps(CREDENTIALS))
    put_catalogue(aws, "site-a", {11: Audience("VIP", EARLIER_MS)})
    for person in (in_table(1, 11), in_table(2, 11), in_table(3, left=(11,))):
        put_person(aws, *person)


@pytest.fixture
def file(tmp_path):
    """Have a file with people 1 and 3, made now."""
    path = tmp_path / "members.csv"
    path.write_text(HEAD + "c-1,1,11,entered,\nc-3,3,11,entered,\n")
    os.utime(path, (NOW_S, NOW_S))
    return path


@pytest.fixture
def sent(aws, stack):
    """Return what is on the queue: audience actions by customer id."""

    def changes():
        answer = aws.sqs.receive_message(QueueUrl=stack.queue_url, MaxNumberOfMessages=10)
        profiles = [
            read_profile(raw)
            for each in answer.get("Messages", ())
            for raw in read_message(each["Body"], now=time.time()).profiles
        ]
        return {each.customer_id: each.changes[0].is_member for each in profiles}

    return changes


def test_each_audience_has_its_counts_and_nothing_is_sent(ops, file, sent) -> None:
    ended = ops("reconcile", file, "--yes", "--json")

    assert ended.status == PROBLEM
    assert json.loads(ended.out) == {
        "audiences": [
            {
                "audience_id": 11,
                "in_file": 2,
                "in_table": 2,
                "missing": 1,
                "extra": 1,
                "newer": 0,
            }
        ],
        "drift": 2,
        "sent": 0,
    }
    assert sent() == {}


def test_a_person_at_a_terminal_sees_names_and_no_people(ops, file) -> None:
    shown = ops("reconcile", file, answers="y\n").out

    assert "VIP" in shown
    assert "Drift 2. `--fix` sends these changes" in shown
    assert "c-2" not in shown


def test_people_are_shown_if_they_are_asked_for(ops, file) -> None:
    shown = ops("reconcile", file, "--reveal", "--yes").out
    assert "`--reveal`" not in shown
    people = json.loads(ops("reconcile", file, "--reveal", "--yes", "--json").out)["people"]

    assert {"c-2", "c-3"} <= {*shown.split()}
    assert [(each["identities"], each["is_member"]) for each in people] == [
        ({"customer": "c-2"}, False),
        ({"customer": "c-3"}, True),
    ]


def test_without_drift_no_people_are_shown(ops, file) -> None:
    file.write_text(HEAD + "c-1,1,11,entered,\nc-2,2,11,entered,\n")

    shown = ops("reconcile", file, "--reveal", "--yes").out

    assert "Who differs" not in shown


def test_a_fix_sends_what_differs_after_a_question(ops, file, sent) -> None:
    refused = ops("reconcile", file, "--fix", answers="y\nn\n")
    assert (refused.status, sent()) == (ABORTED, {})

    fixed = ops("reconcile", file, "--fix", answers="y\ny\n")

    assert fixed.status == OK
    assert "Send 2 changes to " in fixed.err
    assert "Sent: 2." in fixed.out
    assert sent() == {"c-2": False, "c-3": True}


def test_a_file_without_rows_is_not_compared(ops, file) -> None:
    file.write_text(HEAD)

    ended = ops("reconcile", file, "--yes")

    assert ended.status == USAGE
    assert "has no rows, so it names no audience to compare" in ended.err


def test_a_file_that_changes_meanwhile_is_not_sent(ops, aws, file, sent) -> None:
    def change(**_):
        file.write_text(HEAD + "c-9,9,11,entered,\n")

    aws.dynamodb.meta.events.register("before-call.dynamodb.Scan", change)
    ended = ops("reconcile", file, "--fix", "--yes")
    aws.dynamodb.meta.events.unregister("before-call.dynamodb.Scan", change)

    assert ended.status == USAGE
    assert "has changed since the command started" in ended.err
    assert sent() == {}


def test_without_a_difference_nothing_is_asked(ops, file, sent) -> None:
    file.write_text(HEAD + "c-1,1,11,entered,\nc-2,2,11,entered,\n")

    ended = ops("reconcile", file, "--fix", answers="y\n")

    assert ended.status == OK
    assert "Nothing differs: drift 0." in ended.out
    assert sent() == {}


def test_the_table_is_read_after_a_question(ops, file) -> None:
    ended = ops("reconcile", file, answers="n\n")

    assert ended.status == ABORTED
    assert "Reading all of it takes a second or less" in ended.out


def test_bad_rows_are_refused_as_their_people_would_seem_to_have_left(ops, file, sent) -> None:
    file.write_text(HEAD + "c-1,1,11,entered,\nc-2,x,11,entered,\n")

    ended = ops("reconcile", file, "--fix", "--yes")

    assert ended.status == USAGE
    assert "mpid: Expected" in ended.out
    assert "Nothing was compared" in ended.out
    assert sent() == {}


def test_only_the_first_bad_rows_are_shown(ops, file) -> None:
    file.write_text(HEAD + "c-1,x,11,entered,\n" * 25)

    assert "and 5 more" in ops("reconcile", file).out


def test_people_who_cannot_be_read_are_counted(ops, file, aws) -> None:
    key, _ = in_table(9)
    aws.dynamodb.put_item(TableName=STACK.table_name, Item={"pk": {"S": key}})
    file.write_text(HEAD + "c-1,1,11,entered,\nc-2,2,11,entered,\n")

    ended = ops("reconcile", file, "--yes")

    assert ended.status == PROBLEM
    assert "1 people" in ended.err


def test_a_change_of_the_table_that_is_newer_than_the_file_stays(ops, file, sent) -> None:
    os.utime(file, (NOW_S - 7200, NOW_S - 7200))

    ended = ops("reconcile", file, "--fix", "--yes", "--json")

    assert ended.status == OK
    (counts,) = json.loads(ended.out)["audiences"]
    assert (counts["newer"], counts["missing"], counts["extra"]) == (2, 0, 0)
    assert sent() == {}

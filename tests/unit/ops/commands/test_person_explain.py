"""Why a person is, or is not, in an audience."""

import json
import time
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from handler.domain.audience import Audience, Catalogue, pack_catalogue
from handler.domain.state_codec import pack
from handler.domain.update import Identifier, hash_in, person_key
from handler.table.keys import catalogue_key
from handler.table.suspensions import Suspensions
from ops.commands.context import OK, PROBLEM, USAGE, Context
from tests.builders import NOW_MS, audience, body, deadline, profile, profile_of, state
from tests.unit.ops.builders import SECRET, STACK, mapping
from tools.template import table_schema

EXPLAIN = ("person", "explain", "--site-id", "site-a", "--id", "42")
KEY = person_key("site-a", profile_of())
HASH = hash_in(KEY)
FORMER = Identifier(is_id=False, set_at_ms=1, value="ann@example.com")
NOW = time.time()
STATE = state(11, 12, left=(13,), former={FORMER: 1}, set_at={"email": NOW_MS * 2})
CATALOGUE = Catalogue(
    1,
    {
        11: Audience("Spring sale", 2, {"Winter sale": 2}),
        12: Audience("Loyal", 1, removed_at_ms=NOW_MS),
        13: Audience("Lapsed", 1),
    },
)


@pytest.fixture
def mappings():
    """The event source mappings; a test may replace one."""
    return {queue: mapping(queue) for queue in ("queue", "retry queue")}


@pytest.fixture
def world(aws, monkeypatch, mappings):
    """A table with a person and names of audiences, an empty log, and mappings."""
    aws.dynamodb.create_table(TableName=STACK.table_name, **table_schema())
    aws.dynamodb.put_item(
        TableName=STACK.table_name,
        Item={
            "pk": {"S": KEY},
            "version": {"N": "3"},
            "timestamp": {"N": str(STATE.timestamp)},
            "identifier": {"S": "id:42"},
            "memberships": {"B": pack(STATE)},
        },
    )
    aws.dynamodb.put_item(
        TableName=STACK.table_name,
        Item={
            "pk": {"S": catalogue_key("site-a")},
            "version": {"N": "1"},
            "audiences": {"B": pack_catalogue(CATALOGUE)},
        },
    )
    aws.logs.create_log_group(logGroupName=STACK.log_group)
    aws.logs.create_log_stream(logGroupName=STACK.log_group, logStreamName="s")
    aws.functions = SimpleNamespace(
        list_event_source_mappings=lambda **_: {"EventSourceMappings": list(mappings.values())}
    )
    aws.cloudwatch = SimpleNamespace(get_metric_statistics=lambda **_: {"Datapoints": []})
    monkeypatch.setattr(Context, "log_level", "INFO")
    return aws


@pytest.fixture
def log(world):
    """Log a line of ours, so many seconds ago."""

    def logged(event, *, ago=60.0, **fields):
        at = datetime.fromtimestamp(NOW - ago, UTC).strftime("%Y-%m-%d %H:%M:%S,%f")[:-3] + "+0000"
        line = json.dumps({"level": "X", "message": event, "timestamp": at, **fields})
        event = {"timestamp": int((NOW - ago) * 1000), "message": line}
        world.logs.put_log_events(
            logGroupName=STACK.log_group, logStreamName="s", logEvents=[event]
        )

    return logged


def flat(text):
    """The text without its line breaks: a terminal's width is none of a test's business."""
    return " ".join(text.split())


def test_who_a_person_is_is_shown_without_personal_data(ops, world) -> None:
    ended = ops(*EXPLAIN)
    found = json.loads(ops(*EXPLAIN, "--json").out)

    (person,) = found["people"]
    assert (person["site_id"], person["person"], person["version"]) == ("site-a", HASH, 3)
    assert ended.status == OK
    assert HASH in ended.out
    assert not any(text in ended.out + json.dumps(found) for text in ("id 42", "ann@example.com"))
    revealed = ops(*EXPLAIN, "--reveal").out
    assert "id 42" in revealed
    assert "email ann@example.com" in revealed


def test_each_audience_has_its_name_and_what_was_said_last(ops, world) -> None:
    (person,) = json.loads(ops(*EXPLAIN, "--json").out)["people"]
    shown = flat(ops(*EXPLAIN).out)

    said = {
        each["audience_id"]: (each["name"], each["is_member"]) for each in person["memberships"]
    }
    assert said == {11: ("Spring sale", True), 12: ("Loyal", True), 13: ("Lapsed", False)}
    assert {each["said_at"] for each in person["memberships"]} == {NOW_MS / 1000}
    assert "formerly Winter sale" in shown
    assert "removed by mParticle" in shown


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        ("11", "They are in audience 11 (Spring sale)"),
        ("spring SALE", "They are in audience 11 (Spring sale)"),
        ("Winter sale", "They are in audience 11 (Spring sale)"),
        ("13", "They are not in audience 13 (Lapsed): mParticle said that they left"),
        ("99", "Nothing is kept of audience 99 for them."),
        ("99", "No message has named this audience"),
        ("12", "The audience: removed by mParticle"),
    ],
)
def test_a_question_about_one_audience_is_answered_in_a_sentence(
    ops, world, asked, answer
) -> None:
    assert answer in flat(ops(*EXPLAIN, "--audience", asked).out)


def test_the_answer_comes_before_who_the_person_is(ops, world) -> None:
    shown = ops(*EXPLAIN, "--audience", "11").out

    assert shown.index("They are in audience") < shown.index("hash of the key")


def test_a_name_that_no_message_used_is_wrong_usage(ops, world) -> None:
    ended = ops(*EXPLAIN, "--audience", "Spring")

    assert ended.status == USAGE
    assert "no message has named an audience `Spring`" in ended.err


def test_only_the_newest_audiences_are_shown_unless_one_is_asked_for(ops, world) -> None:
    many = state(*range(100, 120))
    world.dynamodb.update_item(
        TableName=STACK.table_name,
        Key={"pk": {"S": KEY}},
        UpdateExpression="SET memberships = :m",
        ExpressionAttributeValues={":m": {"B": pack(many)}},
    )

    assert "5 more are not shown" in ops(*EXPLAIN).out
    assert "more are not shown" not in ops(*EXPLAIN, "--audience", "119").out
    assert len(json.loads(ops(*EXPLAIN, "--json").out)["people"][0]["memberships"]) == 20


def test_dead_letters_that_name_the_person_are_a_problem_with_a_next_step(
    ops, world, set_aside
) -> None:
    set_aside("MalformedProfile", "m-1", body(profile(audience("x"), customer_id="42")))
    set_aside("NoIdentity", "m-2", body(profile(customer_id="43")))
    set_aside("MalformedMessage", "m-3", "no json")

    ended = ops(*EXPLAIN)
    letters = json.loads(ops(*EXPLAIN, "--json").out)["letters"]

    assert ended.status == PROBLEM
    assert [letter["source_message_id"] for letter in letters["naming"]] == ["m-1"]
    assert (letters["naming"][0]["account_id"], letters["unreadable"]) == (1001, 1)
    assert "1 cannot be read, and may name anybody" in flat(ended.out)
    assert "ops dlq redrive" in ended.out


def test_dead_letters_that_are_hidden_make_the_answer_incomplete(
    ops, world, set_aside, receive
) -> None:
    set_aside(body=body(profile(customer_id="42")))
    receive()

    ended = ops(*EXPLAIN)

    assert ended.status == PROBLEM
    assert "About 1 are hidden" in ended.out
    assert "ask again in 2 minutes" in ended.out


def test_a_person_who_is_not_known_is_looked_for_in_the_dead_letters_too(
    ops, world, set_aside
) -> None:
    set_aside("UnknownAccount", "m-1", body(profile(customer_id="77")))

    ended = ops("person", "explain", "--site-id", "site-a", "--id", "77")

    assert ended.status == PROBLEM
    assert "The table has no such person" in ended.out
    assert "UnknownAccount" in ended.out


def test_messages_that_wait_are_counted_and_need_no_action(ops, world, stack) -> None:
    world.sqs.send_message(QueueUrl=stack.queue_url, MessageBody=body(profile()))

    ended = ops(*EXPLAIN)

    assert ended.status == OK
    assert "about 1 waiting" in ended.out
    assert "SQS has no search" in flat(ended.out)
    assert "ask again when the queues are empty" in ended.out


def test_a_queue_that_is_not_read_is_a_problem(ops, world, mappings) -> None:
    mappings["queue"] = mapping("queue", "Disabled")

    ended = ops(*EXPLAIN)

    assert ended.status == PROBLEM
    assert "its event source mapping is Disabled" in flat(ended.out)
    assert "ops mapping enable" in ended.out


def test_a_suspended_account_of_the_secret_is_a_problem(ops, world) -> None:
    entry = {"site_id": "site-a", "api_key": "k"}
    content = {"accounts": {"1001": entry, "1002": entry, "default": entry}}
    world.secrets.create_secret(Name=SECRET, SecretString=json.dumps(content))
    suspensions = Suspensions(world.dynamodb, STACK.table_name)
    suspensions.suspend([1002], now=NOW, deadline=deadline())

    ended = ops("person", "explain", "--id", "42")
    found = json.loads(ops("person", "explain", "--id", "42", "--json").out)

    assert ended.status == PROBLEM
    assert found["waiting"]["suspended"] == {"1001": False, "1002": True}
    assert "Credentials are refused" in ended.out


def test_an_account_that_a_dead_letter_names_is_looked_at(ops, world, set_aside) -> None:
    set_aside(body=body(profile(customer_id="42"), account_id=1003))

    found = json.loads(ops(*EXPLAIN, "--json").out)

    assert found["waiting"]["suspended"] == {"1003": False}


def test_why_messages_are_retried_is_told(ops, world, log) -> None:
    log("message.retried", level="WARNING", error_type="UnavailableError", reason="503 of theirs")

    shown = flat(ops(*EXPLAIN).out)

    assert "Retried in the last 60 minutes: 503 of theirs (1 times)" in shown
    assert "Changes are retried" in shown


def delivered(log, *, ago, sent_timestamp=STATE.timestamp):
    log("person.delivered", ago=ago, person=HASH, sent_timestamp=sent_timestamp)


def test_the_newest_delivery_is_found_in_the_log_by_the_hash(ops, world, log) -> None:
    delivered(log, ago=5 * 3600, sent_timestamp=STATE.timestamp - 1)
    delivered(log, ago=3 * 3600)
    log("membership_list.overflow", ago=60, person=HASH)
    log("person.delivered", ago=30, person="another", sent_timestamp=1)

    shown = flat(ops(*EXPLAIN).out)

    assert "(3 hours ago). It was of the newest state." in shown
    assert "LogLevel" not in shown


def test_a_delivery_of_an_older_state_says_so(ops, world, log) -> None:
    delivered(log, ago=120, sent_timestamp=STATE.timestamp - 1)

    assert "The state has changed since." in flat(ops(*EXPLAIN).out)


def test_the_log_cannot_tell_unless_its_level_is_debug(ops, world, monkeypatch) -> None:
    at_info = flat(ops(*EXPLAIN).out)
    monkeypatch.setattr(Context, "log_level", "DEBUG")
    at_debug = flat(ops(*EXPLAIN).out)

    assert "cannot be told, as LogLevel is INFO" in at_info
    assert 'make deploy PARAMETERS="LogLevel=DEBUG"' in at_info
    assert "none since" in at_debug
    assert "make deploy" not in at_debug


def test_the_log_is_read_no_further_back_than_asked(ops, world, log) -> None:
    delivered(log, ago=3 * 3600)

    assert "(3 hours ago). It was" in flat(ops(*EXPLAIN).out)
    assert "cannot be told" in flat(ops(*EXPLAIN, "--since", "60").out)


def test_one_person_must_be_named(ops, world) -> None:
    assert ops("person", "explain", "--site-id", "site-a").status == USAGE

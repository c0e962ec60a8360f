"""What the operator's tool thinks, without AWS."""

from __future__ import annotations

import io
import json
from dataclasses import asdict, replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber
from click.testing import CliRunner
from rich.console import Console

from handler.domain.state_codec import pack
from handler.domain.update import Identifier, person_key
from handler.domain.workspace import Workspace
from handler.errors import PermanentError, UnusableCredentialsError
from ops import dead_letters, masking, secret, show
from ops.checks import Check, Checks
from ops.cli import cli, run
from ops.commands.context import FINE, OUT_OF_REACH, STOPPED, TROUBLE, USAGE, Ops
from ops.dead_letters import DeadLetter, DeadLetters, Move, Moved, Selection
from ops.logs import read_log
from ops.people import Sought, would_be_sent
from ops.stack import Ingress, Stack
from ops.status import Depth, Invocations, Status, Trouble, troubles
from tests.builders import NOW, body, profile, profile_of, state
from tests.stack_template import PROJECT

DATE = {"HTTPHeaders": {"date": "Sat, 21 Nov 2026 22:58:14 GMT"}}
STACK = Stack("s", "", "q", "arn:q", "r", "d", "arn:d", "t", "f", "l", ())


def letter(error_type="NoIdentity", source="m-1", sent_at=NOW, text="{}", **fields):
    return DeadLetter("id", error_type, "why", source, sent_at, text, **fields)


# --- masking ---


def test_a_body_is_masked_but_for_what_names_nobody() -> None:
    text = body(
        profile(mpid=-77, customer_id="customer-7", email="ann@example.com", new_field="secret"),
        account_settings="key",
    )

    shown = json.dumps(masking.masked_body(text))

    for hidden in ("-77", "customer-7", "ann@example.com", "secret"):
        assert hidden not in shown
    assert '"audience_id": 11' in shown
    assert "audience_membership_change_request" in shown


@pytest.mark.parametrize(
    "attributes",
    [
        {"In treatment": "ann"},
        {"In treatment": True},
        {"SegmentMembership": "ann"},
        {"SegmentMembership ann": "'11'"},
        {"type": "ann"},
        {"audience_name": "ann"},
        {"timestamp": "ann"},
        [{"key": "ann", "value": "ann", "action": "ann"}],
    ],
)
def test_an_attribute_of_somebody_elses_is_masked_whatever_its_name(attributes) -> None:
    in_a_body = masking.masked_body(body({"user_attributes": attributes}))
    entity = masking.masked_json({"type": "person", "attributes": attributes})

    for shown in (in_a_body["user_profiles"][0]["user_attributes"], entity["attributes"]):
        values = shown.values() if isinstance(shown, dict) else shown[0].values()
        assert all(set(value) == {"•"} for value in values)


@pytest.mark.parametrize(
    "name", ["ada@example.com", "+1 555 123", "5551234567", "Ada Lovelace", "a" * 41, "ä", ""]
)
def test_a_field_whose_name_is_no_plain_word_is_masked_with_its_name(name) -> None:
    shown = masking.masked_json({"user_identities": {name: {"type": "ann"}, "customer_id": 7}})

    assert shown == {
        "user_identities": {masking.masked(name): {"type": "•••"}, "customer_id": "•"}
    }


def test_an_attribute_per_audience_keeps_its_name_in_an_entity() -> None:
    attributes = {"In VIP (30 days)": True, "In ada@example.com": True}

    shown = masking.masked_json({"attributes": attributes})["attributes"]

    assert [*shown] == ["In VIP (30 days)", "•" * 12]


def test_fields_whose_names_look_alike_when_masked_are_all_shown() -> None:
    shown = masking.masked_json({"a@b": 1, "c@d": 2, "e@f": 3})

    assert list(shown.values()) == ["•"] * 3
    assert not any("@" in name for name in shown)


def test_of_the_ids_only_those_that_name_nobody_are_shown() -> None:
    uuid = "5a90a977-95d8-4e5d-aab3-0123456789AB"

    assert masking.masked_json({"id": uuid}) == {"id": uuid}
    assert masking.masked_json({"MessageId": uuid}) == {"MessageId": uuid}
    for other in ("555-123-4567", f"{uuid}-7", "5a90a977"):
        assert masking.masked_json({"id": other})["id"] == masking.masked(other)


def test_of_an_entity_the_audiences_are_shown() -> None:
    lists = {"SegmentMembership": "'11','-12'", "SegmentMembership 2": "'13'"}
    entity = {
        "type": "person",
        "action": "identify",
        "timestamp": 7,
        "identifiers": {"id": "customer-7"},
        "attributes": {**lists, "SegmentMembership 3": None, "first_name": "Ann"},
    }

    shown = masking.masked_json([entity])

    assert shown == [
        {
            **entity,
            "identifiers": {"id": "•" * 10},
            "attributes": {**lists, "SegmentMembership 3": None, "first_name": "•••"},
        }
    ]
    assert masking.masked_json({"attributes": {"SegmentMembership": ""}}) == {
        "attributes": {"SegmentMembership": ""}
    }


def test_a_body_in_an_envelope_is_masked_too() -> None:
    text = json.dumps({"Type": "Notification", "Message": body(profile(customer_id="customer-7"))})

    shown = masking.masked_body(text)

    assert "customer-7" not in json.dumps(shown)
    assert shown["Message"]["user_profiles"][0]["audiences"][0]["audience_id"] == 11


@pytest.mark.parametrize(
    "text",
    [
        "ann@example.com",
        '"ann@example.com"',
        '["ann@example.com"]',
        '{"id": "ann@example.com", "type": "ann@example.com", "timestamp": "ann@example.com"}',
        '{"id": "a',
        "[" * 9000,
        "[" * 900 + "]" * 900,
    ],
)
def test_what_is_no_message_is_not_shown(text) -> None:
    assert "ann@example.com" not in str(masking.masked_body(text))


# --- dead letters ---


def test_letters_are_grouped_with_the_oldest_to_stand_for_them() -> None:
    groups = dead_letters.grouped(
        [letter(sent_at=5, source="b"), letter("Other"), letter(sent_at=3, source="a")]
    )

    assert [(one.error_type, one.count) for one in groups] == [("NoIdentity", 2), ("Other", 1)]
    assert groups[0].oldest_sent_at == 3
    assert groups[0].source_message_ids == ("a", "b")


@pytest.mark.parametrize(
    ("selection", "is_meant"),
    [
        (Selection(), True),
        (Selection(error_types=frozenset({"NoIdentity"})), True),
        (Selection(error_types=frozenset({"Other"})), False),
        (Selection(source_message_ids=frozenset({"m-1"})), True),
        (Selection(frozenset({"NoIdentity"}), frozenset({"m-2"})), False),
    ],
)
def test_a_selection_takes_what_all_its_parts_take(selection, is_meant) -> None:
    assert selection.takes(letter()) is is_meant


def test_batches_keep_to_the_limits_of_sqs() -> None:
    bodies = ["x"] * 12 + ["y" * 200_000] * 2 + ["z" * 300_000, "x"]

    batches = list(dead_letters.batches(bodies))

    assert [list(one) for one in batches] == [[*range(10)], [10, 11, 12], [13], [14], [15]]
    assert list(dead_letters.batches([])) == []


def test_saved_letters_are_read_back() -> None:
    saved = "".join(map(dead_letters.written, [letter(text="one\nline"), letter(text="two")]))

    assert dead_letters.read_bodies(saved) == ["one\nline", "two"]
    assert dead_letters.read_bodies(dead_letters.written(letter(text="one"))) == ["one"]


def test_an_event_and_a_message_are_read_as_well() -> None:
    assert dead_letters.read_bodies('{"Records": [{"body": "a"}, {"body": "b"}]}') == ["a", "b"]
    assert dead_letters.read_bodies(body()) == [body()]


@pytest.mark.parametrize("text", ["[1]", "no json", '{"body": 1}\n{"body": 2}'])
def test_what_is_no_file_of_messages_is_refused(text) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - whatever reads it says what is wrong
        dead_letters.read_bodies(text)


@pytest.fixture
def sqs():
    client = boto3.client("sqs")
    with Stubber(client) as stubbed:
        yield client, stubbed
        stubbed.assert_no_pending_responses()


def count(stubbed, *, waiting, hidden=0):
    counts = {
        "ApproximateNumberOfMessages": str(waiting),
        "ApproximateNumberOfMessagesNotVisible": str(hidden),
    }
    stubbed.add_response("get_queue_attributes", {"Attributes": counts})


def test_sqs_redrives_everything_by_itself_where_it_offers_to(sqs) -> None:
    client, stubbed = sqs
    stubbed.add_response(
        "start_message_move_task",
        {"TaskHandle": "h"},
        {"SourceArn": "arn:d", "DestinationArn": "arn:q", "MaxNumberOfMessagesPerSecond": 7},
    )
    stubbed.add_response("list_message_move_tasks", {"Results": []})  # not listed yet
    for task in (
        {"Status": "RUNNING", "ApproximateNumberOfMessagesMoved": 1},
        {
            "Status": "FAILED",
            "ApproximateNumberOfMessagesMoved": 2,
            "ApproximateNumberOfMessagesToMove": 3,
            "FailureReason": "AccessDenied",
        },
    ):
        stubbed.add_response("list_message_move_tasks", {"Results": [task]})
    letters = DeadLetters(client, STACK, sleep=lambda _: None)

    assert letters.start_move(rate=7)
    assert list(letters.follow_move()) == [
        Move("RUNNING", 1, 1),
        Move("FAILED", 2, 3, "AccessDenied"),
    ]


def test_a_redrive_that_sqs_does_not_list_is_given_up_on(sqs) -> None:
    client, stubbed = sqs
    for _ in range(20):
        stubbed.add_response("list_message_move_tasks", {})
    letters = DeadLetters(client, STACK, sleep=lambda _: None)

    (move,) = letters.follow_move()

    assert (move.status, move.failure_reason) == ("UNKNOWN", "SQS lists no such task")


def test_where_sqs_does_not_offer_to_the_tool_redrives(sqs) -> None:
    client, stubbed = sqs
    stubbed.add_client_error("start_message_move_task", "InvalidAction")

    assert not DeadLetters(client, STACK, sleep=lambda _: None).start_move(rate=7)


def test_a_redrive_that_is_not_permitted_is_an_error(sqs) -> None:
    client, stubbed = sqs
    stubbed.add_client_error("start_message_move_task", "AccessDenied")

    with pytest.raises(ClientError):
        DeadLetters(client, STACK, sleep=lambda _: None).start_move(rate=7)


def test_what_was_not_sent_is_not_deleted(sqs) -> None:
    client, stubbed = sqs
    received = [
        {
            "MessageId": name,
            "ReceiptHandle": f"handle-{name}",
            "Body": name,
            "Attributes": {"SentTimestamp": "1"},
        }
        for name in ("a", "b")
    ]
    count(stubbed, waiting=2)
    stubbed.add_response("receive_message", {"Messages": received, "ResponseMetadata": DATE})
    stubbed.add_response(
        "send_message_batch",
        {
            "Successful": [{"Id": "1", "MessageId": "new", "MD5OfMessageBody": ""}],
            "Failed": [{"Id": "0", "SenderFault": False, "Code": "InternalError"}],
        },
    )
    stubbed.add_response(
        "delete_message_batch",
        {"Successful": [{"Id": "0"}], "Failed": []},
        {"QueueUrl": "d", "Entries": [{"Id": "0", "ReceiptHandle": "handle-b"}]},
    )
    given_back = [{"Id": "0", "ReceiptHandle": "handle-a", "VisibilityTimeout": 0}]
    stubbed.add_response(
        "change_message_visibility_batch",
        {"Successful": [], "Failed": []},
        {"QueueUrl": "d", "Entries": given_back},
    )
    naps: list[float] = []
    letters = DeadLetters(client, STACK, sleep=naps.append)

    walk = letters.walk()
    moved = list(letters.redrive(next(walk), rate=4))
    walk.close()

    assert moved == [Moved(sent=1, not_sent=1, not_deleted=0)]
    assert naps == [0.5]  # two messages, at four a second


ATTRIBUTES = {
    name: {"DataType": "String", "StringValue": value}
    for name, value in (
        ("ErrorType", "NoIdentity"),
        ("ErrorMessage", "of its first time"),
        ("SourceMessageId", "m-1"),
    )
}


@pytest.mark.parametrize(
    ("system", "told"),
    [
        ({}, ("NoIdentity", "of its first time", "m-1")),
        (
            {"DeadLetterQueueSourceArn": "arn:q"},
            ("none", "received too often; moved by SQS", "moved"),
        ),
    ],
)
def test_what_sqs_itself_moved_has_no_reason_whatever_it_carries(sqs, system, told) -> None:
    client, stubbed = sqs
    received = {
        "MessageId": "moved",
        "ReceiptHandle": "handle",
        "Body": "{}",
        "Attributes": {"SentTimestamp": "1", **system},
        "MessageAttributes": ATTRIBUTES,
    }
    count(stubbed, waiting=1)
    stubbed.add_response(
        "receive_message",
        {"Messages": [received], "ResponseMetadata": DATE},
        {
            "QueueUrl": "d",
            "MaxNumberOfMessages": 10,
            "VisibilityTimeout": 120,
            "WaitTimeSeconds": 1,
            "MessageAttributeNames": ["All"],
            "MessageSystemAttributeNames": ["SentTimestamp", "DeadLetterQueueSourceArn"],
        },
    )
    stubbed.add_response("change_message_visibility_batch", {"Successful": [], "Failed": []})

    walk = DeadLetters(client, STACK, sleep=lambda _: None).walk()
    (letter,) = next(walk)
    walk.close()

    assert (letter.error_type, letter.error_message, letter.source_message_id) == told


def test_what_sqs_moved_from_the_retry_queue_has_the_reason_of_its_first_retry(sqs) -> None:
    client, stubbed = sqs
    texts = {"SourceMessageId": "m-1", "RetryReason": "UnavailableError: 503"}
    received = {
        "MessageId": "moved",
        "ReceiptHandle": "handle",
        "Body": "{}",
        "Attributes": {"SentTimestamp": "1", "DeadLetterQueueSourceArn": "arn:r"},
        "MessageAttributes": {
            name: {"DataType": "String", "StringValue": text} for name, text in texts.items()
        },
    }
    count(stubbed, waiting=1)
    stubbed.add_response("receive_message", {"Messages": [received], "ResponseMetadata": DATE})
    stubbed.add_response("change_message_visibility_batch", {"Successful": [], "Failed": []})

    walk = DeadLetters(client, STACK, sleep=lambda _: None).walk()
    (letter,) = next(walk)
    walk.close()

    assert (letter.error_type, letter.source_message_id) == ("none", "m-1")
    assert letter.error_message == (
        "received too often from the retry queue; moved by SQS; first retried for "
        "UnavailableError: 503"
    )


# --- status ---


def test_the_log_is_summed_up_by_what_went_wrong() -> None:
    retried = {"level": "WARNING", "message": "message.retried", "error_type": "E", "reason": "r"}
    lines = [
        json.dumps(retried | {"message_id": "1"}),
        json.dumps(retried | {"message_id": "2"}),
        json.dumps({"level": "INFO", "message": "batch.done", "reason": "Task timed out"}),
        "[ERROR] MisconfiguredError: setting X is missing\nTraceback (most recent call last):",
        "REPORT RequestId",
        "7",
    ]

    assert troubles("forwarder", lines) == [
        Trouble("forwarder", "message.retried", "E", "r", 2),
        Trouble("forwarder", "invocation.failed", "MisconfiguredError", "setting X is missing", 1),
    ]


@pytest.mark.parametrize(
    ("line", "error_type", "reason"),
    [
        (
            "2026-11-21T22:58:14.417Z 5f3c Task timed out after 60.03 seconds\n\n",
            "Timeout",
            "Task timed out after 60.03 seconds",
        ),
        (
            "RequestId: 5f3c Error: Runtime exited with error: signal: killed\nRuntime.ExitError",
            "Crash",
            "Runtime exited with error: signal: killed",
        ),
        (
            "[ERROR] Runtime.ImportModuleError: Unable to import module 'handler.app'",
            "Runtime.ImportModuleError",
            "Unable to import module 'handler.app'",
        ),
        (
            "handler.errors.MisconfiguredError: setting X is missing",
            "MisconfiguredError",
            "setting X is missing",
        ),
        ("[ERROR] MemoryError\nTraceback (most recent call last):", "MemoryError", ""),
    ],
)
def test_what_lambda_itself_says_of_a_failure_counts(line, error_type, reason) -> None:
    assert troubles("ingress", [line]) == [
        Trouble("ingress", "invocation.failed", error_type, reason, 1)
    ]


@pytest.fixture
def logs():
    client = boto3.client("logs")
    with Stubber(client) as stubbed:
        yield client, stubbed
        stubbed.assert_no_pending_responses()


def page(*events, more=""):
    shown = [
        {"logStreamName": "s", "timestamp": at * 1000, "message": text} for at, text in events
    ]
    return {"events": shown, **({"nextToken": more} if more else {})}


def test_the_log_is_read_newest_first_and_no_further_than_it_must(logs) -> None:
    client, stubbed = logs
    asked = {"logGroupName": "l", "startTime": 5000, "startFromHead": False}
    first = asked | {"filterPattern": "WARNING"}
    stubbed.add_response("filter_log_events", page((9, "a"), (8, "b"), more="2"), first)
    stubbed.add_response("filter_log_events", page(more="3"), first | {"nextToken": "2"})
    stubbed.add_response("filter_log_events", page((7, "c"), more="4"), first | {"nextToken": "3"})
    both = asked | {"filterPattern": "ERROR"}
    stubbed.add_response("filter_log_events", page((8, "b"), (6, "d")), both)
    counted: list[int] = []

    log = read_log(client, "l", ["WARNING", "ERROR"], since=5, most=3, on_lines=counted.append)

    assert (sorted(log.lines), log.complete_since) == (["a", "b", "c", "d"], 7)
    assert sum(counted) == 5


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-1, "0 seconds"),
        (90, "90 seconds"),
        (7200, "2 hours"),
        (1e6, "12 days"),
    ],
)
def test_an_age_is_told_as_people_do(seconds, said) -> None:
    assert show.age(seconds) == said


ENABLED = {"queue": "Enabled", "retry queue": "Enabled"}


def status(*events, dead=0, function="forwarder", error_type="", **fields):
    found = tuple(Trouble(function, event, error_type, "", 1) for event in events)
    told: dict[str, Any] = {
        "stack": "CREATE_COMPLETE",
        "version": "unknown",
        "queue": Depth(0, 0, None),
        "retry_queue": Depth(0, 0, None),
        "dead_letters": Depth(dead, 0, None),
        "mappings": ENABLED,
        "forwarder": Invocations(9, 0),
        "ingress": None,
        "ringing": (),
        "troubles": found,
        "logged_since": NOW - 3600,
        "is_cut_off": False,
    }
    return Status(**told | fields)


ONE_IS_OFF = [
    {"queue": "Disabled", "retry queue": "Enabled"},
    {"queue": "Enabled", "retry queue": "Disabled"},
]
UNUSABLE_ENTRY = status("message.retried", error_type="UnusableCredentialsError")
UNKNOWN_TOKEN = status("firehose.refused", function="ingress", error_type="503")


@pytest.mark.parametrize(
    ("found", "step"),
    [
        (status(dead=1), "ops dlq list"),
        (status("message.retried"), "Changes are retried"),
        (status("message.retried", "credentials.refused"), "Credentials are refused"),
        (UNUSABLE_ENTRY, "Credentials are refused"),
        (status("audience.dot_in_name"), "Audience names have dots"),
        (status("invocation.failed"), "The function fails"),
        (status("secret.unread"), "A secret cannot be read"),
        (status("secret.unread", function="ingress"), "A secret cannot be read"),
        (status("invocation.failed", function="ingress"), "The ingress fails"),
        (status(forwarder=Invocations(9, 1)), "The function fails"),
        (status(ingress=Invocations(9, 1)), "The ingress fails"),
        (UNKNOWN_TOKEN, "was mParticle's token changed?"),
        (status(stack="UPDATE_FAILED"), "make deploy"),
    ],
)
def test_the_status_says_what_to_do_and_where_to_read(found, step) -> None:
    (told,) = found.next_steps
    section = told.rpartition("see: ")[2]

    assert step in told
    assert f"\n## {section}\n" in (PROJECT / "docs/operations.md").read_text()


def test_all_is_well_where_nobody_is_needed() -> None:
    assert status().is_well
    assert status().next_steps == []
    assert status("message.retried").is_well
    assert status(ingress=Invocations(9, 0)).is_well


@pytest.mark.parametrize(
    "found",
    [
        status(dead=1),
        status(stack="UPDATE_ROLLBACK_FAILED"),
        status(forwarder=Invocations(9, 1)),
        status(ingress=Invocations(9, 1)),
        status("credentials.refused"),
        UNUSABLE_ENTRY,
        status("invocation.failed", function="ingress"),
        status("secret.unread", function="ingress"),
        UNKNOWN_TOKEN,
    ],
)
def test_it_is_not_well_where_changes_do_not_get_through(found) -> None:
    assert not found.is_well


@pytest.mark.parametrize("states", ONE_IS_OFF)
def test_each_mapping_is_to_be_enabled(states) -> None:
    found = status(mappings=states)

    assert not found.is_well
    (step,) = found.next_steps
    assert "ops mapping enable" in step
    assert "Disabled" in shown(found)


def test_messages_on_the_retry_queue_are_shown_and_need_nobody_yet() -> None:
    found = status(retry_queue=Depth(1, 7, None))

    assert found.is_well
    assert "about 1 waiting, 7 hidden" in shown(found)
    (step,) = found.next_steps
    assert "Changes are retried" in step


def test_what_failed_is_marked_and_is_never_nothing() -> None:
    assert "✗" not in shown(status(ingress=Invocations(9, 0)))
    assert "Nothing went wrong" in shown(status())
    for failing in (
        status(forwarder=Invocations(9, 1)),
        status(ingress=Invocations(9, 1)),
    ):
        assert "✗" in shown(failing)
        assert "Nothing went wrong" not in shown(failing)
    assert "✗" in shown(status(stack="UPDATE_FAILED"))


def shown(status):
    console = Console(width=140)
    with console.capture() as captured:
        console.print(show.status(status, NOW))
    return captured.get()


def test_a_log_that_was_not_read_to_its_beginning_says_so() -> None:
    cut = status("message.retried", is_cut_off=True)

    assert "Logged since 2026" in shown(status("message.retried"))
    assert "more than is read" not in shown(status("message.retried"))
    assert "more than is read" in shown(cut)


def test_the_status_shows_the_version_that_is_deployed() -> None:
    assert "v1.2.0-3-gabc1234" in shown(status(version="v1.2.0-3-gabc1234"))


def test_the_ingress_is_shown_where_there_is_one() -> None:
    assert "ingress" not in shown(status())
    assert "12 requests, 3 of them failed" in shown(status(ingress=Invocations(12, 3)))


def test_a_moment_is_told_in_utc() -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC).timestamp()

    assert show.since(moment, moment + 5) == "2026-01-02 03:04:05 UTC (5 seconds ago)"


# --- checks ---


MAPPING_OF = {"queue": "arn:aws:sqs:eu-west-1:1:q", "retry queue": "arn:aws:sqs:eu-west-1:1:r"}


def uuid_of(queue):
    return f"{queue:->36}"


def mapped(queue, state="Enabled", *, reports=True):
    kinds = {"FunctionResponseTypes": ["ReportBatchItemFailures"]} if reports else {}
    return {"UUID": uuid_of(queue), "State": state, "EventSourceArn": MAPPING_OF[queue], **kinds}


def of_mappings(*found):
    functions = boto3.client("lambda")
    with Stubber(functions) as stubbed:
        for _ in MAPPING_OF:
            stubbed.add_response("list_event_source_mappings", {"EventSourceMappings": [*found]})
        aws: Any = SimpleNamespace(functions=functions)
        return [*Checks(aws, STACK).of_mappings()]


def test_each_queue_is_to_have_an_enabled_mapping_that_reports_failures() -> None:
    checks = of_mappings(mapped("retry queue"), mapped("queue"))

    assert [(check.name, check.is_ok) for check in checks] == [
        ("mapping of the queue", True),
        ("mapping of the retry queue", True),
    ]


@pytest.mark.parametrize(
    ("of_retries", "found", "fix"),
    [
        ([mapped("retry queue", "Disabled")], "Disabled", "ops mapping enable"),
        ([mapped("retry queue", reports=False)], "ReportBatchItemFailures", "make deploy"),
        ([], "there is none", "make deploy"),
    ],
)
def test_a_mapping_that_is_not_in_order_is_named_by_its_queue(of_retries, found, fix) -> None:
    (queue, retries) = of_mappings(mapped("queue"), *of_retries)

    assert (queue.is_ok, retries.is_ok) == (True, False)
    assert found in retries.found
    assert fix in retries.mend


@pytest.mark.parametrize(("target", "is_ok"), [("arn:d", True), ("arn:other", False)])
def test_both_queues_are_to_have_the_dead_letter_queue(sqs, target, is_ok) -> None:
    client, stubbed = sqs
    for url in ("q", "r"):
        told = {
            "RedrivePolicy": json.dumps({"deadLetterTargetArn": target}),
            "ApproximateNumberOfMessages": "0",
        }
        asked = {"QueueUrl": url, "AttributeNames": ["All"]}
        stubbed.add_response("get_queue_attributes", {"Attributes": told}, asked)

    aws: Any = SimpleNamespace(sqs=client)

    checks = [*Checks(aws, STACK).of_queues()]

    assert [(check.name, check.is_ok) for check in checks] == [
        ("queue", is_ok),
        ("retry queue", is_ok),
    ]


@pytest.fixture
def ingress_checks():
    """Checks of a stack with an ingress, and the stubs of what they ask."""
    functions, secrets = boto3.client("lambda"), boto3.client("secretsmanager")
    aws: Any = SimpleNamespace(functions=functions, secrets=secrets)
    found = Checks(aws, replace(STACK, ingress=Ingress("arn:i:live", "i", "li")))
    with Stubber(functions) as lambda_, Stubber(secrets) as secretsmanager:
        yield found, lambda_, secretsmanager
        lambda_.assert_no_pending_responses()
        secretsmanager.assert_no_pending_responses()


def configured(state="Active", **variables):
    settings = {"QUEUE_URL": "q", "TABLE_NAME": "t"} | variables
    return {"State": state, "Environment": {"Variables": settings}}


ASKED = {"FunctionName": "arn:i:live"}


def test_without_an_ingress_there_is_nothing_to_check_of_it() -> None:
    aws: Any = SimpleNamespace()

    assert list(Checks(aws, STACK).of_ingress()) == []


@pytest.mark.parametrize(
    ("told", "is_ok"),
    [
        (configured(), True),
        (configured("Failed"), False),
        (configured(QUEUE_URL=""), False),
        (None, False),
    ],
)
def test_the_ingress_is_to_be_there_with_its_settings(ingress_checks, told, is_ok) -> None:
    checks, lambda_, _ = ingress_checks
    if told:
        lambda_.add_response("get_function_configuration", told, ASKED)
    else:
        lambda_.add_client_error("get_function_configuration", "ResourceNotFoundException")

    (check,) = checks.of_ingress()

    assert (check.name, check.is_ok, bool(check.mend)) == ("ingress", is_ok, not is_ok)


@pytest.mark.parametrize(
    ("text", "is_ok"),
    [
        ("a" * 16, True),
        (f"{'a' * 16} {'b' * 20}\n", True),
        (f"{'a' * 16} tiny-token", False),
        (" ", False),
        (None, False),
    ],
)
def test_with_a_url_every_token_of_the_shared_secret_is_to_be_long(
    ingress_checks, text, is_ok
) -> None:
    checks, lambda_, secretsmanager = ingress_checks
    told = configured(URL_SECRET_NAME="mparticle/token")
    lambda_.add_response("get_function_configuration", told, ASKED)
    if text is None:
        secretsmanager.add_client_error("get_secret_value", "ResourceNotFoundException")
    else:
        answer = {"SecretString": text}
        secretsmanager.add_response("get_secret_value", answer, {"SecretId": "mparticle/token"})

    _, check = checks.of_ingress()

    assert (check.name, check.is_ok) == ("secret of the URL", is_ok)
    assert ("mparticle/token" in check.mend) is not is_ok
    assert text is None or "tokens: " in check.found
    assert "tiny-token" not in check.found + check.mend


class Logs:
    """A CloudWatch Logs client whose groups hold these lines; a pattern is a text in them."""

    def __init__(self, *lines) -> None:
        self.lines = lines

    def get_paginator(self, _name):
        return self

    def paginate(self, *, filterPattern, **_asked):  # noqa: N803 - botocore's name
        term = filterPattern.strip('"')
        yield page(*((1, line) for line in self.lines if term in line))


def dot_in_name(audience_id):
    return json.dumps(
        {"level": "WARNING", "message": "audience.dot_in_name", "audience_id": audience_id}
    )


def test_audiences_with_a_dot_in_their_name_are_warned_of() -> None:
    logs = Logs(dot_in_name(13), dot_in_name(12), dot_in_name(13), "audience.dot_in_name")
    aws: Any = SimpleNamespace(logs=logs)

    (check,) = Checks(aws, STACK).of_audience_names()

    assert (check.is_ok, check.found) == (True, "a dot in the name of audience 12, 13")
    assert "DotsInNames" in check.mend


def test_without_a_warning_in_the_log_the_names_are_in_order() -> None:
    aws: Any = SimpleNamespace(logs=Logs())

    (check,) = Checks(aws, STACK).of_audience_names()

    assert (check.is_ok, check.mend) == (True, "")


def test_a_warning_is_marked_as_one() -> None:
    warning = Check("b", is_ok=True, found="f", mend="do this")
    console = Console(width=140)
    with console.capture() as captured:
        console.print(show.checks([Check("a", is_ok=True, found="f"), warning]))

    assert "✓" in captured.get()
    assert "! b: do this" in captured.get()
    assert "✗" not in captured.get()


# --- people ---


def test_a_person_has_the_key_that_the_function_gives_them() -> None:
    by_id, by_email, by_mpid = Sought("42"), Sought(email="Ann@Example.com"), Sought(mpid=-7)

    assert len({*by_id.keys(["s"]), *by_email.keys(["s"]), *by_mpid.keys(["s"])}) == 3
    assert by_email.keys(["s"]) == Sought(email="ann@example.com").keys(["s"])
    assert by_id.identifier == Identifier(is_id=True, set_at_ms=0, value="42")
    assert by_email.identifier == Identifier(is_id=False, set_at_ms=0, value="ann@example.com")
    assert by_mpid.identifier is None


def test_what_would_be_sent_is_what_the_function_would_send() -> None:
    known = state(11, 12, left=(13,))

    (entity,) = would_be_sent(known)

    assert entity["attributes"] == {"SegmentMembership": "'11','12'"}
    assert entity["timestamp"] == known.timestamp


@pytest.fixture
def two_workspaces(monkeypatch):
    """Have a table in which two workspaces know somebody by the id 42; delete items on demand."""
    table = TwoWorkspaces()
    monkeypatch.setattr(Ops, "aws", SimpleNamespace(dynamodb=table))
    monkeypatch.setattr(Ops, "stack", STACK)
    return table


class TwoWorkspaces:
    """A DynamoDB client of that table."""

    def __init__(self) -> None:
        self.items = {}
        self.scans = 0
        before = Identifier(is_id=False, set_at_ms=1, value="ann@example.com")
        known = state(11, former={before: 1})
        for site_id in ("site-a", "site-b"):
            key = person_key(site_id, profile_of())
            self.items[key] = {
                "pk": {"S": key},
                "version": {"N": "1"},
                "timestamp": {"N": "1"},
                "identifier": {"S": "id:42"},
                "memberships": {"B": pack(known)},
            }

    def query(self, *, ExpressionAttributeValues, **_asked):  # noqa: N803 - botocore's name
        identifier = ExpressionAttributeValues[":identifier"]
        found = [item for item in self.items.values() if item["identifier"] == identifier]
        return {"Items": [{"pk": item["pk"]} for item in found]}

    def get_paginator(self, _name):
        return self

    def paginate(self, **_asked):
        self.scans += 1
        yield from ({"Items": [item]} for item in self.items.values())

    def batch_get_item(self, *, RequestItems):  # noqa: N803 - botocore's name
        ((table, asked),) = RequestItems.items()
        keys = [key["pk"]["S"] for key in asked["Keys"]]
        found = [self.items[key] for key in keys if key in self.items]
        return {"Responses": {table: found}, "UnprocessedKeys": {}}

    def delete_item(self, *, TableName, Key):  # noqa: N803
        del self.items[Key["pk"]["S"]]


OF_SITE_A = ["--site-id", "site-a", "--id", "42"]


def test_a_person_of_another_workspace_is_neither_shown_nor_erased(two_workspaces, capsys) -> None:
    assert run(["person", "show", *OF_SITE_A, "--json"]) == FINE
    assert [one["site id"] for one in json.loads(capsys.readouterr().out)] == ["site-a"]

    assert run(["person", "erase", *OF_SITE_A, "--yes", "--json"]) == FINE
    (erased,) = json.loads(capsys.readouterr().out)["erased"]
    assert erased["site id"] == "site-a"
    assert [key.partition("#")[0] for key in two_workspaces.items] == ["site-b"]


BY_FORMER_EMAIL = ["--site-id", "site-a", "--email", "Ann@example.com"]


def test_a_person_is_shown_by_an_identifier_that_is_not_cleared_yet(
    two_workspaces, capsys
) -> None:
    assert run(["person", "show", *BY_FORMER_EMAIL, "--reveal", "--json"]) == FINE

    told = capsys.readouterr()
    (shown,) = json.loads(told.out)
    assert shown["site id"] == "site-a"
    assert shown["known as"] == {"id": "42"}
    assert shown["known as before, not cleared yet"] == [{"email": "ann@example.com"}]
    assert "reading the whole table" in told.err
    assert run(["person", "show", *BY_FORMER_EMAIL]) == FINE
    assert "ann@example.com" not in capsys.readouterr().out


def test_a_person_is_erased_by_an_identifier_that_is_not_cleared_yet(two_workspaces) -> None:
    assert run(["person", "erase", *BY_FORMER_EMAIL, "--yes"]) == FINE
    assert [key.partition("#")[0] for key in two_workspaces.items] == ["site-b"]


def test_the_whole_table_is_read_only_if_nobody_has_the_identifier_now(two_workspaces) -> None:
    assert run(["person", "show", *OF_SITE_A]) == FINE
    assert two_workspaces.scans == 0
    assert run(["person", "show", "--site-id", "site-a", "--mpid", "5"]) == TROUBLE
    assert two_workspaces.scans == 0
    assert run(["person", "show", "--site-id", "site-a", "--email", "x@example.com"]) == TROUBLE
    assert two_workspaces.scans == 1


def test_the_question_and_the_answer_name_the_workspace(
    two_workspaces, monkeypatch, capsys
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("n\ny\n"))

    assert run(["person", "erase", *OF_SITE_A]) == STOPPED
    assert len(two_workspaces.items) == 2
    assert run(["person", "erase", *OF_SITE_A]) == FINE

    told = capsys.readouterr()
    assert "holds of this person in workspace site-a for good?" in told.err
    assert "Deleted from workspace site-a: site-a#" in told.out
    assert "site-b" not in told.err + told.out


# --- secret ---


NEW = Workspace("site-a", "new-key", "eu")
ENTRY = {"site_id": "site-a", "api_key": "new-key", "region": "eu"}
OLD = {"site_id": "site-a", "api_key": "old-key"}
OTHER = {"site_id": "site-b", "api_key": "key-b"}


@pytest.mark.parametrize(
    ("content", "account", "renewed"),
    [
        ({}, None, ENTRY),
        (OLD, None, ENTRY),
        (OLD, "7", {"accounts": {"default": OLD, "7": ENTRY}}),
        (
            {"accounts": {"7": OLD, "8": OTHER, "default": OLD}},
            None,
            {"accounts": {"7": ENTRY, "8": OTHER, "default": ENTRY}},
        ),
        ({"accounts": {"7": OLD}}, "8", {"accounts": {"7": OLD, "8": ENTRY}}),
        ({**OLD, "note": "n"}, None, {**ENTRY, "note": "n"}),
        ({"accounts": []}, None, ENTRY),
        (
            {"accounts": {"7": {**OLD, "note": "n"}}, "owner": "o"},
            None,
            {"accounts": {"7": {**ENTRY, "note": "n"}}, "owner": "o"},
        ),
        (
            {"accounts": {"7": OLD}, "owner": "o"},
            "8",
            {"accounts": {"7": OLD, "8": ENTRY}, "owner": "o"},
        ),
    ],
)
def test_credentials_replace_those_of_their_workspace_and_nothing_else(
    content, account, renewed
) -> None:
    assert secret.renewed(content, NEW, account=account) == renewed


def test_credentials_of_no_known_workspace_need_an_account() -> None:
    with pytest.raises(ValueError, match="--account"):
        secret.renewed({"accounts": {"8": OTHER}}, NEW, account=None)


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({**OTHER, "site_id": "local:x"}, "entry 77: .*site_id"),
        ({**OTHER, "region": "mars"}, "entry 77: region"),
        ("no entry", "entry 77: "),
    ],
)
def test_the_account_is_named_whose_entry_the_function_cannot_read(entry, told) -> None:
    text = secret.text({"accounts": {"default": OLD, "77": entry}})

    with pytest.raises(UnusableCredentialsError, match=told):
        secret.understood("s", text)


@pytest.mark.parametrize("account", ["l001", "007", "--7", "\u0667", "", "-0", "7\n"])
def test_an_entry_that_the_function_would_never_find_is_told_of(account) -> None:
    with pytest.raises(UnusableCredentialsError, match="neither a number nor default"):
        secret.understood("s", secret.text({"accounts": {account: OLD}}))


def test_the_entries_are_understood_as_the_function_does() -> None:
    old = Workspace("site-a", "old-key", "us")

    assert secret.understood("s", secret.text(OLD)) == {"default": old}
    found = secret.understood("s", secret.text({"accounts": {"-7": OLD, "default": OTHER}}))
    assert (found["-7"], found["default"].site_id) == (old, "site-b")


def test_an_account_is_taken_out_and_nothing_else() -> None:
    content = {"accounts": {"7": OLD, "8": OTHER}, "owner": "o"}

    assert secret.without(content, "7") == {"accounts": {"8": OTHER}, "owner": "o"}


@pytest.mark.parametrize("content", [{}, OLD, {"accounts": {"8": OLD}}, {"accounts": {"7": OLD}}])
def test_an_entry_that_is_not_there_or_is_the_only_one_is_not_taken_out(content) -> None:
    with pytest.raises(ValueError, match="entry"):
        secret.without(content, "7")


# --- commands ---


class Letters:
    """A dead-letter queue that holds letters, and notes what is asked of it."""

    def __init__(self, *letters, missed=0):
        self.letters = [*letters]
        self.missed = missed
        self.redriven: list[DeadLetter] = []

    def about(self):
        return len(self.letters) + self.missed

    def walk(self, *, most=None):
        if self.letters:
            yield self.letters[:most]

    def start_move(self, *, rate):
        return False

    def redrive(self, letters, *, rate):
        self.redriven += letters
        yield Moved(len(letters), 0, 0)

    def send(self, bodies):
        return [0]  # SQS takes the first of them

    def delete(self, letters):
        self.letters = [one for one in self.letters if one not in letters]
        return 0


@pytest.fixture
def holding(monkeypatch):
    """Have the commands find a dead-letter queue that holds these letters."""

    def hold(*held, missed=0):
        letters = Letters(*held, missed=missed)
        monkeypatch.setattr(Ops, "letters", letters)
        return letters

    return hold


@pytest.mark.parametrize(
    "command",
    ["list", "show", "redrive --yes", "redrive --dry-run", "save {folder}/new", "purge --yes"],
)
def test_an_error_type_that_nobody_knows_is_refused_with_those_there_are(
    holding, command, tmp_path, capsys
) -> None:
    letters = holding(letter("NoIdentity"), letter("OfAnOlderVersion"))

    arguments = command.format(folder=tmp_path).split()
    status = run(["dlq", *arguments, "--error-type", "NoIdentity", "--error-type", "Noidentity"])

    told = capsys.readouterr().err
    assert status == USAGE
    assert "Noidentity" in told
    assert "in the dead-letter queue: NoIdentity, OfAnOlderVersion" in " ".join(told.split())
    assert len(letters.letters) == 2
    assert not letters.redriven
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("error_type", ["OfAnOlderVersion", "none", "RejectedByCustomerIo"])
def test_an_error_type_that_is_there_or_might_be_is_taken(holding, error_type) -> None:
    letters = holding(letter("OfAnOlderVersion"), letter("none"))

    status = run(["dlq", "redrive", "--yes", "--error-type", error_type])

    assert status == FINE
    assert {one.error_type for one in letters.redriven} <= {error_type}


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("list", "Looked at 1 of about 3"),
        ("save {folder}/new", "Saved 1"),
        ("redrive --yes", "Sent 1"),
        ("redrive --dry-run", "Would be sent"),
        ("purge --error-type NoIdentity --yes", "Deleted 1"),
    ],
)
def test_letters_that_somebody_else_looks_at_are_told_of(
    holding, command, told, tmp_path, capsys
) -> None:
    arguments = ["dlq", *command.format(folder=tmp_path).split()]
    holding(letter(), missed=2)

    status = run(arguments)

    out, note = capsys.readouterr()
    assert status == TROUBLE
    assert told in out
    assert "About 2 more are hidden" in note
    assert "2 minutes" in note


@pytest.mark.parametrize("command", ["redrive --yes", "redrive --dry-run"])
def test_a_message_that_nothing_came_of_is_told_of(holding, command, capsys) -> None:
    letters = holding(letter())

    assert run(["dlq", *command.split(), "--source-message-id", "nope"]) == TROUBLE
    assert "Nothing matched" in capsys.readouterr().err
    assert not letters.redriven


def test_a_file_of_another_type_purges_nothing_and_says_so(holding, tmp_path, capsys) -> None:
    letters = holding(letter("NoIdentity"))
    file = tmp_path / "letters"
    file.write_text(dead_letters.written(letter("NoIdentity")))

    status = run(["dlq", "purge", "--error-type", "none", "--saved", str(file), "--yes"])

    assert status == TROUBLE
    assert "Nothing matched" in capsys.readouterr().err
    assert len(letters.letters) == 1


def test_to_purge_what_was_saved_is_asked_as_such(holding, tmp_path, monkeypatch, capsys) -> None:
    holding(letter())
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    file = tmp_path / "letters"
    file.write_text(dead_letters.written(letter()))

    assert run(["dlq", "purge", "--error-type", "NoIdentity", "--saved", str(file)]) == STOPPED
    told = capsys.readouterr().err
    assert f"that are in {file} for good?" in told
    assert "every" not in told


@pytest.mark.parametrize("limit", ["0", "-5"])
def test_to_look_at_no_letters_is_refused(limit) -> None:
    assert run(["dlq", "list", "--limit", limit]) == USAGE


def test_what_is_to_be_copied_stands_on_one_line(holding, monkeypatch, capsys) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    source = "5a90a977-95d8-4e5d-aab3-0123456789ab"
    text = json.dumps({"name": "x" * 200})
    holding(letter(source=source, text=text))

    run(["dlq", "list"])
    run(["dlq", "show", "--reveal"])

    lines = capsys.readouterr().out.split("\n")
    assert any(source in line for line in lines)
    assert text in lines


def test_what_a_walk_did_not_find_is_counted(sqs) -> None:
    client, stubbed = sqs
    received = {
        "MessageId": "a",
        "ReceiptHandle": "handle",
        "Body": "{}",
        "Attributes": {"SentTimestamp": "1"},
    }
    count(stubbed, waiting=1, hidden=3)
    stubbed.add_response("receive_message", {"Messages": [received], "ResponseMetadata": DATE})
    stubbed.add_response("receive_message", {"ResponseMetadata": DATE})
    count(stubbed, waiting=0, hidden=3)  # ours, and two; one has been deleted meanwhile
    stubbed.add_response("change_message_visibility_batch", {"Successful": [], "Failed": []})
    letters = DeadLetters(client, STACK, sleep=lambda _: None)

    assert [len(ones) for ones in letters.walk()] == [1]
    assert letters.missed == 2


def test_a_letter_that_is_not_found_may_be_in_somebody_elses_hands(holding, capsys) -> None:
    holding(letter(), missed=1)

    assert run(["dlq", "show", "m-2"]) == TROUBLE
    assert "About 1 more are hidden" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["no json", '{"id": 1}\n{"id"', "[1]", "\udcff"])
@pytest.mark.parametrize(
    "command", ["send --yes {file}", "dlq purge --error-type none --yes --saved {file}"]
)
def test_a_file_that_cannot_be_read_is_refused_before_anything_is_done(
    holding, tmp_path, capsys, command, content
) -> None:
    letters = holding(letter("none"))
    file = tmp_path / "letters"
    file.write_text(content, "utf-8", "surrogateescape")

    assert run(command.format(file=file).split()) == USAGE
    assert str(file) in capsys.readouterr().err
    assert len(letters.letters) == 1


def test_what_sqs_did_not_take_is_to_be_sent_again(holding, monkeypatch, tmp_path, capsys) -> None:
    holding()
    monkeypatch.setattr(Ops, "stack", STACK)
    file = tmp_path / "event"
    file.write_text(json.dumps({"Records": [{"body": "a"}, {"body": "b"}]}))

    assert run(["send", str(file), "--yes"]) == TROUBLE

    told = capsys.readouterr()
    assert "Sent 1 of 2" in told.out
    assert "Send the file again" in told.err


def test_a_file_that_is_there_is_not_written_over(holding, tmp_path) -> None:
    holding(letter())
    file = tmp_path / "letters"
    file.write_text("mine")

    assert run(["dlq", "save", str(file)]) == USAGE
    assert file.read_text() == "mine"


@pytest.mark.parametrize(
    ("held", "asked"),
    [
        (json.dumps(OLD), "Replace the credentials of site id site-a in the secret s?"),
        ("no json", "The secret s cannot be read: replace all of it"),
    ],
)
def test_what_is_replaced_in_the_secret_is_asked(monkeypatch, capsys, held, asked) -> None:
    aws = SimpleNamespace(secrets=boto3.client("secretsmanager"))
    monkeypatch.setattr(Ops, "aws", aws)
    monkeypatch.setattr(Ops, "settings", SimpleNamespace(credentials_secret_name="s"))
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    with Stubber(aws.secrets) as stubbed:
        stubbed.add_response("get_secret_value", {"SecretString": held})

        status = run(
            ["credentials", "put", "--untried", "--site-id", "site-a", "--api-key", "new-key"]
        )

    assert status == STOPPED
    assert asked in capsys.readouterr().err


@pytest.fixture
def held_secret(monkeypatch):
    """Have the commands find the secret `s`: `hold` says what it holds, and what is put, if so."""
    aws = SimpleNamespace(secrets=boto3.client("secretsmanager"))
    monkeypatch.setattr(Ops, "aws", aws)
    monkeypatch.setattr(Ops, "settings", SimpleNamespace(credentials_secret_name="s"))
    with Stubber(aws.secrets) as stubbed:

        def hold(content, put=None):
            stubbed.add_response("get_secret_value", {"SecretString": json.dumps(content)})
            if put:
                told = {"SecretId": "s", "SecretString": json.dumps(put)}
                stubbed.add_response("put_secret_value", {}, told)

        yield hold
        stubbed.assert_no_pending_responses()


PUT = ["credentials", "put", "--untried", "--yes", "--api-key", "new-key", "--site-id"]
UNUSABLE = {"site_id": "local:x", "api_key": "k"}


def said(capsys):
    captured = capsys.readouterr()
    return " ".join((captured.out + captured.err).replace("│", " ").split())


@pytest.mark.parametrize("account", ["l001", "007", "a@b"])
def test_an_account_that_is_no_number_is_refused(account, capsys) -> None:
    assert run([*PUT, "site-a", "--account", account]) == USAGE
    assert "neither a number nor `default`" in said(capsys)


def test_what_the_function_could_not_read_is_not_put(held_secret, capsys) -> None:
    held_secret(OLD)
    assert run([*PUT, "local:x", "--account", "77"]) == USAGE
    assert "entry 77" in said(capsys)

    held_secret({"accounts": {"default": OLD, "77": UNUSABLE}})
    assert run([*PUT, "site-a"]) == USAGE
    told = said(capsys)
    assert "entry 77" in told
    assert "credentials remove" in told


@pytest.mark.parametrize(
    ("others", "exit_status", "told"),
    [
        ({"8": OLD}, FINE, "Taken out of s"),
        ({"8": UNUSABLE}, TROUBLE, "still cannot use it: secret s: entry 8"),
    ],
)
def test_an_account_that_cannot_be_read_is_taken_out(
    held_secret, capsys, others, exit_status, told
) -> None:
    held_secret({"accounts": {"77": UNUSABLE, **others}}, put={"accounts": others})

    assert run(["credentials", "remove", "--account", "77", "--yes"]) == exit_status
    assert told in said(capsys)


def test_to_take_an_account_out_is_asked_and_it_has_to_be_there(
    held_secret, monkeypatch, capsys
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    held_secret({"accounts": {"77": OLD, "8": OLD}})
    assert run(["credentials", "remove", "--account", "77"]) == STOPPED
    assert "Take account 77 out of the secret s?" in said(capsys)

    held_secret({"accounts": {"77": OLD, "8": OLD}})
    assert run(["credentials", "remove", "--account", "78", "--yes"]) == USAGE
    assert "no entry of account 78" in said(capsys)


def test_a_stack_that_is_another_is_out_of_reach(monkeypatch, capsys) -> None:
    aws = SimpleNamespace(cloudformation=boto3.client("cloudformation"))
    monkeypatch.setattr(Ops, "aws", aws)
    described = {
        "StackName": "audience-forwarder",
        "CreationTime": datetime(2026, 1, 1, tzinfo=UTC),
        "StackStatus": "ROLLBACK_COMPLETE",
    }
    with Stubber(aws.cloudformation) as stubbed:
        stubbed.add_response("describe_stacks", {"Stacks": [described]})
        stubbed.add_response("describe_stack_resources", {"StackResources": []})

        assert run(["status"]) == OUT_OF_REACH

    assert "ROLLBACK_COMPLETE" in capsys.readouterr().err


OLDER_OUTPUTS = (
    *("QueueUrl", "QueueArn", "DeadLetterQueueUrl", "DeadLetterQueueArn"),
    *("FunctionName", "TableName"),
)


@pytest.mark.parametrize("command", ["enable", "disable"])
def test_a_mapping_that_is_not_there_cannot_be_switched(monkeypatch, capsys, command) -> None:
    aws = SimpleNamespace(functions=boto3.client("lambda"))
    monkeypatch.setattr(Ops, "aws", aws)
    monkeypatch.setattr(Ops, "stack", STACK)
    with Stubber(aws.functions) as stubbed:
        stubbed.add_response("list_event_source_mappings", {"EventSourceMappings": []})

        assert run(["mapping", command, "--yes"]) == TROUBLE

    assert "make deploy" in capsys.readouterr().err


def test_both_mappings_are_switched_and_told_apart_by_their_queues(monkeypatch, capsys) -> None:
    aws = SimpleNamespace(functions=boto3.client("lambda"))
    monkeypatch.setattr(Ops, "aws", aws)
    monkeypatch.setattr(Ops, "stack", STACK)
    both = [mapped("queue"), mapped("retry queue")]
    with Stubber(aws.functions) as stubbed:
        stubbed.add_response("list_event_source_mappings", {"EventSourceMappings": both})
        for queue in MAPPING_OF:
            told = mapped(queue, "Disabling")
            asked = {"UUID": uuid_of(queue), "Enabled": False}
            stubbed.add_response("update_event_source_mapping", told, asked)

        assert run(["mapping", "disable", "--yes"]) == FINE
        stubbed.assert_no_pending_responses()

    said_so = said(capsys)
    assert "of the queue: Disabling" in said_so
    assert "of the retry queue: Disabling" in said_so


def test_a_stack_of_an_older_version_is_to_be_deployed_again(monkeypatch, capsys) -> None:
    aws = SimpleNamespace(cloudformation=boto3.client("cloudformation"))
    monkeypatch.setattr(Ops, "aws", aws)
    outputs = [{"OutputKey": name, "OutputValue": "x"} for name in OLDER_OUTPUTS]
    described = {
        "StackName": "audience-forwarder",
        "CreationTime": datetime(2026, 1, 1, tzinfo=UTC),
        "StackStatus": "CREATE_COMPLETE",
        "Outputs": outputs,
    }
    with Stubber(aws.cloudformation) as stubbed:
        stubbed.add_response("describe_stacks", {"Stacks": [described]})
        stubbed.add_response("describe_stack_resources", {"StackResources": []})

        assert run(["status"]) == OUT_OF_REACH

    told = said(capsys)
    assert "RetryQueueUrl" in told
    assert "make deploy" in told


def test_the_error_types_are_those_of_the_function() -> None:
    assert {"TooOld", "RetriesExhausted"} <= dead_letters.ERROR_TYPES
    kinds = {kind.error_type for kind in PermanentError.__subclasses__()}
    assert kinds | {"none"} == dead_letters.ERROR_TYPES


@pytest.mark.parametrize(
    ("end", "exit_status"),
    [
        (Move("COMPLETED", 3, 3), FINE),
        (Move("FAILED", 2, 3, "AWS.SimpleQueueService.NonExistentQueue"), TROUBLE),
    ],
)
def test_a_redrive_by_sqs_is_followed_to_its_end(monkeypatch, capsys, end, exit_status) -> None:
    letters = SimpleNamespace(
        about=lambda: 3,
        start_move=lambda *, rate: True,
        follow_move=lambda: iter([Move("RUNNING", 1, 3), end]),
    )
    monkeypatch.setattr(Ops, "letters", letters)

    status = run(["dlq", "redrive", "--yes", "--json"])
    told = json.loads(capsys.readouterr().out)
    run(["dlq", "redrive", "--yes"])

    assert status == exit_status
    assert told == asdict(end)
    assert end.failure_reason in capsys.readouterr().out


@pytest.mark.parametrize(
    "command",
    ["", "status", "check", "person show", "person erase", "send"]
    + ["credentials put", "credentials remove"]
    + ["mapping enable", "mapping disable"]
    + [f"dlq {name}" for name in ("list", "show", "redrive", "save", "purge")],
)
def test_a_command_explains_itself(command) -> None:
    result = CliRunner().invoke(cli, [*command.split(), "--help"])

    assert result.exit_code == 0
    for option in ("--stack-name", "--region", "--profile", "--endpoint-url", "--json"):
        assert option in result.output

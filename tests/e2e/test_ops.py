"""The operator's tool, against the deployed stack."""

import io
import json
import os
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, Final

import boto3
import pytest

from handler.domain.firehose import MAX_MESSAGE_BYTES
from handler.errors import UnavailableError
from local.fake_customerio.faults import Fault, FaultKind
from local.stack import API_KEY, SITE_ID
from ops.cli import run
from ops.commands.context import ABORTED, PROBLEM, UNREACHABLE, USAGE
from ops.send import to_ingress
from ops.stack import Ingress
from tests.builders import failed_record, stream_record
from tests.e2e.function import post, start_afresh
from tests.e2e.messages import join, memberships, somebody
from tests.stack_template import PROJECT
from tools import version


@pytest.fixture
def stack(clean, monkeypatch):
    for name, value in clean.emulator.variables.items():
        monkeypatch.setenv(name, value)
    return clean


@pytest.fixture
def ops_table(stack, capsys):
    """Run a command without `--json`; return its exit status and its output."""

    def shown(*arguments):
        status = run([*map(str, arguments)])
        return status, capsys.readouterr().out

    return shown


def refuse(stack, *customer_ids):
    """Have Customer.io refuse people once, so that they are set aside."""
    refusals = [Fault(FaultKind.REFUSE, person=person, reason="no") for person in customer_ids]
    stack.customerio.misbehave(*refusals)
    stack.send([join(person) for person in customer_ids])
    stack.wait_until_drained()


def set_aside(stack, *bodies):
    """Put messages into the dead-letter queue as SQS does, without a reason."""
    for body in bodies:
        stack.sqs.send_message(QueueUrl=stack.dead_letter_queue_url, MessageBody=body)


def left(stack):
    return [letter.body for letter in stack.take_set_aside()]


def test_the_status_has_the_version_that_is_deployed(ops):
    _, output = ops("status")

    assert output["version"] == version.describe()


def test_the_status_shows_what_is_set_aside_and_why(stack, ops, ops_table):
    stack.send(["no message"])
    stack.wait_until_drained()

    status, output = ops("status")
    _, shown = ops_table("status")

    assert status == PROBLEM
    assert output["mappings"] == {"queue": "Enabled", "retry queue": "Enabled"}
    assert (output["retry_queue"]["hidden"], output["dead_letters"]["waiting"]) == (0, 1)
    kinds = {(error["event"], error["error_type"]) for error in output["errors"]}
    assert ("message.set_aside", "MalformedMessage") in kinds
    assert "MalformedMessage" in shown


def test_the_status_shows_the_ingress_too(stack, ops):
    stack.ask(join(somebody()).encode())
    too_large = json.loads(join(somebody()))
    too_large["user_profiles"][0]["device_identities"] = "x" * MAX_MESSAGE_BYTES
    stack.ask(json.dumps(too_large).encode())
    post(stack, join(somebody()), token="another-token-of-somebody")

    _, output = ops("status")

    assert output["ingress"]["count"] >= 2  # the emulator does not count those at the URL
    assert output["ingress"]["failed"] >= 1
    refused = [error for error in output["errors"] if error["event"] == "firehose.refused"]
    assert {error["function"] for error in refused} == {"ingress"}


def test_dead_letters_are_listed_by_type_and_shown_without_personal_data(stack, ops, ops_table):
    customer_id = somebody()
    refuse(stack, customer_id)
    stack.send(["no message", "none either"])
    stack.wait_until_drained()

    status, groups = ops("dlq", "list")
    named, letter = ops("dlq", "show", groups[1]["source_message_ids"][0])
    _, shown = ops_table("dlq", "show", "--error-type", "RejectedByCustomerIo")
    _, revealed = ops("dlq", "show", "--error-type", "RejectedByCustomerIo", "--reveal")

    assert status == PROBLEM
    assert [(group["error_type"], group["count"]) for group in groups] == [
        ("MalformedMessage", 2),
        ("RejectedByCustomerIo", 1),
    ]
    assert (named, letter["error_type"]) == (0, "RejectedByCustomerIo")
    assert customer_id not in shown + json.dumps(letter)
    assert letter["body"]["profiles"][0]["audiences"][0]["audience_id"] == 30001
    assert customer_id in revealed["body"]


def test_what_sqs_moves_has_no_reason_though_it_carries_an_old_one(stack, ops):
    policy = {"deadLetterTargetArn": dead_letter_queue_arn(stack), "maxReceiveCount": 1}
    source = stack.sqs.create_queue(
        QueueName="one-receive", Attributes={"RedrivePolicy": json.dumps(policy)}
    )["QueueUrl"]
    old = {"ErrorType": {"DataType": "String", "StringValue": "NoIdentity"}}
    sent = stack.sqs.send_message(
        QueueUrl=source, MessageBody=join(somebody()), MessageAttributes=old
    )
    while not stack.dead_letters():
        stack.sqs.receive_message(QueueUrl=source, VisibilityTimeout=0)
    stack.sqs.delete_queue(QueueUrl=source)

    _, (group,) = ops("dlq", "list")
    purged = ops("dlq", "purge", "--error-type", "NoIdentity", "--yes")

    assert (group["error_type"], group["source_message_ids"]) == ("none", [sent["MessageId"]])
    assert purged == (0, {"deleted": 0, "failed": 0})


def dead_letter_queue_arn(stack):
    return stack.sqs.get_queue_attributes(
        QueueUrl=stack.dead_letter_queue_url, AttributeNames=["QueueArn"]
    )["Attributes"]["QueueArn"]


def test_a_redrive_by_type_leaves_the_others_where_they_are(stack, ops):
    customer_id = somebody()
    refuse(stack, customer_id)
    stack.send(["no message"])
    stack.wait_until_drained()

    of_type = ("dlq", "redrive", "--error-type", "RejectedByCustomerIo")
    _, planned = ops(*of_type, "--dry-run")
    assert memberships(stack, customer_id) is None
    status, done = ops(*of_type, "--yes")
    stack.wait_until_drained()

    assert [group["count"] for group in planned] == [1]
    assert (status, done) == (0, {"sent": 1, "not_sent": 0, "not_deleted": 0})
    assert memberships(stack, customer_id) == "'30001'"
    assert left(stack) == ["no message"]


def test_an_export_has_everybody_and_the_sizes_of_audiences_count_them(stack, ops, tmp_path):
    customer_id = somebody()
    stack.send([join(customer_id), join(somebody())])
    stack.wait_until_drained()

    file = tmp_path / "people.jsonl"
    status, exported = ops("export", file, "--reveal", "--yes")
    _, audiences = ops("audiences", "--sizes", "--yes")

    rows = [json.loads(line) for line in file.read_text().splitlines()]
    (row,) = [row for row in rows if row.get("customer_id") == customer_id]
    assert (row["audience_id"], row["action"]) == (30001, "entered")
    assert (status, exported["memberships"]) == (0, len(rows))
    members = {each["audience_id"]: each["members"] for each in audiences if each["members"]}
    assert members == Counter(row["audience_id"] for row in rows if row["action"] == "entered")


_DYING = """
import os, signal, sys
from botocore.client import BaseClient
import ops.dead_letter_queue
from ops.cli import run

ops.dead_letter_queue.HIDDEN_S = 1
call = BaseClient._make_api_call

def dying(client, name, arguments):
    answer = call(client, name, arguments)
    if name == sys.argv[1]:
        os.kill(os.getpid(), signal.SIGKILL)
    return answer

BaseClient._make_api_call = dying
run(["dlq", "redrive", "--yes"])
"""


def test_a_redrive_killed_at_any_point_loses_nothing(stack, ops):
    people = [somebody() for _ in range(15)]
    set_aside(stack, *map(join, people))

    for point in ("ReceiveMessage", "SendMessageBatch", "DeleteMessageBatch"):
        died = subprocess.run(
            [sys.executable, "-c", _DYING, point], cwd=PROJECT, env=os.environ, check=False
        )
        assert died.returncode == -9
        time.sleep(1.2)  # until the messages that it had received are visible again
    status, _ = ops("dlq", "redrive", "--yes")
    stack.wait_until_drained()

    assert status == 0
    assert left(stack) == []
    assert [memberships(stack, person) for person in people] == ["'30001'"] * len(people)


def test_letters_are_saved_deleted_and_sent_again(stack, ops, tmp_path, monkeypatch):
    customer_id, file = somebody(), tmp_path / "letters"
    refuse(stack, customer_id)
    of_type = ("--error-type", "RejectedByCustomerIo")

    assert ops("dlq", "save", file, *of_type) == (0, {"saved": 1})
    monkeypatch.setattr("sys.stdin", io.StringIO())  # nobody answers
    assert ops("dlq", "purge", *of_type)[0] == ABORTED
    assert ops("dlq", "purge", *of_type, "--yes") == (0, {"deleted": 1, "failed": 0})
    assert left(stack) == []
    assert ops("send", file, "--yes") == (0, {"sent": 1, "of": 1})
    stack.wait_until_drained()

    assert memberships(stack, customer_id) == "'30001'"
    assert file.stat().st_mode & 0o077 == 0
    assert ops("dlq", "save", file)[0] == USAGE  # it is there already


def test_a_person_is_shown_by_id_and_by_mpid(stack, ops, ops_table):
    content = json.loads(join(somebody()))
    (profile,) = content["user_profiles"]
    customer_id, profile["mpid"] = profile["user_identities"][0]["value"], -4242
    stack.send([json.dumps(content)])
    stack.wait_until_drained()

    status, (by_id,) = ops("person", "show", "--id", customer_id, "--reveal")
    _, (by_mpid,) = ops("person", "show", "--mpid", "-4242")
    _, shown = ops_table("person", "show", "--id", customer_id)

    assert status == 0
    assert by_id["key"] == by_mpid["key"]
    (entity,) = by_id["would be sent"]
    assert entity["identifiers"] == {"id": customer_id}
    assert entity["attributes"] == {"SegmentMembership": "'30001'"}
    assert customer_id not in shown + json.dumps(by_mpid)
    assert ops("person", "show", "--email", "nobody@example.com")[0] == PROBLEM
    assert ops("person", "show")[0] == USAGE


def test_a_person_is_erased_after_a_question_and_nobody_else(stack, ops, monkeypatch):
    customer_id, neighbour = somebody(), somebody()
    late = join(customer_id)
    refuse(stack, customer_id)
    stack.send([late, join(neighbour)])
    stack.wait_until_drained()
    _, (known,) = ops("person", "show", "--id", customer_id)
    monkeypatch.setattr("sys.stdin", io.StringIO())  # nobody answers

    asked, _ = ops("person", "erase", "--id", customer_id)
    assert ops("person", "show", "--id", customer_id)[0] == 0
    erased, output = ops("person", "erase", "--id", customer_id, "--letters", "--yes")
    stack.send([late])
    stack.wait_until_drained()

    assert (asked, erased) == (ABORTED, 0)
    assert output["erased"] == [{"site id": SITE_ID, "key": known["key"]}]
    assert output["dead letters removed"] == len(output["dead letters"]) == 1
    assert ops("person", "show", "--id", customer_id)[0] == PROBLEM
    assert ops("person", "show", "--id", neighbour)[0] == 0
    assert [person.identifiers["id"] for person in stack.customerio.people()] == [neighbour]
    assert ops("person", "erase", "--yes")[0] == USAGE


def test_it_is_explained_why_a_person_is_not_in_an_audience(stack, ops, ops_table):
    customer_id, refused = somebody(), somebody()
    stack.send([join(customer_id)])
    refuse(stack, refused)

    status, found = ops("person", "explain", "--id", customer_id, "--audience", "tested 30001")
    with_letter, of_refused = ops("person", "explain", "--id", refused)
    _, shown = ops_table("person", "explain", "--id", customer_id, "--audience", "30001")

    assert (status, with_letter) == (0, PROBLEM)
    (person,) = found["people"]
    (membership,) = person["memberships"]
    assert (membership["name"], membership["is_member"]) == ("Tested 30001", True)
    assert (found["log_level"], person["delivery"]) == ("INFO", None)
    assert found["waiting"]["mappings"] == {"queue": "Enabled", "retry queue": "Enabled"}
    (letter,) = of_refused["letters"]["naming"]
    assert (letter["error_type"], letter["account_id"]) == ("RejectedByCustomerIo", 1001)
    assert "They are in audience 30001 (Tested 30001)" in shown
    assert customer_id not in shown + json.dumps(found)


@pytest.fixture
def debug(stack):
    """Have the function log at DEBUG during the test."""
    configure = stack.functions.update_function_configuration
    configuration = stack.functions.get_function_configuration(FunctionName=stack.function_name)
    variables = configuration["Environment"]["Variables"]
    at_debug = {"Variables": {**variables, "POWERTOOLS_LOG_LEVEL": "DEBUG"}}
    configure(FunctionName=stack.function_name, Environment=at_debug)
    yield
    configure(FunctionName=stack.function_name, Environment={"Variables": variables})


def test_at_debug_the_last_delivery_of_a_person_is_found_in_the_log(stack, ops, debug):
    customer_id = somebody()
    stack.send([join(customer_id)])
    stack.wait_until_drained()

    _, found = ops("person", "explain", "--id", customer_id)

    (person,) = found["people"]
    assert found["log_level"] == "DEBUG"
    assert person["delivery"]["sent_timestamp"] == person["timestamp"]
    assert abs(person["delivery"]["at"] - time.time()) < 60


def test_a_made_up_person_goes_through_the_queue_and_is_removed(stack, ops):
    before = stack.customerio.requests()

    status, steps = ops("smoke", "--delete", "--yes")

    assert status == 0
    assert [step["name"] for step in steps] == [
        *("stack", "Customer.io", "sent", "state written", "taken by Customer.io"),
        *("erased from the table", "deleted from Customer.io"),
    ]
    assert not any(step["is_warning"] for step in steps)
    assert len(stack.customerio.requests()) == len(before) + 3  # region, identify, delete
    assert stack.customerio.people() == []
    assert left(stack) == []


def test_a_made_up_person_goes_through_the_ingress_and_stays_in_customer_io(stack, ops_table):
    status, shown = ops_table("smoke", "--ingress", "--yes")

    (person,) = stack.customerio.people()
    assert status == 0
    assert "accepted by the ingress" in shown
    assert person.attributes["SegmentMembership"] == "'-1'"
    assert f"delete {person.identifiers['id']} there" in shown


def test_a_made_up_person_who_is_refused_is_told_and_leaves_no_letter(stack, ops):
    refusal = Fault(FaultKind.STATUS, status=400, path="/api/v2/batch")
    stack.customerio.misbehave(refusal)

    status, steps = ops("smoke", "--yes")

    assert status == PROBLEM
    (failed,) = (step for step in steps if not step["is_ok"])
    assert (failed["name"], failed["result"].partition(";")[0]) == (
        "taken by Customer.io",
        "set aside: RejectedByCustomerIo: refused with 400",
    )
    assert left(stack) == []


def test_a_made_up_person_goes_through_the_stream_and_is_removed(stack, ops):
    status, steps = ops("smoke", "--stream", "--delete", "--yes")

    assert status == 0
    assert "put into the audience stream" in next(
        step["result"] for step in steps if step["name"] == "sent"
    )
    assert steps[-1]["name"] == "deleted from Customer.io"
    assert stack.customerio.people() == []
    assert left(stack) == []


def record_of(customer_id):
    """Return a record that somebody has entered an audience now."""
    identities = {"CustomerId": customer_id}
    return stream_record(
        UserIdentities=identities, MembershipChangedTimestamp=int(time.time())
    ).encode()


@pytest.fixture
def s3(stack):
    return boto3.client("s3", **stack.emulator.client_options)


def test_failed_records_are_replayed_and_what_cannot_be_read_is_named(stack, ops, s3):
    # The emulator writes nothing for failed records, so the test does, as AWS documents.
    customer_id, now = somebody(), datetime.now(UTC)
    record = record_of(customer_id)
    key = f"failed/processing-failed/{now:%Y/%m/%d/%H}/{customer_id}"
    s3.put_object(
        Bucket=stack.stream_bucket,
        Key=key,
        Body=failed_record(record) + b'{"rawData": "secret"}\n',
    )
    replay = ("stream", "replay", "--from", f"{now:%Y-%m-%dT%H:%M}")

    _, planned = ops(*replay, "--dry-run")
    before = memberships(stack, customer_id)
    status, done = ops(*replay, "--yes")
    stack.wait_until_drained()
    _, checks = ops("check")
    s3.delete_object(Bucket=stack.stream_bucket, Key=key)

    assert (status, planned, before) == (PROBLEM, done, None)
    assert (done["objects"], done["changes"], done["messages"]) == (1, 1, 1)
    (unreadable,) = done["first_unreadable"]
    assert unreadable == {"object": key, "line": 2, "reason": "not a failed record of the stream"}
    assert memberships(stack, customer_id) == "'11'"
    (failed,) = (check for check in checks if check["name"] == "failed records")
    assert "ops stream replay" in failed["fix"]


def test_what_the_stream_has_archived_is_delivered_once_more(stack, ops):
    customer_id, now = somebody(), datetime.now(UTC)
    stack.put(record_of(customer_id))
    stack.wait_until_drained()
    arrived = memberships(stack, customer_id)
    stack.customerio.reset()

    status, done = ops("stream", "replay", "--archive", "--from", f"{now:%Y-%m-%dT%H:%M}", "--yes")
    stack.wait_until_drained()

    assert (status, arrived) == (0, "'11'")
    assert done["changes"] >= 1
    assert memberships(stack, customer_id) == "'11'"


def test_a_request_is_posted_to_the_url_of_the_ingress_with_its_token(stack, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(stack.emulator.certificate))
    aws: Any = SimpleNamespace(functions=stack.functions, secrets=stack.secrets, is_emulated=False)
    ingress = Ingress(stack.ingress_arn, "", "", stack.ingress_url)
    customer_id = somebody()

    sent = to_ingress(aws, ingress, join(customer_id))
    stack.wait_until_drained()

    assert "at its URL" in sent.how
    assert abs(sent.at - time.time()) < 60
    assert memberships(stack, customer_id) == "'30001'"
    with pytest.raises(UnavailableError, match="answered 503"):
        to_ingress(aws, ingress, "\0")
    with pytest.raises(UnavailableError, match="the ingress's URL: "):
        to_ingress(aws, replace(ingress, url="https://127.0.0.1:1/"), "{}")


@pytest.fixture
def secret(stack):
    """The credentials secret, put back after the test, at Customer.io too."""
    name = "customerio/credentials"
    text = stack.secrets.get_secret_value(SecretId=name)["SecretString"]
    yield name
    stack.customerio.rotate({SITE_ID: API_KEY})
    stack.secrets.put_secret_value(SecretId=name, SecretString=text)
    start_afresh(stack)  # it may have kept the content of the secret
    stack.functions.get_waiter("function_active_v2").wait(
        FunctionName=stack.function_name, WaiterConfig={"Delay": 1}
    )


def test_refused_credentials_are_named_and_replaced(stack, ops, secret, monkeypatch):
    customer_id = somebody()
    entry = {"site_id": SITE_ID, "api_key": API_KEY}
    stack.secrets.put_secret_value(SecretId=secret, SecretString=json.dumps(entry))
    assert ops("check")[0] == 0
    put = ("credentials", "put", "--site-id", SITE_ID, "--yes")
    stack.customerio.rotate({SITE_ID: "another-key"})

    status, checks = ops("check")
    monkeypatch.setenv("CUSTOMERIO_API_KEY", "a-wrong-key")
    wrong, _ = ops(*put)
    monkeypatch.setenv("CUSTOMERIO_API_KEY", "another-key")
    right, _ = ops(*put)
    stack.send([join(customer_id)])
    stack.wait_until_drained()
    fixed, _ = ops("check")

    assert status == PROBLEM
    (failed,) = (check for check in checks if not check["is_ok"])
    assert "credentials put" in failed["fix"]
    assert (wrong, right, fixed) == (UNREACHABLE, 0, 0)
    assert memberships(stack, customer_id) == "'30001'"


def test_a_secret_that_cannot_be_read_shows_in_the_status(stack, ops, secret):
    stack.secrets.put_secret_value(SecretId=secret, SecretString="{}")
    start_afresh(stack)
    stack.functions.invoke(
        FunctionName=stack.function_name, Payload=(PROJECT / "events/join.json").read_bytes()
    )

    status, output = ops("status")

    assert status == PROBLEM
    assert output["forwarder"]["failed"] > 0
    assert ("invocation.failed", "MisconfiguredError") in {
        (error["event"], error["error_type"]) for error in output["errors"]
    }


def test_changes_of_an_account_with_an_unusable_entry_are_retried_until_it_is_removed(
    stack, ops, secret
):
    good = {"site_id": SITE_ID, "api_key": API_KEY, "region": "us"}
    unusable = {"site_id": "local:x", "api_key": "k"}
    content = {"accounts": {"default": good, "1001": unusable}}  # 1001 is who sends
    stack.secrets.put_secret_value(SecretId=secret, SecretString=json.dumps(content))
    start_afresh(stack)
    customer_id = somebody()
    stack.send([join(customer_id)])
    wait_for_a_retry(stack)

    status, output = ops("status")
    _, checks = ops("check")
    refused, _ = ops("credentials", "put", "--site-id", SITE_ID, "--api-key", API_KEY, "--yes")
    removed = ops("credentials", "remove", "--account", "1001", "--yes")
    stack.wait_until_drained()

    assert (status, output["retry_queue"]["hidden"]) == (PROBLEM, 1)
    assert ("message.retried", "UnusableCredentialsError") in {
        (error["event"], error["error_type"]) for error in output["errors"]
    }
    (failed,) = (check for check in checks if not check["is_ok"])
    assert "entry 1001" in failed["result"]
    assert (refused, removed) == (USAGE, (0, {"secret": secret, "unusable": ""}))
    assert memberships(stack, customer_id) == "'30001'"


def wait_for_a_retry(stack):
    """Wait until a message has moved to the retry queue."""
    delayed: Final = "ApproximateNumberOfMessagesDelayed"
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        answer = stack.sqs.get_queue_attributes(
            QueueUrl=stack.retry_queue_url, AttributeNames=[delayed]
        )
        if int(answer["Attributes"][delayed]):
            return
        time.sleep(0.1)
    raise TimeoutError


def test_a_failed_check_has_its_reason_and_its_fix(stack, ops, ops_table, secret):
    stack.secrets.put_secret_value(SecretId=secret, SecretString="{}")

    status, checks = ops("check")
    _, shown = ops_table("check")

    assert status == PROBLEM
    (failed,) = (check for check in checks if not check["is_ok"])
    assert failed["name"] == "credentials secret"
    assert "site_id" in failed["result"]
    assert "ops credentials put" in shown


@pytest.fixture
def enabled(stack):
    """Have both mappings enabled after the test."""
    yield
    mappings = stack.functions.list_event_source_mappings(FunctionName=stack.function_name)
    for mapping in mappings["EventSourceMappings"]:
        stack.functions.update_event_source_mapping(UUID=mapping["UUID"], Enabled=True)


def test_the_mappings_are_disabled_and_enabled_after_a_question(stack, ops, enabled, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO())  # nobody answers
    asked, _ = ops("mapping", "disable")
    assert ops("check")[0] == 0

    disabled, states = ops("mapping", "disable", "--yes")
    status, checks = ops("check")
    failed = [check for check in checks if not check["is_ok"]]
    enabled_again, _ = ops("mapping", "enable", "--yes")

    assert (asked, disabled, enabled_again) == (ABORTED, 0, 0)
    assert sorted(state["queue"] for state in states) == ["queue", "retry queue"]
    assert {state["state"] for state in states} <= {"Disabling", "Disabled"}
    assert status == PROBLEM
    names = [check["name"] for check in failed]
    assert names == ["mapping of the queue", "mapping of the retry queue"]
    assert all("ops mapping enable" in check["fix"] for check in failed)
    assert ops("check")[0] == 0


def test_a_missing_stack_is_unreachable(ops):
    assert ops("status", "--stack-name", "another")[0] == UNREACHABLE

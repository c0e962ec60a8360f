"""What `ops smoke` asks, refuses, and says at the end."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

from ops.commands.context import ABORTED, PROBLEM, USAGE, Context
from ops.commands.smoke import _notes
from ops.smoke import Smoke, Step
from tests.unit.ops.builders import CREDENTIALS, OTHER_CREDENTIALS, SECRET, STREAM, mapping

SENT = Step("sent", is_ok=True, result="", seconds=1)
FAILED = Step("state written", is_ok=False, result="", seconds=2)


@pytest.fixture
def credentials(aws):
    """Put accounts into the secret."""

    def put(**accounts):
        aws.secrets.create_secret(Name=SECRET, SecretString=json.dumps({"accounts": accounts}))

    return put


def test_the_account_must_be_named_if_there_are_several_and_no_default(ops, credentials) -> None:
    credentials(**{"7": CREDENTIALS, "8": OTHER_CREDENTIALS})

    ended = ops("smoke", "--yes")

    assert ended.status == USAGE
    assert "--account; the secret has: 7, 8" in ended.err


def test_an_ingress_that_is_not_there_cannot_be_used(ops, credentials) -> None:
    credentials(default=CREDENTIALS)

    ended = ops("smoke", "--ingress", "--yes")

    assert ended.status == USAGE
    assert "no ingress" in ended.err


def test_a_stream_that_is_not_there_cannot_be_used(ops, credentials) -> None:
    credentials(default=CREDENTIALS)

    ended = ops("smoke", "--stream", "--yes")

    assert ended.status == USAGE
    assert "no audience stream" in ended.err


@pytest.fixture
def stream(ops, aws, stack, monkeypatch):
    """Give the stack a stream that collects records for 90 seconds; its account can be set."""
    parameters = [{"ParameterName": "BufferIntervalInSeconds", "ParameterValue": "90"}]
    processing = {"Processors": [{"Type": "Lambda", "Parameters": parameters}]}
    destination = {"ExtendedS3DestinationDescription": {"ProcessingConfiguration": processing}}
    aws.firehose = SimpleNamespace(
        describe_delivery_stream=lambda **_: {
            "DeliveryStreamDescription": {"Destinations": [destination]}
        }
    )

    def of_account(account_id):
        of_it = replace(STREAM, account_id=account_id)
        monkeypatch.setattr(Context, "stack", replace(stack, stream=of_it))

    of_account(None)
    return of_account


@pytest.mark.parametrize(("account_id", "site_id"), [(None, "site-a"), (8, "site-b")])
def test_the_stream_leads_to_the_workspace_of_its_account(
    ops, credentials, stream, account_id, site_id
) -> None:
    credentials(default=CREDENTIALS, **{"8": OTHER_CREDENTIALS})
    stream(account_id)

    ended = ops("smoke", "--stream", answers="n\n")

    assert ended.status == ABORTED
    assert f"through the audience stream to Customer.io workspace {site_id}" in ended.err


def test_the_default_account_of_a_stream_must_be_in_the_secret(ops, credentials, stream) -> None:
    credentials(**{"8": OTHER_CREDENTIALS})

    ended = ops("smoke", "--stream", "--yes")

    assert ended.status == USAGE
    assert "the secret has no entry of account default, only: 8" in ended.err


@pytest.mark.parametrize(
    ("option", "why"),
    [(("--ingress",), "choose one"), (("--account", "8"), "is that of the stream")],
)
def test_the_stream_goes_with_no_other_door_or_account(
    ops, credentials, stream, option, why
) -> None:
    credentials(default=CREDENTIALS)

    ended = ops("smoke", "--stream", *option)

    assert ended.status == USAGE
    assert why in ended.err


@pytest.mark.usefixtures("stream")
def test_a_person_in_the_stream_is_given_the_time_that_it_buffers(
    ops, credentials, monkeypatch
) -> None:
    credentials(default=CREDENTIALS)
    given: list[float] = []

    def run(smoke, door, *, delete):
        given.append(smoke.timeout_s)
        return ()

    monkeypatch.setattr(Context, "log_level", "INFO")
    monkeypatch.setattr(Smoke, "run", run)

    for options in ([], ["--stream"], ["--stream", "--timeout", "30"]):
        ops("smoke", "--yes", *options)

    assert given == [120, 210, 30]


def test_nothing_is_sent_before_the_operator_agrees(ops, credentials, stack, bodies) -> None:
    credentials(default=CREDENTIALS)

    ended = ops("smoke", answers="n\n")
    with_deletion = ops("smoke", "--delete", answers="n\n")

    assert (ended.status, with_deletion.status) == (ABORTED, ABORTED)
    assert "through the queue to Customer.io workspace site-a, and leave them" in ended.err
    assert "and delete them there afterwards?" in with_deletion.err
    assert bodies(stack.queue_url) == []


def test_a_stack_that_is_not_ready_is_a_problem(ops, credentials, aws, stack, monkeypatch) -> None:
    credentials(default=CREDENTIALS)
    monkeypatch.setattr(Context, "stack", replace(stack, status="UPDATE_FAILED"))
    monkeypatch.setattr(Context, "log_level", "INFO")
    aws.functions = SimpleNamespace(
        list_event_source_mappings=lambda **_: {"EventSourceMappings": [mapping("queue")]}
    )

    ended = ops("smoke", "--yes")
    as_json = ops("smoke", "--yes", "--json")

    assert (ended.status, as_json.status) == (PROBLEM, PROBLEM)
    assert "✗ stack" in ended.out
    assert "Nothing was sent" in ended.out
    assert [step["name"] for step in json.loads(as_json.out)] == ["stack"]


@pytest.mark.parametrize(
    ("steps", "is_deleted", "creates", "note"),
    [
        ([SENT], False, True, "Customer.io still has the person: delete smoke-1 there."),
        ([SENT], True, False, "CreatePeople is false"),
        ([SENT, FAILED], False, True, "ops person erase --id smoke-1"),
    ],
)
def test_what_is_left_to_do_is_said_at_the_end(steps, is_deleted, creates, note) -> None:
    notes = [*_notes("smoke-1", steps, is_deleted=is_deleted, creates=creates)]

    assert note in notes[0]
    assert "cannot be read" in notes[1]


def test_a_person_who_was_deleted_leaves_nothing_to_do() -> None:
    (note,) = _notes("smoke-1", [SENT], is_deleted=True, creates=True)

    assert "cannot be read" in note

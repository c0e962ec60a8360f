"""The commands for the dead-letter queue."""

import json

import pytest

from ops.commands.context import ABORTED, OK, PROBLEM, USAGE
from ops.dead_letters import to_line
from tests.unit.ops.builders import letter

ALL_COMMANDS = ("list", "show", "redrive --yes", "redrive --dry-run", "save {file}", "purge --yes")


@pytest.fixture
def new_file(tmp_path):
    return tmp_path / "letters"


@pytest.fixture
def dlq(ops, new_file):
    """Run a command for the dead-letter queue, given as one text; {file} is the new file."""

    def ended(command, *arguments, **fields):
        return ops("dlq", *command.format(file=new_file).split(), *arguments, **fields)

    return ended


def test_a_redrive_moves_the_bodies_and_no_reasons(dlq, aws, stack, queue, set_aside) -> None:
    set_aside(body="a")
    set_aside("UnknownAccount", body="b")

    ended = dlq("redrive", answers="y\n")

    assert ended.status == OK
    assert "Redrive all of about 2 dead letters?" in ended.err
    assert "Sent 2." in ended.out
    assert queue.count() == 0
    messages = aws.sqs.receive_message(
        QueueUrl=stack.queue_url, MaxNumberOfMessages=10, MessageAttributeNames=["All"]
    )["Messages"]
    assert sorted(message["Body"] for message in messages) == ["a", "b"]
    assert not any("MessageAttributes" in message for message in messages)


@pytest.mark.parametrize("command", ALL_COMMANDS)
def test_an_unknown_error_type_is_refused_with_those_there_are(
    dlq, queue, set_aside, new_file, command
) -> None:
    set_aside("NoIdentity")
    set_aside("OfAnOlderVersion")

    ended = dlq(command, "--error-type", "NoIdentity", "--error-type", "Noidentity")

    assert ended.status == USAGE
    assert "there is no error type Noidentity" in ended.err
    assert "in the dead-letter queue: NoIdentity, OfAnOlderVersion" in ended.err
    assert queue.count() == 2
    assert not new_file.exists()


@pytest.mark.parametrize(
    ("error_type", "sent"), [("OfAnOlderVersion", 1), ("NoIdentity", 1), ("TooOld", 0)]
)
def test_a_redrive_by_type_takes_types_of_the_queue_and_of_this_version(
    dlq, queue, set_aside, error_type, sent
) -> None:
    set_aside("OfAnOlderVersion")
    set_aside("NoIdentity")

    ended = dlq("redrive --yes --error-type", error_type)

    assert ended.status == OK
    assert f"Sent {sent}." in ended.out
    assert queue.count() == 2 - sent


@pytest.mark.parametrize(
    ("command", "text"),
    [
        ("list", "Read 1 of about 3"),
        ("save {file}", "Saved 1"),
        ("redrive --yes", "Sent 1"),
        ("redrive --dry-run", "Would be sent"),
        ("purge --error-type NoIdentity --yes", "Deleted 1"),
    ],
)
def test_letters_that_somebody_else_has_received_are_reported(
    dlq, set_aside, receive, command, text
) -> None:
    for body in "abc":
        set_aside(body=body)
    receive()
    receive()

    ended = dlq(command)

    assert ended.status == PROBLEM
    assert text in ended.out
    assert "About 2 more are hidden" in ended.err
    assert "2 minutes" in ended.err


def test_a_letter_that_is_not_there_may_be_hidden(dlq, set_aside, receive) -> None:
    set_aside()
    receive()

    ended = dlq("show m-2")

    assert ended.status == PROBLEM
    assert "About 1 more are hidden" in ended.err


@pytest.mark.parametrize("command", ["redrive --yes", "redrive --dry-run"])
def test_an_unknown_source_message_is_reported(dlq, queue, set_aside, command) -> None:
    set_aside()

    ended = dlq(command, "--source-message-id", "unknown")

    assert ended.status == PROBLEM
    assert "Nothing matched" in ended.err
    assert queue.count() == 1


def test_a_purge_with_a_file_of_another_type_deletes_nothing(
    dlq, queue, set_aside, new_file
) -> None:
    set_aside("NoIdentity")
    new_file.write_text(to_line(letter("NoIdentity")))

    ended = dlq("purge --error-type none --yes --saved {file}")

    assert ended.status == PROBLEM
    assert "Nothing matched" in ended.err
    assert queue.count() == 1


def test_the_question_of_a_purge_with_a_file_names_the_file(dlq, set_aside, new_file) -> None:
    set_aside()
    new_file.write_text(to_line(letter()))

    ended = dlq("purge --error-type NoIdentity --saved {file}", answers="n\n")

    assert ended.status == ABORTED
    assert "Permanently delete the dead letters of type NoIdentity that are in " in ended.err
    assert "every" not in ended.err


@pytest.mark.parametrize("content", ["no json", '{"id": 1}\n{"id"', "[1]", "\udcff"])
@pytest.mark.parametrize(
    "command", [("send", "--yes"), ("dlq", "purge", "--error-type=none", "--yes", "--saved")]
)
def test_a_file_that_cannot_be_read_is_refused_before_anything_is_done(
    ops, queue, set_aside, new_file, *, command, content
) -> None:
    set_aside("none")
    new_file.write_text(content, "utf-8", "surrogateescape")

    ended = ops(*command, new_file)

    assert ended.status == USAGE
    assert str(new_file) in ended.err
    assert queue.count() == 1


def test_ids_and_bodies_stay_on_one_line_to_be_copied(dlq, set_aside, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    source, body = "5a90a977-95d8-4e5d-aab3-0123456789ab", json.dumps({"name": "x" * 200})
    set_aside(source=source, body=body)

    assert any(source in line for line in dlq("list").out.split("\n"))
    assert body in dlq("show --reveal").out.split("\n")


def test_an_existing_file_is_not_overwritten(dlq, set_aside, new_file) -> None:
    set_aside()
    new_file.write_text("mine")

    assert dlq("save {file}").status == USAGE
    assert new_file.read_text() == "mine"

"""The command that imports a file."""

import json
import os
import time
import zipfile
from dataclasses import replace

import pytest

from handler.domain.message import read_message
from handler.domain.profile import read_profile
from ops.commands.context import ABORTED, OK, USAGE
from tests.unit.ops.builders import CREDENTIALS, OTHER_CREDENTIALS, SECRET

HEAD = "customer_id,email,mpid,audience_id,audience_name,action,since\n"
GOOD = HEAD + "42,ann@example.com,-7,11,VIP,entered,\n43,,,11,VIP,left,\n"
BAD = GOOD + "44,,ann@example.com,11,VIP,entered,\n"
MEMBERS = "mpid, scanned_timestamp_ms, identity_value, identity_type\n7, 1, 42, customer_id\n"


@pytest.fixture(autouse=True)
def secret(aws):
    aws.secrets.create_secret(Name=SECRET, SecretString=json.dumps(CREDENTIALS))


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "people.csv"
    path.write_text(GOOD)
    return path


@pytest.fixture
def sent(aws, stack):
    """Take the messages from the queue: each time, account and customer ids."""

    def taken():
        answer = aws.sqs.receive_message(
            QueueUrl=stack.queue_url, MaxNumberOfMessages=10, VisibilityTimeout=600
        )
        bodies = [each["Body"] for each in answer.get("Messages", ())]
        messages = [read_message(body, now=time.time()) for body in bodies]
        return [
            (
                message.sent_at_ms // 1000,
                message.account_id,
                [read_profile(raw).customer_id for raw in message.profiles],
            )
            for message in messages
        ]

    return taken


def hours_ago(hours):
    return int(time.time()) - hours * 3600


def test_a_file_is_checked_and_sent_as_of_when_it_was_written(ops, file, sent) -> None:
    os.utime(file, (hours_ago(3), hours_ago(3)))

    ended = ops("import", file, answers="y\n")

    assert ended.status == OK
    assert "rows: 2, changes: 2, messages: 1." in ended.out
    assert "3 hours ago" in ended.out
    assert "Changes without mpid and person_hash: 1." in ended.out
    assert "Send 2 changes to " in ended.err
    assert "Sent: 2." in ended.out
    ((at, account_id, people),) = sent()
    assert abs(at - hours_ago(3)) <= 2
    assert (account_id, people) == (None, ["42", "43"])


def test_what_is_sent_once_is_not_sent_again_unless_the_progress_is_deleted(
    ops, file, sent
) -> None:
    progress = file.with_name("people.csv.progress")
    ops("import", file, "--yes")
    assert len(sent()) == 1

    again = ops("import", file, "--yes")
    assert (again.status, sent()) == (OK, [])
    assert f"All of it was sent before. To send it again, delete {progress}." in again.out

    progress.unlink()
    assert ops("import", file, "--yes").status == OK
    assert len(sent()) == 1


def test_bad_rows_are_told_by_line_and_column_and_nothing_is_sent(ops, file, sent) -> None:
    file.write_text(BAD)

    ended = ops("import", file, "--yes")
    as_json = json.loads(ops("import", file, "--yes", "--json").out)

    assert ended.status == USAGE
    assert "mpid: Expected `int | null`, got `str`" in ended.out
    assert "Nothing was sent. `--skip-bad` leaves them out." in ended.out
    assert "ann@" not in ended.out + ended.err
    assert as_json["bad"] == 1
    assert [row["line"] for row in as_json["rows"]] == [4]
    assert sent() == []
    assert not file.with_name("people.csv.progress").exists()


def test_bad_rows_can_be_left_out(ops, file, sent) -> None:
    file.write_text(BAD)

    ended = ops("import", file, "--yes", "--skip-bad")

    assert ended.status == OK
    assert "Bad rows, which are left out: 1." in ended.out
    assert "mpid: " in ended.out
    assert [people for _, _, people in sent()] == [["42", "43"]]


def test_only_the_first_bad_rows_are_shown(ops, file) -> None:
    file.write_text(HEAD + ",,,11,,,\n" * 25)

    assert "and 5 more" in ops("import", file).out


@pytest.mark.parametrize(("arguments", "status"), [(["--dry-run"], OK), ([], ABORTED)])
def test_a_dry_run_and_a_no_send_nothing_and_begin_nothing(
    ops, file, sent, *, arguments, status
) -> None:
    ended = ops("import", file, *arguments, answers="n\n")

    assert ended.status == status
    assert sent() == []
    assert not file.with_name("people.csv.progress").exists()


@pytest.fixture
def stopping_at_second(on_sending):
    """Press Ctrl-C at the second request to SQS, once."""
    calls = []

    def stop(**_):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt

    on_sending(stop)


@pytest.mark.usefixtures("stopping_at_second")
def test_an_import_that_was_stopped_goes_on_with_the_same_time(
    ops, file, sent, monkeypatch
) -> None:
    monkeypatch.setattr("ops.imports.WINDOW", 1)
    os.utime(file, (hours_ago(3), hours_ago(3)))

    stopped = ops("import", file, "--yes")
    first = sent()
    os.utime(file)
    ended = ops("import", file, "--yes")
    second = sent()

    assert (stopped.status, ended.status) == (ABORTED, OK)
    assert "Not sent yet: 1. The same command goes on with them." in stopped.err
    assert "Sent before: 1." in ended.out
    assert [people for _, _, people in first + second] == [["42"], ["43"]]
    assert first[0][0] == second[0][0]


@pytest.fixture
def changing_the_file(on_sending, file):
    """Write the file again while its first message is sent."""

    def change(**_):
        file.write_text(GOOD.replace("43", "44"))

    on_sending(change)


@pytest.mark.usefixtures("changing_the_file")
def test_of_a_file_that_changes_meanwhile_nothing_more_is_sent(
    ops, file, sent, monkeypatch
) -> None:
    monkeypatch.setattr("ops.imports.WINDOW", 1)
    os.utime(file, (hours_ago(3), hours_ago(3)))

    ended = ops("import", file, "--yes")

    assert ended.status == USAGE
    assert "has changed since the command started" in ended.err
    assert "Not sent yet: 1. To begin a new import, delete people.csv.progress." in ended.err
    assert [people for _, _, people in sent()] == [["42"]]


def test_a_file_that_changed_before_the_answer_is_not_begun(ops, file, sent, monkeypatch) -> None:
    def change(*_, **__):
        file.write_text(BAD)

    monkeypatch.setattr("ops.commands.context.Context.confirm", change)

    ended = ops("import", file)

    assert ended.status == USAGE
    assert sent() == []
    assert not file.with_name("people.csv.progress").exists()


def test_a_file_without_rows_is_refused(ops, file) -> None:
    file.write_text(HEAD)

    ended = ops("import", file, "--yes")

    assert ended.status == USAGE
    assert "people.csv has no rows" in ended.err


@pytest.mark.usefixtures("stopping_at_second")
@pytest.mark.parametrize(
    ("content", "arguments"), [(GOOD + "44,,,11,,,\n", []), (GOOD, ["--audience-name", "Other"])]
)
def test_an_import_that_has_begun_takes_no_other_file_and_no_other_options(
    ops, file, monkeypatch, *, content, arguments
) -> None:
    monkeypatch.setattr("ops.imports.WINDOW", 1)
    ops("import", file, "--yes")
    file.write_text(content)

    ended = ops("import", file, "--yes", *arguments)

    assert ended.status == USAGE
    assert "is of an import with another content of the file" in ended.err


@pytest.mark.usefixtures("stopping_at_second")
def test_an_import_that_has_begun_does_not_go_on_in_another_stack(
    ops, file, stack, monkeypatch
) -> None:
    monkeypatch.setattr("ops.imports.WINDOW", 1)
    ops("import", file, "--yes")
    other = replace(stack, queue_url=stack.retry_queue_url)
    monkeypatch.setattr("ops.commands.context.Context.stack", other)

    ended = ops("import", file, "--yes")

    assert ended.status == USAGE
    assert "into another stack" in ended.err


def test_without_a_progress_file_nothing_is_sent(ops, file, sent) -> None:
    in_the_way = file.with_name("people.csv.progress.new")
    in_the_way.mkdir()

    ended = ops("import", file, "--yes")

    assert ended.status == USAGE
    assert "people.csv.progress: cannot be written: Is a directory" in ended.err
    assert sent() == []


def test_a_damaged_progress_file_is_told(ops, file) -> None:
    file.with_name("people.csv.progress").write_text("{")

    ended = ops("import", file, "--yes")

    assert ended.status == USAGE
    assert "is no progress file" in ended.err
    assert "delete it" in ended.err


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--as-of", "yesterday"], "--as-of: expected a time in ISO 8601"),
        (["--as-of", "2199-01-01"], "--as-of: is in the future"),
        (["--as-of", "2020-01-01"], "the file is over 29 days old"),
        (["--account", "x"], "--account: neither a number nor default"),
    ],
)
def test_options_that_make_no_sense_are_refused(ops, file, arguments, reason) -> None:
    ended = ops("import", file, *arguments)

    assert ended.status == USAGE
    assert reason in ended.err


def test_a_file_over_29_days_old_is_refused_unless_somebody_vouches_for_it(ops, file) -> None:
    os.utime(file, (hours_ago(30 * 24), hours_ago(30 * 24)))

    assert ops("import", file).status == USAGE
    assert ops("import", file, "--dry-run", "--as-of", str(hours_ago(1))).status == OK


def test_a_file_that_cannot_be_read_is_refused(ops, file) -> None:
    file.write_text("ann@example.com,42\n")

    ended = ops("import", file)

    assert ended.status == USAGE
    assert "unknown columns, number 1, 2" in ended.err
    assert "ann@" not in ended.err


def test_an_archive_that_is_damaged_is_refused(ops, tmp_path, sent) -> None:
    path = tmp_path / "download.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("11_Vip.csv", MEMBERS * 1000)
        archive.writestr("manifest.json", json.dumps({"min_timestamp_ms": hours_ago(1) * 1000}))
    whole = path.read_bytes()

    for damaged in (
        whole.replace(b", 42,", b", 43,", 1),
        whole.replace(b"PK\x03\x04", b"PK\x03"),
        whole[: len(whole) // 2],
    ):
        path.write_bytes(damaged)
        ended = ops("import", path, "--yes")

        assert ended.status == USAGE
        assert "cannot be read" in ended.err
    assert sent() == []


def test_a_folder_is_named_in_any_way(ops, tmp_path, monkeypatch) -> None:
    (tmp_path / "11_Vip.csv").write_text(MEMBERS)
    (tmp_path / "manifest.json").write_text(json.dumps({"min_timestamp_ms": hours_ago(1) * 1000}))
    monkeypatch.chdir(tmp_path)

    assert ops("import", ".", "--yes").status == OK
    assert tmp_path.with_name(f"{tmp_path.name}.progress").exists()


def test_the_account_decides_which_workspace_it_is_for(ops, file, sent, aws) -> None:
    accounts = {"1001": CREDENTIALS, "1002": OTHER_CREDENTIALS}
    aws.secrets.put_secret_value(SecretId=SECRET, SecretString=json.dumps({"accounts": accounts}))

    unclear = ops("import", file, "--yes")
    clear = ops("import", file, "--yes", "--account", "1002")

    assert unclear.status == USAGE
    assert "name the account, with --account; the secret has: 1001, 1002" in unclear.err
    assert "The changes go to workspace site-b for account 1002" in clear.out
    assert [account_id for _, account_id, _ in sent()] == [1002]


def test_a_download_without_its_manifest_needs_the_audience_and_the_time(ops, file, sent) -> None:
    file.write_text(MEMBERS)
    arguments = ("import", file, "--yes", "--audience-id", "11", "--audience-name", "VIP")

    without_time = ops(*arguments)
    ended = ops(*arguments, "--as-of", str(hours_ago(2)))

    assert without_time.status == USAGE
    assert "when was the audience downloaded?" in without_time.err
    assert ended.status == OK
    ((at, _, people),) = sent()
    assert (abs(at - hours_ago(2)) <= 1, people) == (True, ["42"])


def test_members_that_nobody_can_address_are_counted(ops, file) -> None:
    file.write_text(MEMBERS + "8, 1, 74587f4b, ios_idfv\n")

    ended = ops("import", file, "--dry-run", "--audience-id", "11", "--as-of", str(hours_ago(2)))

    assert "People without a customer id or an email, left out: 1." in ended.out

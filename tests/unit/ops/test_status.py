"""The status of a stack: recent errors, whether somebody has to act, and what to do."""

import json
from typing import Any

import pytest
from rich.console import Console

from ops import show
from ops.queues import Depth
from ops.status import Invocations, LoggedError, Status, StreamStatus, logged_errors
from tests.builders import NOW
from tests.stack_template import PROJECT


def test_log_lines_of_one_kind_are_counted_together() -> None:
    retried = {"level": "WARNING", "message": "message.retried", "error_type": "E", "reason": "r"}
    lines = [
        json.dumps(retried | {"message_id": "1"}),
        json.dumps(retried | {"message_id": "2"}),
        json.dumps({"level": "INFO", "message": "batch.done", "reason": "Task timed out"}),
        "[ERROR] MisconfiguredError: setting X is missing\nTraceback (most recent call last):",
        "REPORT RequestId",
        "7",
    ]
    failed = ("invocation.failed", "MisconfiguredError", "setting X is missing")

    assert logged_errors("forwarder", lines) == [
        LoggedError("forwarder", "message.retried", "E", "r", 2),
        LoggedError("forwarder", *failed, 1),
    ]


@pytest.mark.parametrize(
    ("line", "error_type", "reason"),
    [
        (
            "2026 5f3c Task timed out after 60 seconds\n",
            "Timeout",
            "Task timed out after 60 seconds",
        ),
        (
            "5f3c Error: Runtime exited: killed\nRuntime.ExitError",
            "Crash",
            "Runtime exited: killed",
        ),
        ("[ERROR] Runtime.ImportModuleError: no app", "Runtime.ImportModuleError", "no app"),
        ("handler.errors.MisconfiguredError: no X", "MisconfiguredError", "no X"),
        ("[ERROR] MemoryError\nTraceback (most recent call last):", "MemoryError", ""),
    ],
)
def test_a_failure_that_lambda_itself_logs_is_counted(line, error_type, reason) -> None:
    assert logged_errors("ingress", [line]) == [
        LoggedError("ingress", "invocation.failed", error_type, reason, 1)
    ]


def status(*events, dead=0, function="forwarder", error_type="", **fields) -> Status:
    """A healthy stack, but for what is named."""
    values: dict[str, Any] = {
        "stack": "CREATE_COMPLETE",
        "version": "unknown",
        "queue": Depth(0, 0, None),
        "retry_queue": Depth(0, 0, None),
        "dead_letters": Depth(dead, 0, None),
        "mappings": {"queue": "Enabled", "retry queue": "Enabled"},
        "forwarder": Invocations(9, 0),
        "walker": Invocations(0, 0),
        "ingress": None,
        "stream": None,
        "firing_alarms": (),
        "errors": tuple(LoggedError(function, event, error_type, "", 1) for event in events),
        "logged_since": NOW - 3600,
        "is_cut_off": False,
    }
    return Status(**values | fields)


def shown(current: Status) -> str:
    console = Console(width=140)
    with console.capture() as captured:
        console.print(show.status(current, NOW))
    return captured.get()


RUNNING = Invocations(9, 0)
FAILED = Invocations(9, 1)
UNUSABLE_ENTRY = status("message.retried", error_type="UnusableCredentialsError")
UNKNOWN_TOKEN = status("firehose.refused", function="ingress", error_type="503")


@pytest.mark.parametrize(
    ("current", "step"),
    [
        (status(dead=1), "ops dlq list"),
        (status("message.retried"), "Changes are retried"),
        (status("message.retried", "credentials.refused"), "Credentials are refused"),
        (UNUSABLE_ENTRY, "Credentials are refused"),
        (status("audience.dot_in_name"), "Audience names have dots"),
        (status("catalogue.full"), "The catalogue of audiences is full"),
        (status("invocation.failed"), "The function fails"),
        (status("secret.unread"), "A secret cannot be read"),
        (status("secret.unread", function="ingress"), "A secret cannot be read"),
        (status("invocation.failed", function="ingress"), "The ingress fails"),
        (status(forwarder=FAILED), "The function fails"),
        (status(ingress=FAILED), "The ingress fails"),
        (status(walker=FAILED), "A walk makes no progress"),
        (status("invocation.failed", function="walker"), "A walk makes no progress"),
        (UNKNOWN_TOKEN, "was mParticle's token changed?"),
        (status(stack="UPDATE_FAILED"), "make deploy"),
        (status(stream=StreamStatus("ACTIVE", 2, RUNNING)), "To replay the stream"),
        (status(stream=StreamStatus("ACTIVE", 0, FAILED)), "Records of the stream fail"),
        (status("stream.transformed", function="stream"), "Records of the stream fail"),
        (status("invocation.failed", function="stream"), "Records of the stream fail"),
    ],
)
def test_a_problem_has_one_step_and_its_section_is_in_the_document(current, step) -> None:
    (only_step,) = current.next_steps
    section = only_step.rpartition("see: ")[2]

    assert step in only_step
    assert f"\n## {section}\n" in (PROJECT / "docs/operations.md").read_text()


@pytest.mark.parametrize(
    "current",
    [
        status(),
        status("message.retried"),
        status(ingress=RUNNING),
        status("walk.person_skipped", function="walker", walker=RUNNING),
        status(stream=StreamStatus("ACTIVE", 2, RUNNING)),  # they may have been replayed
    ],
)
def test_a_stack_is_healthy_if_nobody_has_to_act(current) -> None:
    assert current.is_healthy


@pytest.mark.parametrize(
    "current",
    [
        status(dead=1),
        status(stack="UPDATE_ROLLBACK_FAILED"),
        status(forwarder=FAILED),
        status(ingress=FAILED),
        status(firing_alarms=("RetriesAlarm: why",)),
        status("credentials.refused"),
        status("credentials.refused", function="walker"),
        status(walker=FAILED),
        UNUSABLE_ENTRY,
        status("invocation.failed", function="ingress"),
        status("secret.unread", function="ingress"),
        UNKNOWN_TOKEN,
        status("stream.transformed", function="stream"),
        status(stream=StreamStatus("CREATING", 0, RUNNING)),
        status(stream=StreamStatus("ACTIVE", 0, FAILED)),
    ],
)
def test_a_stack_is_not_healthy_if_changes_do_not_get_through(current) -> None:
    assert not current.is_healthy


@pytest.mark.parametrize(
    "states",
    [
        {"queue": "Disabled", "retry queue": "Enabled"},
        {"queue": "Enabled", "retry queue": "Disabled"},
    ],
)
def test_each_mapping_must_be_enabled(states) -> None:
    current = status(mappings=states)

    assert not current.is_healthy
    (step,) = current.next_steps
    assert "ops mapping enable" in step
    assert "Disabled" in shown(current)


def test_messages_on_the_retry_queue_are_shown_and_need_no_action_yet() -> None:
    current = status(retry_queue=Depth(1, 7, None))

    assert current.is_healthy
    assert "about 1 waiting, 7 hidden" in shown(current)
    (step,) = current.next_steps
    assert "Changes are retried" in step


@pytest.mark.parametrize(
    "current",
    [status(forwarder=FAILED), status(ingress=FAILED), status(stack="UPDATE_FAILED")],
)
def test_a_failure_is_marked_also_if_the_log_names_no_error(current) -> None:
    assert "✗" in shown(current)
    assert ("No errors" in shown(current)) is (current.failed == 0)


def test_the_stream_is_shown_with_what_it_could_not_pass_on() -> None:
    current = status(stream=StreamStatus("ACTIVE", 2, Invocations(5, 1)))

    assert "ACTIVE, objects with failed records in the last day: 2" in shown(current)
    assert "5 invocations, 1 of them failed" in shown(current)


def test_the_steps_of_walks_are_shown() -> None:
    assert "5 steps of walks, 1 of them failed" in shown(status(walker=Invocations(5, 1)))


def test_a_healthy_stack_has_neither_a_step_nor_a_mark_of_failure() -> None:
    assert status().next_steps == []
    assert "✗" not in shown(status(ingress=Invocations(9, 0)))
    assert "No errors since 2026" in shown(status())


def test_a_log_that_was_not_read_completely_says_so() -> None:
    complete, cut_off = status("message.retried"), status("message.retried", is_cut_off=True)

    assert "Logged since 2026" in shown(complete)
    assert "earlier errors" not in shown(complete)
    assert "earlier errors" in shown(cut_off)


def test_the_status_shows_the_version_that_is_deployed() -> None:
    assert "v1.2.0-3-gabc1234" in shown(status(version="v1.2.0-3-gabc1234"))


def test_the_ingress_is_shown_if_there_is_one() -> None:
    assert "ingress" not in shown(status())
    assert "12 requests, 3 of them failed" in shown(status(ingress=Invocations(12, 3)))

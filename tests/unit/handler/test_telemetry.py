"""What is logged and counted, and what never is."""

from __future__ import annotations

import json
import logging
import uuid
from io import StringIO
from types import SimpleNamespace

import pytest
from aws_lambda_powertools import Logger, Metrics

from handler.domain.attributes import Person
from handler.domain.erasure import ErasedIn, read_erasure
from handler.domain.events import Event
from handler.domain.message import read_message
from handler.domain.outcome import DeadLetter, MessageOutcome
from handler.domain.report import Report
from handler.domain.update import Identifier
from handler.domain.walk import Walk, WalkStep
from handler.errors import (
    NoIdentityError,
    PermanentError,
    PersonRejectedError,
    RetryableError,
    UnavailableError,
    UnconfirmedErasureError,
    UnusableCredentialsError,
)
from handler.metrics import MetricName
from handler.telemetry import Telemetry
from tests.builders import NOW, NOW_MS, body, erasure, message, profile

VERSION = "v1.2.0-3-gabc1234"
MESSAGE_ID = "5ff2b1c8-0000-4000-8000-000000000001"


class Told:
    """Telemetry, and the lines it wrote."""

    def __init__(self, capsys, level="INFO") -> None:
        self._capsys = capsys
        self._lines = StringIO()
        logger = Logger(
            service=f"test-{uuid.uuid4()}",
            level=level,
            logger_handler=logging.StreamHandler(self._lines),
        )
        Metrics.clear_metrics(Metrics(namespace="Test", service="test"))
        metrics = Metrics(namespace="Test", service="test")
        self.telemetry = Telemetry(logger, metrics, version=VERSION)

    def lines(self):
        return [json.loads(line) for line in self._lines.getvalue().splitlines()]

    def metrics(self):
        self.telemetry.flush()
        (line,) = self._capsys.readouterr().out.splitlines()
        return json.loads(line)


@pytest.fixture
def told(capsys):
    return Told(capsys)


def test_a_line_carries_the_invocation(told) -> None:
    told.telemetry.begin(SimpleNamespace(aws_request_id="r-1"))
    told.telemetry.credentials_refused()

    (line,) = told.lines()
    assert (line["function_request_id"], line["message"]) == ("r-1", "credentials.refused")


def test_a_secret_that_could_not_be_read_is_an_error_with_its_reason(told) -> None:
    told.telemetry.secret_unread(UnavailableError("secret s cannot be read: Throttled"))

    (line,) = told.lines()
    assert (line["level"], line["message"]) == ("ERROR", "secret.unread")
    assert line["reason"] == "secret s cannot be read: Throttled"


def test_what_is_set_aside_is_logged_and_counted_by_type(told) -> None:
    outcome = MessageOutcome(message("secret body", "m-1"))
    outcome.opened = read_message(body(profile()), now=NOW)
    error = NoIdentityError("$.user_identities: none")

    told.telemetry.message_set_aside(DeadLetter("secret body", error, outcome, 3))

    (line,) = told.lines()
    assert line["message"] == "message.set_aside"
    assert line["mparticle_message_id"] == MESSAGE_ID
    assert (line["message_id"], line["profiles"]) == ("m-1", 3)
    assert (line["error_type"], line["reason"]) == ("NoIdentity", "$.user_identities: none")
    metrics = told.metrics()
    assert (metrics["SetAside"], metrics["SetAsideNoIdentity"]) == ([3.0], [3.0])


def test_every_error_type_has_its_metric() -> None:
    types = {error.error_type for error in PermanentError.__subclasses__()}

    assert {f"SetAside{name}" for name in types} <= set(MetricName.__members__)


def retried(error: RetryableError, sent_with_id=MESSAGE_ID, **fields) -> MessageOutcome:
    received = message("x", receive_count=4, **fields)
    opened = read_message(body(id=sent_with_id), now=NOW)
    return MessageOutcome(received, opened=opened, retry=error)


@pytest.mark.parametrize(("since", "is_there"), [(None, False), (NOW, True)])
def test_a_retry_is_logged_with_its_reason_its_queue_and_both_ids(told, since, is_there) -> None:
    outcome = retried(UnavailableError("503"), retried_since=since)

    told.telemetry.message_retried(outcome)

    (line,) = told.lines()
    assert (line["message"], line["receive_count"]) == ("message.retried", 4)
    assert (line["error_type"], line["reason"]) == ("UnavailableError", "503")
    assert line["on_retry_queue"] is is_there
    assert line["message_id"] == "m-1"
    assert line["mparticle_message_id"] == MESSAGE_ID
    metrics = told.metrics()
    assert metrics["RecordsRetried"] == [1.0]
    assert "CredentialsRefused" not in metrics


@pytest.mark.parametrize("word", ["import", "reconcile", "replay", "smoke"])
def test_the_id_that_ops_gives_a_message_is_logged(told, word) -> None:
    named = f"{word}-{uuid.uuid4().hex[:12]}"

    told.telemetry.message_retried(retried(UnavailableError("503"), sent_with_id=named))

    (line,) = told.lines()
    assert line["mparticle_message_id"] == named


@pytest.mark.parametrize("personal", ["ann@example.com", "customer-7", "smoke-ann", "4" * 16])
def test_an_id_that_could_be_a_persons_is_not_logged(told, personal) -> None:
    told.telemetry.message_retried(retried(UnavailableError("503"), sent_with_id=personal))

    (line,) = told.lines()
    assert personal not in json.dumps(line)


def test_an_erasure_is_a_line_with_its_id_and_what_was_done_and_no_identity(told) -> None:
    asked = read_erasure(read_message(erasure(email="ann@example.com"), now=NOW))
    done = ErasedIn("1001", "delete", people=2, deletions=3, is_confirmed=False)

    told.telemetry.erasure_done(message("x", "m-1"), asked, [done])

    (line,) = told.lines()
    assert line["message"] == "erasure.done"
    assert line["request_id"] == json.loads(erasure())["subject_request_id"]
    assert (line["message_id"], line["erased_until_ms"]) == ("m-1", NOW_MS)
    assert line["identities"] == 2
    assert line["workspaces"] == [
        {
            "entry": "1001",
            "on_erasure": "delete",
            "people": 2,
            "deletions": 3,
            "is_confirmed": False,
        }
    ]
    assert "ann" not in str(line)


@pytest.mark.parametrize("request_id", ["ann@example.com", "", "ann", "42"])
def test_an_id_of_a_request_that_may_be_personal_is_not_logged(told, request_id) -> None:
    asked = read_erasure(read_message(erasure(subject_request_id=request_id), now=NOW))

    told.telemetry.erasure_done(message("x"), asked, [])

    assert told.lines()[0]["request_id"] == ""


def test_an_erasure_that_is_to_be_confirmed_is_no_retry(told) -> None:
    told.telemetry.message_retried(retried(UnconfirmedErasureError("twice")))
    told.telemetry.batch_done(Report(records=1))

    assert [line["message"] for line in told.lines()] == ["batch.done"]
    assert "RecordsRetried" not in told.metrics()


def test_an_entry_that_cannot_be_used_counts_as_credentials_refused(told) -> None:
    told.telemetry.message_retried(retried(UnusableCredentialsError("secret s: entry 77: …")))

    assert told.metrics()["CredentialsRefused"] == [1.0]


def test_a_message_that_is_not_retried_is_not_logged_as_such(told) -> None:
    told.telemetry.message_retried(MessageOutcome(message("x")))

    assert told.lines() == []


def test_a_message_without_profiles_is_logged(told) -> None:
    told.telemetry.message_accepted(message("x"), read_message(body(), now=NOW))

    assert told.lines()[0]["type"] == "audience_membership_change_request"


def test_an_overflow_and_a_name_left_out_name_the_person_by_hash(told) -> None:
    identifier = Identifier(is_id=True, set_at_ms=1, value="42")
    person = Person(identifier, 1, {}, overflowing=True, attributes_left_out=2)

    told.telemetry.person_delivered("site#abc", person)

    overflow, left_out = told.lines()
    assert (overflow["message"], overflow["person"]) == ("membership_list.overflow", "abc")
    assert (left_out["message"], left_out["person"]) == ("name.left_out", "abc")
    assert told.metrics()["AttributesLeftOut"] == [2.0]


def test_the_events_of_people_are_counted(told) -> None:
    identifier = Identifier(is_id=True, set_at_ms=1, value="42")
    event = Event("01ARZ3NDEKTSV4RRFFQ69G5FAV", "Audience Entered", 1, 11, "VIP")
    for events in ([event, event], [], [event]):
        told.telemetry.person_delivered("k", Person(identifier, 1, {}, events=events))

    assert told.lines() == []
    assert told.metrics()["EventsSent"] == [3.0]


def test_an_ordinary_person_is_not_logged(told) -> None:
    identifier = Identifier(is_id=True, set_at_ms=1, value="42")

    told.telemetry.person_delivered("k", Person(identifier, 1, {}))

    assert told.lines() == []


def test_at_debug_each_person_delivered_has_a_line_with_counts_and_no_identity(capsys) -> None:
    told = Told(capsys, "DEBUG")
    identifier = Identifier(is_id=True, set_at_ms=1, value="customer-42")
    attributes = {"SegmentMembership": "'11'", "first_name": "Ann"}

    told.telemetry.person_delivered("site#abc", Person(identifier, 1_790_000_000, attributes))

    (line,) = told.lines()
    assert (line["level"], line["message"], line["person"]) == ("DEBUG", "person.delivered", "abc")
    assert (line["sent_timestamp"], line["attributes"], line["events"]) == (1_790_000_000, 2, 0)
    assert not any(text in json.dumps(line) for text in ("customer-42", "Ann", "'11'", "site"))


def test_the_most_audiences_of_a_person_are_a_metric_of_the_batch(told) -> None:
    identifier = Identifier(is_id=True, set_at_ms=1, value="42")
    for count in (20, 260, 0, 30):
        told.telemetry.person_delivered(
            "k",
            Person(identifier, 1, {}, audience_count=count),
        )

    assert told.metrics()["AudiencesOfAPerson"] == [260.0]


def test_a_dot_in_the_name_of_an_audience_is_warned_of_once_for_each(told) -> None:
    identifier = Identifier(is_id=True, set_at_ms=1, value="42")
    for ids in ((12, 13), (13, 14), ()):
        told.telemetry.person_delivered(
            "k",
            Person(
                identifier,
                1,
                {},
                overflowing=False,
                attributes_left_out=0,
                dotted_audiences=ids,
            ),
        )

    lines = [(one["level"], one["message"], one["audience_id"]) for one in told.lines()]
    assert lines == [("WARNING", "audience.dot_in_name", key) for key in (12, 13, 14)]


def test_requests_are_counted_by_how_they_ended(told) -> None:
    for status in (200, 207, 429, 503, 0, 301, 404):
        told.telemetry.request(status=status, seconds=0.0123)
    told.telemetry.request_retried(UnavailableError("503"))

    metrics = told.metrics()
    assert metrics["CustomerIoRequests"] == [7.0]
    assert metrics["CustomerIoLatency"] == [12.3] * 7
    assert metrics["CustomerIoThrottles"] == [1.0]
    assert metrics["CustomerIoFailures"] == [2.0]
    assert metrics["CustomerIoRetries"] == [1.0]
    assert [line["status"] for line in told.lines() if "status" in line] == [301, 404]


def fail():
    raise KeyError("ann@example.com")


def test_an_unexpected_error_is_logged_without_its_text(told) -> None:
    try:
        fail()
    except KeyError as error:
        told.telemetry.unexpected_error(error)

    (line,) = told.lines()
    assert line["error"] == "KeyError"
    assert line["frames"][-1].endswith("fail")
    assert "ann@" not in json.dumps(line)


def test_a_batch_is_one_line_and_its_numbers(told) -> None:
    told.telemetry.batch_done(
        Report(records=2, profiles=3, people_delivered=3, oldest_change_s=1.25)
    )

    (line,) = told.lines()
    assert (line["message"], line["records"], line["delivered"]) == ("batch.done", 2, 3)
    metrics = told.metrics()
    assert (metrics["RecordsReceived"], metrics["OldestChangeAge"]) == ([2.0], [1.2])
    assert metrics["_aws"]["CloudWatchMetrics"][0]["Dimensions"] == [["service"]]


def test_an_unreadable_message_is_a_change_received_like_a_profile(told) -> None:
    told.telemetry.batch_done(Report(records=5, profiles=3, unreadable=2))

    metrics = told.metrics()
    assert (metrics["ProfilesReceived"], metrics["ChangesReceived"]) == ([3.0], [5.0])


def test_a_batch_is_logged_with_the_version_that_runs(told) -> None:
    told.telemetry.batch_done(Report())

    (line,) = told.lines()
    assert line["version"] == VERSION


def test_metrics_begin_anew_after_each_invocation(told) -> None:
    told.telemetry.batch_done(Report(records=2))
    told.metrics()
    told.telemetry.batch_done(Report(records=5))

    assert told.metrics()["RecordsReceived"] == [5.0]


def test_a_step_of_a_walk_and_who_was_skipped_are_logged_and_counted(told) -> None:
    walk = Walk(kind="resync")

    told.telemetry.walk_person_skipped("site#abc", PersonRejectedError("email: invalid"))
    told.telemetry.walk_step_done(
        WalkStep(walk, read=10, delivered=5),
        WalkStep(walk, read=40, delivered=30, skipped=1, done=True),
    )

    skipped, done = told.lines()
    assert (skipped["message"], skipped["person"]) == ("walk.person_skipped", "abc")
    assert (skipped["error_type"], skipped["reason"]) == ("RejectedByCustomerIo", "email: invalid")
    assert (done["message"], done["read"], done["delivered"]) == ("walk.step_done", 30, 25)
    metrics = told.metrics()
    assert metrics["WalkPeopleRead"] == [30.0]
    assert metrics["WalkPeopleDelivered"] == [25.0]
    assert metrics["WalkPeopleSkipped"] == [1.0]

"""Telemetry: log lines and metrics; metrics.py has every metric's name and meaning.

One log line for each batch, and one for each message that is set aside or retried; at DEBUG one
for each person as well. Lines contain message ids, counts and reasons, and of a person only the
hash in the key of their item.
"""

from __future__ import annotations

import logging
import re
import threading
import traceback
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec
from aws_lambda_powertools import Logger, Metrics

from handler.domain.attributes import Person
from handler.domain.erasure import ErasedIn, Erasure
from handler.domain.message import AudienceMessage
from handler.domain.outcome import DeadLetter, MessageOutcome, ReceivedMessage
from handler.domain.report import Report, StreamReport
from handler.domain.update import hash_in
from handler.domain.walk import WalkStep
from handler.errors import (
    Failure,
    MisconfiguredError,
    PermanentError,
    RetryableError,
    UnavailableError,
    UnconfirmedErasureError,
    UnusableCredentialsError,
)
from handler.metrics import MetricName

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


class Telemetry:
    """Logs at once; metrics are summed up and written by `flush`. Safe to use from threads."""

    def __init__(self, logger: Logger, metrics: Metrics, *, version: str) -> None:
        self._version = version
        self._logger = logger
        self._logs_people = logger.log_level <= logging.DEBUG
        self._metrics = metrics
        self._lock = threading.Lock()
        self._counts: Counter[MetricName] = Counter()
        self._values: defaultdict[MetricName, list[float]] = defaultdict(list)
        self._dotted_audiences: set[int] = set()

    def begin(self, context: LambdaContext) -> None:
        """Add the id of the invocation to all following lines."""
        self._logger.append_keys(function_request_id=context.aws_request_id)

    def message_accepted(self, message: ReceivedMessage, opened: AudienceMessage) -> None:
        """Report a message that needs no delivery."""
        self._log("message.accepted", **_ids(message, opened), type=opened.type.value)

    def erasure_done(
        self, message: ReceivedMessage, erasure: Erasure, results: Sequence[ErasedIn]
    ) -> None:
        """Report an erasure that was carried out; of the person, nothing is logged."""
        request_id = erasure.request_id
        self._log(
            "erasure.done",
            message_id=message.source_id,
            request_id=request_id if _UUID.fullmatch(request_id) else "",
            erased_until_ms=erasure.at_ms,
            identities=len(erasure.identifiers),
            workspaces=[msgspec.structs.asdict(result) for result in results],
        )

    def message_set_aside(self, letter: DeadLetter) -> None:
        """Report a letter that reached the DLQ."""
        count = max(1, letter.profiles)
        self._count(MetricName.SetAside, count)
        self._count(MetricName[f"SetAside{letter.error.error_type}"], count)
        self._logger.warning(
            "message.set_aside",
            extra={
                **_ids(letter.outcome.message, letter.outcome.opened),
                "profiles": letter.profiles,
                **_reason(letter.error),
            },
        )

    def message_retried(self, outcome: MessageOutcome) -> None:
        """Report a message that is retried later, and why."""
        error = outcome.retry
        # An erasure that is to be confirmed is done, and not in difficulties.
        if error is None or isinstance(error, UnconfirmedErasureError):
            return
        self._count(MetricName.RecordsRetried)
        if isinstance(error, UnusableCredentialsError):
            self._count(MetricName.CredentialsRefused)
        self._logger.warning(
            "message.retried",
            extra={
                **_ids(outcome.message, outcome.opened),
                "receive_count": outcome.message.receive_count,
                "on_retry_queue": outcome.message.on_retry_queue,
                **_reason(error),
            },
        )

    def person_delivered(self, key: str, person: Person) -> None:
        """Report a person whom Customer.io accepted, and what was left out."""
        if person.overflowing:
            self._count(MetricName.MembershipListOverflows)
            self._logger.warning("membership_list.overflow", extra={"person": hash_in(key)})
        if person.attributes_left_out:
            self._count(MetricName.AttributesLeftOut, person.attributes_left_out)
            self._logger.warning("name.left_out", extra={"person": hash_in(key)})
        if person.events:
            self._count(MetricName.EventsSent, len(person.events))
        if person.audience_count:
            self._keep_largest(MetricName.AudiencesOfAPerson, person.audience_count)
        for audience_id in person.dotted_audiences:
            self._warn_of_dot(audience_id)
        if self._logs_people:
            self._logger.debug(
                "person.delivered",
                extra={
                    "person": hash_in(key),
                    "sent_timestamp": person.timestamp,
                    "attributes": len(person.attributes),
                    "events": len(person.events),
                },
            )

    def credentials_refused(self) -> None:
        """Report that Customer.io refused credentials that were just read."""
        self._count(MetricName.CredentialsRefused)
        self._logger.error("credentials.refused")

    def catalogue_full(self, audiences: int) -> None:
        """Report a workspace whose catalogue of audiences is too large to store."""
        self._logger.warning("catalogue.full", extra={"audiences": audiences})

    def secret_unread(self, error: MisconfiguredError | UnavailableError) -> None:
        """Report that a secret could not be read; a cached text may still be used."""
        self._logger.error("secret.unread", extra={"reason": str(error)})

    def request(self, *, status: int, seconds: float) -> None:
        """Report a request to Customer.io; status 0 for one that was not answered."""
        self._count(MetricName.CustomerIoRequests)
        self._measure(MetricName.CustomerIoLatency, seconds * 1000)
        if status in {408, 429}:
            self._count(MetricName.CustomerIoThrottles)
        elif status == 0 or status >= 500:
            self._count(MetricName.CustomerIoFailures)
        elif status == 404 or 300 <= status < 400:
            self._logger.error("misconfigured.track_api", extra={"status": status})

    def request_retried(self, error: RetryableError) -> None:
        """Report a request that is retried, and why."""
        self._count(MetricName.CustomerIoRetries)
        self._logger.info("request.retried", extra=_reason(error))

    def unexpected_error(self, error: Exception) -> None:
        """Report an unexpected error: type and place, not the text, which may quote anything."""
        self._count(MetricName.UnexpectedErrors)
        self._logger.error(
            "unexpected_error",
            extra={
                "error": type(error).__name__,
                "frames": [
                    f"{frame.filename}:{frame.lineno} {frame.name}"
                    for frame in traceback.extract_tb(error.__traceback__)
                ],
            },
        )

    def batch_done(self, report: Report) -> None:
        """Report the batch."""
        self._count(MetricName.RecordsReceived, report.records)
        self._count(MetricName.ProfilesReceived, report.profiles)
        self._count(MetricName.ChangesReceived, report.profiles + report.unreadable)
        self._count(MetricName.PeopleChanged, report.people_changed)
        self._count(MetricName.PeopleDelivered, report.people_delivered)
        self._count(MetricName.PeopleOvertaken, report.people_overtaken)
        self._count(MetricName.VersionConflicts, report.version_conflicts)
        if report.oldest_change_s is not None:
            self._measure(MetricName.OldestChangeAge, report.oldest_change_s)
        self._log(
            "batch.done",
            version=self._version,
            records=report.records,
            profiles=report.profiles,
            changed=report.people_changed,
            delivered=report.people_delivered,
            overtaken=report.people_overtaken,
            conflicts=report.version_conflicts,
        )

    def stream_transformed(self, report: StreamReport) -> None:
        """Report an invocation of the stream's function."""
        self._count(MetricName.StreamRecords, report.records)
        self._count(MetricName.StreamRecordsUnreadable, report.unreadable)
        self._count(MetricName.StreamRecordsFailed, report.failed)
        fields = {**msgspec.structs.asdict(report), "version": self._version}
        if report.failed:
            self._logger.warning("stream.transformed", extra=fields)
        else:
            self._logger.info("stream.transformed", extra=fields)

    def walk_person_skipped(self, key: str, error: Failure) -> None:
        """Report a person whom a walk could not deliver, and goes on without."""
        self._logger.warning(
            "walk.person_skipped", extra={"person": hash_in(key), **_reason(error)}
        )

    def walk_step_done(self, before: WalkStep, after: WalkStep) -> None:
        """Report what a step of a walk did."""
        read = after.read - before.read
        delivered = after.delivered - before.delivered
        skipped = after.skipped - before.skipped
        self._count(MetricName.WalkPeopleRead, read)
        self._count(MetricName.WalkPeopleDelivered, delivered)
        self._count(MetricName.WalkPeopleSkipped, skipped)
        self._log(
            "walk.step_done",
            version=self._version,
            kind=after.walk.kind,
            segment=after.segment,
            done=after.done,
            read=read,
            delivered=delivered,
            skipped=skipped,
        )

    def flush(self) -> None:
        """Write the metrics of this invocation, as one EMF line."""
        with self._lock:
            values = {name: [float(count)] for name, count in self._counts.items()} | self._values
            self._counts, self._values = Counter(), defaultdict(list)
        for name, numbers in values.items():
            for number in numbers:
                self._metrics.add_metric(name.name, name.unit, number)
        if values:
            self._metrics.flush_metrics()

    def _count(self, name: MetricName, number: int = 1) -> None:
        with self._lock:
            self._counts[name] += number

    def _measure(self, name: MetricName, number: float) -> None:
        with self._lock:
            self._values[name].append(round(number, 1))

    def _keep_largest(self, name: MetricName, number: float) -> None:
        with self._lock:
            self._values[name] = [max([number, *self._values[name]])]

    def _warn_of_dot(self, audience_id: int) -> None:
        """Warn once for each audience: the warning is about the audience, not the person."""
        with self._lock:
            if audience_id in self._dotted_audiences:
                return
            self._dotted_audiences.add(audience_id)
        self._logger.warning("audience.dot_in_name", extra={"audience_id": audience_id})

    def _log(self, event: str, **fields: Any) -> None:
        self._logger.info(event, extra=fields)


def _reason(error: Failure) -> dict[str, str]:
    kind = error.error_type if isinstance(error, PermanentError) else type(error).__name__
    return {"error_type": kind, "reason": str(error)}


# mParticle's ids are UUIDs, and `ops` names its own. Any other may be personal: it is not logged.
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_OF_OPS: Final = re.compile(r"(import|reconcile|replay|smoke)-[0-9a-f]{12}")


def _ids(message: ReceivedMessage, opened: AudienceMessage | None) -> dict[str, str]:
    ids = {"message_id": message.source_id}
    named = opened.message_id if opened else ""
    if _UUID.fullmatch(named) or _OF_OPS.fullmatch(named):
        ids["mparticle_message_id"] = named
    return ids

"""Forward: a batch of messages from the queue, and which of them stay there.

    read > group by person > deliver > settle

Messages come in from app.py, people go to deliver.py. Whatever cannot be delivered now moves to
the retry queue; what is rejected permanently goes to the dead-letter queue with its reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Final

import msgspec

from handler.clock import AWS_CALL_S, Deadline
from handler.domain.audience import AudienceUpdate
from handler.domain.erasure import Erasure, read_erasure
from handler.domain.message import AudienceMessage, read_message
from handler.domain.outcome import DeadLetter, MessageOutcome, ReceivedMessage
from handler.domain.report import Report
from handler.domain.stream_record import read_dated_profile
from handler.domain.update import Update, person_key
from handler.domain.walk import Walk
from handler.domain.workspace import Workspace
from handler.errors import (
    CredentialsRefusedError,
    Failure,
    MisconfiguredError,
    RetryableError,
    TooOldError,
    UnavailableError,
)
from handler.jobs.deliver import deliver
from handler.jobs.erase import erase
from handler.jobs.ports import Queue, Suspensions, Telemetry, Walks
from handler.jobs.post import PersonUpdates
from handler.jobs.run import Delivered, Outside

SETTLING_S: Final = 3 * AWS_CALL_S + 1
"""Reserved to set aside, move to the retry queue, delay and answer, in seconds."""

_TOO_OLD: Final = TooOldError("a join from over 30 days ago, of an audience not in their state")


class _Group(msgspec.Struct):
    """The batch's updates of one person, and the messages and profiles that they come from."""

    workspace: Workspace
    updates: list[Update] = []
    sources: list[tuple[MessageOutcome, int]] = []


class Forwarder(msgspec.Struct, frozen=True):
    """Forwards batches. One at a time.

    What cannot be delivered for `retry_for_s` seconds is set aside. Without `suspensions`
    mParticle is never asked to suspend an account; without `walks` people stay in an audience that
    mParticle removes.
    """

    outside: Outside
    queue: Queue
    telemetry: Telemetry
    retry_for_s: float
    suspensions: Suspensions | None = None
    walks: Walks | None = None

    def process(self, messages: Sequence[ReceivedMessage], *, deadline: Deadline) -> list[str]:
        """Forward a batch and return the ids of the messages to be left on their queue.

        Raises RetryableError if that is all of them and some are not on the retry queue, and
        MisconfiguredError if a human must act first. Error texts contain nothing from a message.
        """
        report = Report(records=len(messages))
        outcomes = [MessageOutcome(message) for message in messages]
        try:
            failure = self.outside.attempt(
                self._forward, outcomes, report, deadline.keeping(SETTLING_S)
            )
        except MisconfiguredError:
            self.queue.delay(messages, deadline=deadline)
            raise
        if failure is not None:
            for outcome in outcomes:
                outcome.fail(failure)
        return self._settle(outcomes, report, deadline)

    def _forward(
        self, outcomes: Sequence[MessageOutcome], report: Report, deadline: Deadline
    ) -> None:
        groups = self._read(outcomes, report, deadline)
        people = [
            PersonUpdates(key, group.workspace, group.updates) for key, group in groups.items()
        ]
        delivered = deliver(self.outside, people, deadline=deadline)
        # Of several errors of one profile, the last one counts.
        for key, rejected in delivered.events_rejected.items():
            _fail(groups[key].sources, rejected)
        for key, places in delivered.too_old.items():
            for place in places:
                _fail([groups[key].sources[place]], _TOO_OLD)
        for key, failure in delivered.failures.items():
            _fail(groups[key].sources, failure)
        self._suspend(outcomes, deadline)
        self._count(groups, delivered, report)

    # --- read, group ---

    def _read(
        self, outcomes: Iterable[MessageOutcome], report: Report, deadline: Deadline
    ) -> dict[str, _Group]:
        """Group the updates in messages by person; record errors of what cannot be read."""
        groups: dict[str, _Group] = {}

        @cache
        def workspace_of(account_id: int | None) -> Workspace | Failure:
            find = self.outside.credentials.workspace
            return self.outside.attempt(find, account_id, deadline=deadline)

        for outcome in outcomes:
            opened = self.outside.attempt(
                read_message, outcome.message.body, now=self.outside.now()
            )
            if not isinstance(opened, AudienceMessage):
                outcome.fail(opened)
                report.unreadable += 1
                continue
            outcome.opened = opened
            report.profiles += len(opened.profiles)
            if opened.subject_request is not None:
                self._erase(outcome, opened, deadline)
            elif opened.audience is None and not opened.profiles:
                self.telemetry.message_accepted(outcome.message, opened)
            elif not isinstance(workspace := workspace_of(opened.account_id), Workspace):
                outcome.fail(workspace)
            elif opened.audience is not None:
                failure = self.outside.attempt(
                    self._learn, workspace, opened, opened.audience, deadline
                )
                if failure is None:
                    self.telemetry.message_accepted(outcome.message, opened)
                else:
                    outcome.fail(failure)
            else:
                self._group(outcome, opened, workspace, groups)
        return groups

    def _learn(
        self,
        workspace: Workspace,
        opened: AudienceMessage,
        audience: AudienceUpdate,
        deadline: Deadline,
    ) -> None:
        """Store what is new about an audience; if it is removed, let everybody leave it."""
        self.outside.audiences.learn(workspace.site_id, [audience], deadline=deadline)
        # The walk comes second: it may find only people who entered before this is known.
        if audience.action == "remove" and self.walks is not None:
            walk = Walk.of_removal(
                workspace.site_id,
                audience,
                one_attribute_per_audience=opened.one_attribute_per_audience,
            )
            self.walks.start(walk, deadline=deadline)

    def _erase(self, outcome: MessageOutcome, opened: AudienceMessage, deadline: Deadline) -> None:
        """Carry out an erasure; accept any other request of a data subject."""
        id_type = self.outside.options.customer_id_type
        erasure = self.outside.attempt(read_erasure, opened, customer_id_type=id_type)
        if erasure is None:
            self.telemetry.message_accepted(outcome.message, opened)
            return
        if not isinstance(erasure, Erasure):
            outcome.fail(erasure)
            return
        # The changes of the batch need time, too.
        by = deadline.within(deadline.seconds_left() / 2)
        erased = erase(self.outside, erasure, deadline=by)
        if erased.results or erased.failure is None:
            self.telemetry.erasure_done(outcome.message, erasure, erased.results)
        if erased.failure is not None:
            outcome.fail(erased.failure)

    def _group(
        self,
        outcome: MessageOutcome,
        opened: AudienceMessage,
        workspace: Workspace,
        groups: dict[str, _Group],
    ) -> None:
        options = self.outside.options.of(workspace)
        one_attribute = opened.one_attribute_per_audience
        if one_attribute is None:
            one_attribute = options.one_attribute_per_audience
        now, id_type = self.outside.now(), options.customer_id_type
        for place, raw in enumerate(opened.profiles):
            dated = self.outside.attempt(
                read_dated_profile, opened, raw, now=now, customer_id_type=id_type
            )
            if not isinstance(dated, tuple):
                outcome.fail_profile(place, dated)
                continue
            at_ms, profile = dated
            key = person_key(workspace.site_id, profile)
            group = groups.get(key)
            if group is None:
                group = groups[key] = _Group(workspace)
            group.updates.append(
                Update.of(
                    profile,
                    at_ms=at_ms,
                    one_attribute_per_audience=one_attribute,
                    mapping=options.attribute_mapping,
                )
            )
            group.sources.append((outcome, place))

    def _suspend(self, outcomes: Iterable[MessageOutcome], deadline: Deadline) -> None:
        """Suspend the accounts whose credentials Customer.io refuses."""
        if self.suspensions is None:
            return
        refused = dict.fromkeys(
            outcome.opened.account_id
            for outcome in outcomes
            if outcome.opened
            # An erasure is in all workspaces, not in that of its account.
            and outcome.opened.subject_request is None
            and isinstance(outcome.retry, CredentialsRefusedError)
        )
        account_ids = [account_id for account_id in refused if account_id is not None]
        self.suspensions.suspend(account_ids, now=self.outside.now(), deadline=deadline)

    def _count(self, groups: Mapping[str, _Group], delivered: Delivered, report: Report) -> None:
        report.people_changed = delivered.changed
        report.people_overtaken = delivered.overtaken
        report.version_conflicts = delivered.version_conflicts
        # Who was erased is neither delivered nor failed.
        persons = delivered.persons
        report.people_delivered = len(persons)
        oldest = min((u.at_ms for key in persons for u in groups[key].updates), default=None)
        if oldest is not None:
            report.oldest_change_s = max(0.0, self.outside.now() - oldest / 1000)
        for key, person in persons.items():
            self.telemetry.person_delivered(key, person)

    # --- settle ---

    def _settle(
        self, outcomes: Sequence[MessageOutcome], report: Report, deadline: Deadline
    ) -> list[str]:
        """Set aside what was rejected permanently, and have the rest retried."""
        now = self.outside.now()
        for outcome in outcomes:
            outcome.stop_retrying(now=now, after_s=self.retry_for_s)
        self._set_aside(outcomes, deadline)
        retried = [outcome for outcome in outcomes if outcome.retry is not None]
        fresh = [outcome for outcome in retried if not outcome.message.on_retry_queue]
        moved = self.queue.move_to_retry(fresh, deadline=deadline)
        left = [outcome.message for outcome in retried if outcome.message.id not in moved]
        self.queue.delay(left, deadline=deadline)
        for outcome in retried:
            self.telemetry.message_retried(outcome)
        self.telemetry.batch_done(report)
        if len(left) == len(outcomes) and not all(message.on_retry_queue for message in left):
            # An error makes the event source mapping poll less often; an answer does not. Do not
            # slow the retry queue: its messages are hidden between tries, and SQS deletes them in
            # the end.
            raise RetryableError(f"all {len(left)} messages are left on the queue")
        return [message.id for message in left]

    def _set_aside(self, outcomes: Iterable[MessageOutcome], deadline: Deadline) -> None:
        # One request's letters are in memory at a time: they may be as large as the messages.
        for letter, arrived in self.queue.set_aside(self._letters(outcomes), deadline=deadline):
            if arrived:
                self.telemetry.message_set_aside(letter)
            else:
                error = UnavailableError("the dead-letter queue did not take a letter")
                letter.outcome.fail(error)

    def _letters(self, outcomes: Iterable[MessageOutcome]) -> Iterator[DeadLetter]:
        for outcome in outcomes:
            letters = self.outside.attempt(outcome.letters)
            if isinstance(letters, list):
                yield from letters
            else:
                outcome.fail(letters)


def _fail(sources: Iterable[tuple[MessageOutcome, int]], failure: Failure) -> None:
    for outcome, place in sources:
        outcome.fail_profile(place, failure)

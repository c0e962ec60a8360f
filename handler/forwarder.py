"""Forwarder: one batch's walk from messages to delivered people, and which messages failed.

    read > load > merge > save > deliver > verify > settle

What it needs of the outside it names as protocols; app.py hands it the real things.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Final, Protocol, TypeVar

from handler.clock import AWS_CALL_S, Now, Sleep, TimeLeft
from handler.domain.attributes import AttributeOptions, Person, build_person
from handler.domain.membership import PersonState, Update, merge, person_key, renewed
from handler.domain.message import AudienceMessage, MessageType, read_message, read_profile
from handler.domain.outcome import DeadLetter, MessageOutcome, ReceivedMessage
from handler.domain.report import Report
from handler.domain.workspace import Workspace
from handler.errors import (
    CredentialsRefusedError,
    MisconfiguredError,
    PermanentError,
    PersonRejectedError,
    RetryableError,
    UnavailableError,
    VersionConflictError,
)

SLICE: Final = 1000
"""People whose states are held at once."""

MAX_ROUNDS: Final = 5
"""How often a person is read again after someone else wrote them first."""

RENEWED_AFTER_S: Final = 60
"""A state delivered again with nothing new is written anew once it is this old, in seconds."""

SETTLING_S: Final = 2 * AWS_CALL_S + 1
"""Kept for the end, in seconds: setting aside, delaying, answering."""

VERIFYING_S: Final = AWS_CALL_S + 0.5
"""Kept for the verifying read, in seconds."""


_Result = TypeVar("_Result")


class Store(Protocol):
    """Where states are kept; see store.py."""

    def load(
        self, keys: Sequence[str], *, consistent: bool, time_left: TimeLeft
    ) -> Mapping[str, PersonState | RetryableError]:
        """Return each person's state, version 0 for one not known, or why it was not read."""

    def versions(
        self, keys: Sequence[str], *, time_left: TimeLeft
    ) -> Mapping[str, int | RetryableError]:
        """Return each person's version as of now, or why it was not read."""

    def save(
        self, states: Mapping[str, PersonState], *, now: float, time_left: TimeLeft
    ) -> Mapping[str, RetryableError]:
        """Write states that follow the version before; return what was not written."""


class Credentials(Protocol):
    """Who opens which workspace; see credentials.py."""

    def workspace(
        self, account_id: int | None, *, time_left: TimeLeft, afresh: bool = False
    ) -> Workspace:
        """Return the workspace of an mParticle account; `afresh`: after reading it again."""


class CustomerIo(Protocol):
    """Where people are delivered; see customerio/client.py."""

    def deliver(
        self, workspace: Workspace, persons: Sequence[Person], *, time_left: TimeLeft
    ) -> Sequence[PersonRejectedError | RetryableError | None]:
        """Post persons and return what became of each."""


class Marks(Protocol):
    """Which accounts' credentials are refused for good; see suspension.py."""

    def key(self, account_id: int) -> str:
        """Return the key of an account's mark, to be found by among versions."""

    def set(self, account_ids: Iterable[int], *, now: float, time_left: TimeLeft) -> None:
        """Mark accounts."""

    def remove(self, account_ids: Iterable[int], *, time_left: TimeLeft) -> None:
        """Remove the marks of accounts."""


class Queue(Protocol):
    """What SQS is told; see queue.py."""

    def delay(self, messages: Sequence[ReceivedMessage], *, time_left: TimeLeft) -> None:
        """Hide messages for a while."""

    def set_aside(
        self, letters: Sequence[DeadLetter], *, time_left: TimeLeft
    ) -> Sequence[DeadLetter]:
        """Send letters to the DLQ; return those that did not get there."""


class Telemetry(Protocol):
    """What is reported; see telemetry.py."""

    def message_accepted(self, message: ReceivedMessage, opened: AudienceMessage) -> None:
        """Report a message that asks for nothing to be delivered."""

    def message_set_aside(self, letter: DeadLetter) -> None:
        """Report a letter that reached the DLQ."""

    def message_retried(self, message: ReceivedMessage, error: RetryableError) -> None:
        """Report a message left on the queue."""

    def person_delivered(self, key: str, person: Person) -> None:
        """Report a person whom Customer.io took, and what was left out."""

    def credentials_refused(self) -> None:
        """Report that Customer.io refused even fresh credentials."""

    def went_wrong(self, error: Exception) -> None:
        """Report an error that nobody foresaw."""

    def batch_done(self, report: Report) -> None:
        """Report the batch."""


class Subject(Protocol):
    """What something can fail for: a message, or a person of this batch."""

    def fail(self, error: PermanentError | RetryableError) -> None:
        """Note why it failed."""


@dataclass(slots=True, eq=False)
class Errand:
    """One person of this batch: all that its messages say of them, and how far they have got."""

    key: str
    workspace: Workspace
    account_ids: dict[int | None, None] = field(default_factory=dict)
    updates: list[Update] = field(default_factory=list)
    sources: list[tuple[MessageOutcome, int]] = field(default_factory=list)
    version: int = 0
    person: Person | None = None
    failed: bool = False

    def aim(self, state: PersonState, options: AttributeOptions) -> None:
        """Say how Customer.io is to hold them: as this state and the updates have it."""
        # All that is ever posted of one version has its timestamp: two invocations that post
        # different values of one version must not outrun each other.
        self.version = state.version
        self.person = build_person(state, self.updates, timestamp=state.timestamp, options=options)

    def fail(self, error: PermanentError | RetryableError) -> None:
        """Note why this person is not delivered, at every message that names them."""
        self.failed = True
        for fate, place in self.sources:
            fate.fail_profile(place, error)


class _Guard:
    """Lets what fails in a block fail for its subjects alone, but for misconfiguration.

    A class, as it is entered several times for every person: a generator costs more.
    """

    __slots__ = ("_subjects", "_telemetry")

    def __init__(self, subjects: Sequence[Subject], telemetry: Telemetry) -> None:
        self._subjects = subjects
        self._telemetry = telemetry

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: object
    ) -> bool:
        if not isinstance(error, Exception) or isinstance(error, MisconfiguredError):
            return False
        failure = error
        if not isinstance(failure, PermanentError | RetryableError):
            # The one place in the program that catches what nobody foresaw.
            self._telemetry.went_wrong(error)
            failure = UnavailableError(f"unexpected {type(error).__name__}; see the log")
        for subject in self._subjects:
            subject.fail(failure)
        return True


class Forwarder:
    """Forwards batches. One at a time."""

    def __init__(
        self,
        *,
        store: Store,
        credentials: Credentials,
        customerio: CustomerIo,
        queue: Queue,
        telemetry: Telemetry,
        now: Now,
        sleep: Sleep,
        backoff: Callable[[int], float],
        one_attribute_per_audience: bool,
        attribute_options: AttributeOptions,
        marks: Marks | None = None,
    ) -> None:
        """Keep what the walk needs; `backoff` gives the seconds before a round, from 1.

        Without `marks` nobody asks which accounts' credentials are refused.
        """
        self._store = store
        self._credentials = credentials
        self._customerio = customerio
        self._queue = queue
        self._telemetry = telemetry
        self._now = now
        self._sleep = sleep
        self._backoff = backoff
        self._one_attribute_per_audience = one_attribute_per_audience
        self._attribute_options = attribute_options
        self._marks = marks

    def process(self, messages: Sequence[ReceivedMessage], *, time_left: TimeLeft) -> list[str]:
        """Forward a batch and return the ids of the messages to be left on the queue.

        Raises RetryableError when that is all of them, and MisconfiguredError when a human must
        act first. No text raised holds anything of a message.
        """
        report = Report(records=len(messages))
        fates = [MessageOutcome(message) for message in messages]
        try:
            with self._guarded(*fates):
                self._forward(fates, report, _less(time_left, SETTLING_S))
        except MisconfiguredError:
            self._queue.delay(messages, time_left=time_left)
            raise
        return self._settle(fates, report, time_left)

    def _forward(
        self, fates: Sequence[MessageOutcome], report: Report, time_left: TimeLeft
    ) -> None:
        """Walk up to the last verifying read, and note at each message what failed."""
        to_verify = _less(time_left, VERIFYING_S)
        errands = self._read(fates, report, to_verify)
        for start in range(0, len(errands), SLICE):
            part = errands[start : start + SLICE]
            with self._guarded(*part):
                self._update(part, report, to_verify)
        with self._guarded(*errands):
            self._deliver(errands, report, time_left)
        self._count(errands, report)

    def _guarded(self, *subjects: Subject) -> _Guard:
        """Let what fails in the block fail for its subjects alone."""
        return _Guard(subjects, self._telemetry)

    # --- read ---

    def _read(
        self, fates: Iterable[MessageOutcome], report: Report, time_left: TimeLeft
    ) -> list[Errand]:
        """Sort what the messages say by person; refuse what cannot be read."""
        errands: dict[str, Errand] = {}
        workspace_of = cache(partial(self._workspace, time_left=time_left))
        for fate in fates:
            with self._guarded(fate):
                opened = read_message(fate.message.body, now=self._now())
                fate.opened = opened
                report.profiles += len(opened.profiles)
                if opened.type is MessageType.SUBSCRIPTION or not opened.profiles:
                    self._telemetry.message_accepted(fate.message, opened)
                else:
                    workspace = _found(workspace_of(opened.account_id))
                    self._sort(fate, opened, workspace, errands)
        return list(errands.values())

    def _workspace(
        self, account_id: int | None, *, time_left: TimeLeft, afresh: bool = False
    ) -> Workspace | PermanentError | RetryableError:
        try:
            return self._credentials.workspace(account_id, time_left=time_left, afresh=afresh)
        except (PermanentError, RetryableError) as error:
            return error

    def _sort(
        self,
        fate: MessageOutcome,
        opened: AudienceMessage,
        workspace: Workspace,
        errands: dict[str, Errand],
    ) -> None:
        one_attribute = opened.one_attribute_per_audience
        if one_attribute is None:
            one_attribute = self._one_attribute_per_audience
        for place, raw in enumerate(opened.profiles):
            try:
                profile = read_profile(raw)
            except PermanentError as error:
                fate.fail_profile(place, error)
                continue
            key = person_key(workspace.site_id, profile)
            errand = errands.get(key)
            if errand is None:
                errand = errands[key] = Errand(key, workspace)
            errand.account_ids[opened.account_id] = None
            errand.updates.append(Update(opened.sent_at_ms, profile, one_attribute))
            errand.sources.append((fate, place))

    # --- load, merge, save ---

    def _update(self, errands: Sequence[Errand], report: Report, time_left: TimeLeft) -> None:
        """Bring each person's kept state up to date, and say how Customer.io is to hold them."""
        waiting = {errand.key: errand for errand in errands}
        for tries in range(MAX_ROUNDS):
            if tries:
                self._sleep(min(self._backoff(tries), max(0.0, time_left())))
            states = self._store.load([*waiting], consistent=tries > 0, time_left=time_left)
            now = self._now()
            changed: dict[str, PersonState] = {}
            for key, errand in waiting.items():
                with self._guarded(errand):
                    state = _found(states[key])
                    merged = merge(state, errand.updates, now=now)
                    if merged is state and state.timestamp < now - RENEWED_AFTER_S:
                        merged = renewed(state, now=now)
                    errand.aim(merged, self._attribute_options)
                    if merged is not state:
                        changed[key] = merged
            failures = self._store.save(changed, now=now, time_left=time_left)
            report.people_changed += len(changed) - len(failures)
            conflicts: dict[str, Errand] = {}
            for key, error in failures.items():
                if isinstance(error, VersionConflictError):
                    conflicts[key] = waiting[key]
                else:
                    waiting[key].fail(error)
            report.version_conflicts += len(conflicts)
            waiting = conflicts
            if not waiting:
                return
        for errand in waiting.values():
            errand.fail(VersionConflictError("others kept writing this person first"))

    # --- deliver, verify ---

    def _deliver(self, errands: Sequence[Errand], report: Report, time_left: TimeLeft) -> None:
        """Post people until what was posted is the newest state of each."""
        waiting = [errand for errand in errands if not errand.failed]
        for _ in range(MAX_ROUNDS):
            taken = self._post(waiting, _less(time_left, VERIFYING_S))
            waiting = self._overtaken(taken, time_left)
            report.people_overtaken += len(waiting)
            if not waiting:
                return
        for errand in waiting:
            errand.fail(VersionConflictError("others kept writing this person meanwhile"))

    def _post(self, errands: Iterable[Errand], time_left: TimeLeft) -> list[Errand]:
        """Post people, workspace by workspace, and return those whom Customer.io took."""
        groups: defaultdict[Workspace, list[Errand]] = defaultdict(list)
        for errand in errands:
            groups[errand.workspace].append(errand)
        taken: list[Errand] = []
        for to_come, (workspace, group) in zip(
            range(len(groups), 0, -1), groups.items(), strict=True
        ):
            # Each workspace has its share of the time: one in trouble does not starve the others.
            share = _less(time_left, time_left() * (1 - 1 / to_come))
            with self._guarded(*group):
                taken += self._post_to(workspace, group, share)
        return taken

    def _post_to(
        self, workspace: Workspace, group: Sequence[Errand], time_left: TimeLeft
    ) -> list[Errand]:
        taken, refused = self._try_to_post(workspace, group, time_left)
        for fresh, part in self._renewed(refused, time_left).items():
            more, refused_again = self._try_to_post(fresh, part, time_left)
            taken += more
            if self._marks:
                self._marks.set(_accounts(refused_again), now=self._now(), time_left=time_left)
        done = set(taken)
        still_refused = [one for one in refused if one not in done and not one.failed]
        if still_refused:
            self._telemetry.credentials_refused()
        for errand in still_refused:
            errand.fail(CredentialsRefusedError("Customer.io refused the credentials"))
        return taken

    def _renewed(
        self, refused: Sequence[Errand], time_left: TimeLeft
    ) -> Mapping[Workspace, list[Errand]]:
        """Read the secret afresh, and sort people by the credentials that it now has for them.

        Left out are those whose accounts are now unknown or feed another workspace: they find
        out when their messages come again.
        """
        accounts = dict.fromkeys(one for errand in refused for one in errand.account_ids)
        fresh: dict[int | None, Workspace | PermanentError | RetryableError] = {}
        for account_id in accounts:
            found = self._workspace(account_id, time_left=time_left, afresh=not fresh)
            if isinstance(found, RetryableError):
                # The secret could not be read: nobody knows whether these are refused for good.
                for errand in refused:
                    errand.fail(found)
                return {}
            fresh[account_id] = found
        renewed: defaultdict[Workspace, list[Errand]] = defaultdict(list)
        for errand in refused:
            known = [
                one
                for one in (fresh[account_id] for account_id in errand.account_ids)
                if isinstance(one, Workspace) and one.site_id == errand.workspace.site_id
            ]
            if known:
                changed = [one for one in known if one != errand.workspace]
                errand.workspace = (changed or known)[0]
                renewed[errand.workspace].append(errand)
        return renewed

    def _try_to_post(
        self, workspace: Workspace, group: Sequence[Errand], time_left: TimeLeft
    ) -> tuple[list[Errand], list[Errand]]:
        """Return whom Customer.io took, and for whom it refused the credentials."""
        persons = [errand.person for errand in group if errand.person is not None]
        outcomes = self._customerio.deliver(workspace, persons, time_left=time_left)
        taken: list[Errand] = []
        refused: list[Errand] = []
        for errand, outcome in zip(group, outcomes, strict=True):
            match outcome:
                case None:
                    taken.append(errand)
                case CredentialsRefusedError():
                    refused.append(errand)
                case _:
                    errand.fail(outcome)
        return taken, refused

    def _overtaken(self, errands: Sequence[Errand], time_left: TimeLeft) -> list[Errand]:
        """Return whom someone else wrote while they were posted, aimed at their newest state."""
        by_key = {errand.key: errand for errand in errands}
        # The marks of the accounts that Customer.io took people of are read along.
        marks = {self._marks.key(one): one for one in _accounts(errands)} if self._marks else {}
        versions = self._store.versions([*by_key, *marks], time_left=time_left)
        if self._marks:
            marked = [account_id for key, account_id in marks.items() if _is_there(versions[key])]
            self._marks.remove(marked, time_left=time_left)
        changed: list[str] = []
        for key, errand in by_key.items():
            with self._guarded(errand):
                # An item that is gone was erased: there is nothing newer to post.
                if _found(versions[key]) not in {errand.version, 0}:
                    changed.append(key)
        if not changed:
            return []
        states = self._store.load(changed, consistent=True, time_left=time_left)
        for key in changed:
            with self._guarded(by_key[key]):
                by_key[key].aim(_found(states[key]), self._attribute_options)
        return [by_key[key] for key in changed if not by_key[key].failed]

    def _count(self, errands: Iterable[Errand], report: Report) -> None:
        delivered = [errand for errand in errands if not errand.failed]
        report.people_delivered = len(delivered)
        oldest = min((u.at_ms for errand in delivered for u in errand.updates), default=None)
        if oldest is not None:
            report.oldest_change_s = max(0.0, self._now() - oldest / 1000)
        for errand in delivered:
            if errand.person is not None:
                self._telemetry.person_delivered(errand.key, errand.person)

    # --- settle ---

    def _settle(
        self, fates: Sequence[MessageOutcome], report: Report, time_left: TimeLeft
    ) -> list[str]:
        """Set aside what was refused for good, delay what is to be tried again."""
        letters: dict[DeadLetter, MessageOutcome] = {}
        for fate in fates:
            with self._guarded(fate):
                letters |= dict.fromkeys(fate.letters(), fate)
        lost = self._queue.set_aside([*letters], time_left=time_left)
        for letter in lost:
            letters.pop(letter).retry = UnavailableError("the dead-letter queue took nothing")
        for letter in letters:
            self._telemetry.message_set_aside(letter)
        failed = [fate.message for fate in fates if fate.retry is not None]
        self._queue.delay(failed, time_left=time_left)
        for fate in fates:
            if fate.retry is not None:
                self._telemetry.message_retried(fate.message, fate.retry)
        self._telemetry.batch_done(report)
        if failed and len(failed) == len(fates):
            # An error slows the event source mapping's polling down; an answer does not.
            raise RetryableError(f"all {len(failed)} messages are left on the queue")
        return [message.id for message in failed]


def _accounts(errands: Iterable[Errand]) -> list[int]:
    """Return the accounts that people are of, each once."""
    ids = dict.fromkeys(one for errand in errands for one in errand.account_ids)
    return [account_id for account_id in ids if account_id is not None]


def _is_there(version: int | RetryableError) -> bool:
    return isinstance(version, int) and version > 0


def _less(time_left: TimeLeft, reserved: float) -> TimeLeft:
    return lambda: time_left() - reserved


def _found(result: _Result | PermanentError | RetryableError) -> _Result:
    if isinstance(result, PermanentError | RetryableError):
        raise result.with_traceback(None)  # one error may stand for many messages
    return result

"""Stand-ins for the ports of handler/jobs/ports.py: kept in memory, and made to fail on demand."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from copy import copy
from typing import Any

from handler.clock import Deadline
from handler.domain.attributes import Person
from handler.domain.audience import AudienceUpdate, Catalogue
from handler.domain.erasure import Deletion
from handler.domain.events import Event
from handler.domain.membership import PersonState
from handler.domain.outcome import DeadLetter, MessageOutcome, ReceivedMessage
from handler.domain.report import Report
from handler.domain.update import Identifier, SiteIdentifier, site_id_in
from handler.domain.walk import Walk
from handler.domain.workspace import Workspace
from handler.errors import (
    EventRejectedError,
    PersonRejectedError,
    RetryableError,
    UnknownAccountError,
    UnusableCredentialsError,
    VersionConflictError,
)
from handler.table.people import Page
from tests.builders import WORKSPACE


def do_nothing(*_: object) -> None:
    """Stand for whatever a test may do at that point; pickle takes no lambda."""


class MemoryPeople:
    """A table in memory, with the same compare-and-set as the real one."""

    def __init__(self, audiences: MemoryAudiences | None = None) -> None:
        self.items: dict[str, PersonState] = {}
        self.audiences = audiences or MemoryAudiences()
        self.calls: Counter[str] = Counter()
        self.failing: dict[str, RetryableError] = {}
        self.is_lagging = False
        self.index_is_lagging = False
        self.page_size = 1000
        self._before: dict[str, PersonState] = {}
        self.before_save: Callable[[], None] = do_nothing

    def seen_with(self, audiences: MemoryAudiences) -> MemoryPeople:
        """Return the same table as another environment sees it."""
        other = copy(self)
        other.audiences = audiences
        return other

    def load(
        self, keys: Sequence[str], *, consistent: bool, deadline: Deadline
    ) -> dict[str, PersonState | RetryableError]:
        self.calls["load consistently" if consistent else "load"] += 1
        self.audiences.read_along({site_id_in(key) for key in keys})
        lagging = self.is_lagging and not consistent
        items = self.items | self._before if lagging else self.items
        return {key: self.failing.get(key) or items.get(key, PersonState()) for key in keys}

    def versions(
        self, keys: Sequence[str], *, catalogues_of: Collection[str] = (), deadline: Deadline
    ) -> dict[str, int | RetryableError]:
        self.calls["versions"] += 1
        self.audiences.refresh(catalogues_of)
        return {
            key: self.failing.get(key) or self.items.get(key, PersonState()).version
            for key in keys
        }

    def save(
        self, states: Mapping[str, PersonState], *, now: float, deadline: Deadline
    ) -> dict[str, RetryableError]:
        self.calls["save"] += bool(states)
        self.before_save()
        failures: dict[str, RetryableError] = {}
        for key, state in states.items():
            if self.items.get(key, PersonState()).version != state.version - 1:
                failures[key] = VersionConflictError("someone else wrote this person first")
            else:
                self._before[key] = self.items.get(key, PersonState())
                self.items[key] = state
        return failures

    def pages(
        self,
        segment: int,
        total: int,
        *,
        after: str | None = None,
        at_most: int | None = None,
        consistent: bool = False,
        deadline: Deadline,
    ) -> Iterator[Page]:
        size = self.page_size if at_most is None else min(self.page_size, at_most)
        keys = sorted(key for key in self.items if zlib.crc32(key.encode()) % total == segment)
        rest = [key for key in keys if after is None or key > after]
        for start in range(0, len(rest) or 1, size):
            self.calls["page"] += 1
            page = rest[start : start + size]
            people = {key: self.failing.get(key) or self.items[key] for key in page}
            is_last = start + size >= len(rest)
            yield Page(people, len(page), None if is_last else page[-1])

    def known_as(
        self, identifiers: Sequence[SiteIdentifier], *, deadline: Deadline
    ) -> dict[SiteIdentifier, list[str] | RetryableError]:
        self.calls["known_as"] += 1
        indexed = self.items | self._before if self.index_is_lagging else self.items
        return {
            (site_id, identifier): self.failing.get(identifier.text)
            or [
                key
                for key, state in indexed.items()
                if site_id_in(key) == site_id
                and state.identifier is not None
                and state.identifier.text == identifier.text
            ]
            for site_id, identifier in identifiers
        }


class MemoryErasures:
    """Erasures in memory. With `is_lagging` the last one recorded is not read yet."""

    def __init__(self) -> None:
        self.records: dict[tuple[str, str], tuple[int, int]] = {}
        self.failing: RetryableError | None = None
        self.is_lagging = False
        self.reads = 0
        self._before: dict[tuple[str, str], tuple[int, int]] = {}

    def newest(
        self, identifiers: Collection[SiteIdentifier], *, deadline: Deadline
    ) -> dict[SiteIdentifier, int | RetryableError]:
        self.reads += 1
        records = self._before if self.is_lagging else self.records
        return {
            (site_id, each): self.failing or records.get((site_id, each.text), (0, 0))[0]
            for site_id, each in identifiers
        }

    def record(
        self,
        identifiers: Collection[Identifier],
        site_id: str,
        *,
        at_ms: int,
        now: float,
        deadline: Deadline,
    ) -> int:
        if self.failing:
            raise self.failing
        self._before = dict(self.records)
        keys = [(site_id, each.text) for each in identifiers]
        for key in keys:
            if self.records.get(key, (0, 0))[0] < at_ms:
                self.records[key] = at_ms, int(now)
        return max(self.records[key][1] for key in keys)


_NO_AUDIENCES = Catalogue()


class MemoryAudiences:
    """Catalogues in memory, as one environment knows them; another may share what is `kept`.

    `failing`: no catalogue is read or written.
    """

    def __init__(self, kept: dict[str, Catalogue] | None = None) -> None:
        self.kept = {} if kept is None else kept
        self.failing: RetryableError | None = None
        self.writes = 0
        self._known: dict[str, Catalogue] = {}

    def of(self, site_id: str) -> Catalogue:
        if self.failing:
            raise self.failing
        return self._known.get(site_id, _NO_AUDIENCES)

    def learn(self, site_id: str, news: Collection[AudienceUpdate], *, deadline: Deadline) -> None:
        for _ in range(2):
            known = self.of(site_id)
            learned = known.learn(news)
            if learned is known:
                return
            if self.kept.get(site_id, Catalogue()).version == known.version:
                self.writes += 1
                self.kept[site_id] = self._known[site_id] = learned
                return
            self.refresh([site_id])

    def refresh(self, site_ids: Collection[str]) -> None:
        """Read these catalogues as of now."""
        self._known |= {key: self.kept[key] for key in site_ids if key in self.kept}

    def read_along(self, site_ids: Collection[str]) -> None:
        """Read these catalogues, but for those that are known."""
        self.refresh([key for key in site_ids if key not in self._known])


class RecordingCustomerIo:
    """Takes people, sets each attribute that no newer update did, and takes each event once.

    With `orders_whole_updates` a newer update of a person shuts out all of an older one. Events
    of the names in `refused_events` are refused.
    """

    def __init__(self) -> None:
        self.posted: list[Person] = []
        self.people: dict[str, dict[str, Any]] = {}
        self.events: dict[str, Event] = {}
        self.deleted: list[str] = []
        self.suppressed: set[str] = set()
        self.refused_events: set[str] = set()
        self.orders_whole_updates = False
        self.set_at: dict[tuple[str, str], int] = {}
        self.credentials: list[Workspace] = []
        self.pauses: dict[Workspace, RetryableError] = {}
        self.trials: set[Workspace] = set()
        self.answers: dict[str, PersonRejectedError | RetryableError] = {}
        self.refuses: Callable[[Workspace], RetryableError | None] = do_nothing
        self.after_post: Callable[[], None] = do_nothing

    def deliver(
        self, workspace: Workspace, persons: Sequence[Person | Deletion], *, deadline: Deadline
    ) -> list[PersonRejectedError | EventRejectedError | RetryableError | None]:
        self.credentials.append(workspace)
        refusal = self.refuses(workspace)
        outcomes = [refusal or self._answer(one) for one in persons]
        for one, outcome in zip(persons, outcomes, strict=True):
            if isinstance(one, Deletion):
                self._delete(one, outcome)
                continue
            self.posted.append(one)
            if outcome is None or isinstance(outcome, EventRejectedError):
                self._take(one)
        self.after_post()
        return outcomes

    def _answer(
        self, person: Person | Deletion
    ) -> PersonRejectedError | EventRejectedError | RetryableError | None:
        if answer := self.answers.get(person.identifier.value):
            return answer
        if isinstance(person, Deletion):
            return None
        is_refused = any(event.name in self.refused_events for event in person.events)
        return EventRejectedError("name: invalid") if is_refused else None

    def paused(self, workspace: Workspace) -> RetryableError | None:
        return self.pauses.get(workspace)

    def needs_probe(self, workspace: Workspace) -> bool:
        return workspace in self.trials

    def _delete(self, deletion: Deletion, failure: Exception | None) -> None:
        value = deletion.identifier.value
        if failure is None:
            self.deleted.append(value)
            self.people.pop(value, None)
            self.set_at = {key: at for key, at in self.set_at.items() if key[0] != value}
            self.suppressed |= {value} if deletion.action == "suppress" else set()

    def _take(self, person: Person) -> None:
        if person.identifier.value in self.suppressed:
            return
        for event in person.events:
            if event.name not in self.refused_events:
                self.events.setdefault(event.id, event)
        value = person.identifier.value
        if person.update_only and value not in self.people:
            return
        held = self.people.setdefault(value, {})
        for name, attribute in person.attributes.items():
            ordered_by = (value, "" if self.orders_whole_updates else name)
            if person.timestamp >= self.set_at.get(ordered_by, 0):
                self.set_at[ordered_by] = person.timestamp
                held[name] = attribute


class FixedCredentials:
    """Knows the accounts it was given, and after a refresh those in `fresh`."""

    def __init__(self, accounts: Mapping[int | None, Workspace] | None = None) -> None:
        self.accounts = accounts or {1001: WORKSPACE, 1002: WORKSPACE}
        self.fresh: dict[int | None, Workspace] = dict(self.accounts)
        self.unusable: dict[str, UnusableCredentialsError] = {}
        self.reads: list[int | None] = []
        self.refreshes: list[Workspace] = []

    def workspace(self, account_id: int | None, *, deadline: Deadline) -> Workspace:
        self.reads.append(account_id)
        if account_id not in self.accounts:
            raise UnknownAccountError("the credentials secret has no entry for the account")
        return self.accounts[account_id]

    def workspace_of_site(self, site_id: str, *, deadline: Deadline) -> Workspace:
        for each in self.accounts.values():
            if each.site_id == site_id:
                return each
        raise UnknownAccountError("the credentials secret has no entry for a workspace")

    def workspaces(self, *, deadline: Deadline) -> dict[str, Workspace | UnusableCredentialsError]:
        by_site = {each.site_id: (str(name), each) for name, each in self.accounts.items()}
        return {**self.unusable, **dict(by_site.values())}

    def refreshed(self, workspace: Workspace, *, deadline: Deadline) -> Workspace | None:
        self.refreshes.append(workspace)
        others = [each for each in self.fresh.values() if each.site_id == workspace.site_id]
        return next((each for each in others if each != workspace), None)


class MemorySuspensions:
    """Remembers which accounts are suspended."""

    def __init__(self) -> None:
        self.suspended: list[int] = []

    def suspend(self, account_ids: Iterable[int], *, now: float, deadline: Deadline) -> None:
        self.suspended += account_ids

    def is_suspended(self, account_id: int, *, now: float, deadline: Deadline) -> bool:
        return account_id in self.suspended


class MemoryWalks:
    """Remembers which walks were started, or fails with `error`."""

    def __init__(self) -> None:
        self.started: list[Walk] = []
        self.error: RetryableError | None = None

    def start(self, walk: Walk, *, deadline: Deadline) -> None:
        if self.error:
            raise self.error
        self.started.append(walk)


class MemoryQueue:
    """Remembers what it was asked to do. `is_broken`: no queue takes anything."""

    def __init__(self) -> None:
        self.delayed: list[str] = []
        self.moved: list[str] = []
        self.letters: list[DeadLetter] = []
        self.is_broken = False
        self.seconds_left = 0.0

    def delay(self, messages: Sequence[ReceivedMessage], *, deadline: Deadline) -> None:
        self.seconds_left = deadline.seconds_left()
        self.delayed += [message.id for message in messages]

    def move_to_retry(self, outcomes: Sequence[MessageOutcome], *, deadline: Deadline) -> set[str]:
        ids = [] if self.is_broken else [outcome.message.id for outcome in outcomes]
        self.moved += ids
        return set(ids)

    def set_aside(
        self, letters: Iterable[DeadLetter], *, deadline: Deadline
    ) -> Iterator[tuple[DeadLetter, bool]]:
        for letter in letters:
            if not self.is_broken:
                self.letters.append(letter)
            yield letter, not self.is_broken


class MemorySender:
    """Remembers the bodies that it was to send, or fails with `error`."""

    def __init__(self) -> None:
        self.bodies: list[str] = []
        self.error: Exception | None = None

    def send(self, bodies: Sequence[str], *, account_id: int | None, deadline: Deadline) -> None:
        if self.error:
            raise self.error
        self.bodies += bodies


class RecordingTelemetry:
    """Remembers what was reported, by name."""

    def __init__(self) -> None:
        self.reports: list[tuple[str, Any]] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        def report(*args: Any, **fields: Any) -> None:
            self.reports.append((name, (*args, *fields.values())))

        return report

    def named(self, name: str) -> list[Any]:
        return [args for reported, args in self.reports if reported == name]

    @property
    def report(self) -> Report:
        (args,) = self.named("batch_done")
        report: Report = args[0]
        return report

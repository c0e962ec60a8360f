"""What stands for the outside in unit tests: kept in memory, and made to fail on demand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from handler.clock import TimeLeft
from handler.domain.attributes import Person
from handler.domain.membership import PersonState
from handler.domain.outcome import DeadLetter, ReceivedMessage
from handler.domain.report import Report
from handler.domain.workspace import Workspace
from handler.errors import (
    PersonRejectedError,
    RetryableError,
    UnknownAccountError,
    VersionConflictError,
)
from tests.builders import WORKSPACE


class MemoryStore:
    """A table in memory, with the same compare-and-set as the real one."""

    def __init__(self) -> None:
        self.items: dict[str, PersonState] = {}
        self.calls: Counter[str] = Counter()
        self.failing: dict[str, RetryableError] = {}
        self.is_lagging = False
        self._before: dict[str, PersonState] = {}
        self.before_save: Callable[[], None] = lambda: None

    def load(
        self, keys: Sequence[str], *, consistent: bool, time_left: TimeLeft
    ) -> dict[str, PersonState | RetryableError]:
        self.calls["load consistently" if consistent else "load"] += 1
        lagging = self.is_lagging and not consistent
        items = self.items | self._before if lagging else self.items
        return {key: self.failing.get(key) or items.get(key, PersonState()) for key in keys}

    def versions(
        self, keys: Sequence[str], *, time_left: TimeLeft
    ) -> dict[str, int | RetryableError]:
        self.calls["versions"] += 1
        return {
            key: self.failing.get(key) or self.items.get(key, PersonState()).version
            for key in keys
        }

    def save(
        self, states: Mapping[str, PersonState], *, now: float, time_left: TimeLeft
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


class RecordingCustomerIo:
    """Takes people, and sets each attribute that no newer update did.

    With `orders_whole_updates` a newer update of a person shuts out all of an older one.
    """

    def __init__(self) -> None:
        self.posted: list[Person] = []
        self.people: dict[str, dict[str, Any]] = {}
        self.orders_whole_updates = False
        self.set_at: dict[tuple[str, str], int] = {}
        self.credentials: list[Workspace] = []
        self.answers: dict[str, PersonRejectedError | RetryableError] = {}
        self.refuses: Callable[[Workspace], RetryableError | None] = lambda _: None
        self.after_post: Callable[[], None] = lambda: None

    def deliver(
        self, workspace: Workspace, persons: Sequence[Person], *, time_left: TimeLeft
    ) -> list[PersonRejectedError | RetryableError | None]:
        self.credentials.append(workspace)
        refusal = self.refuses(workspace)
        outcomes = [refusal or self.answers.get(one.identifier.value) for one in persons]
        for one, outcome in zip(persons, outcomes, strict=True):
            self.posted.append(one)
            if outcome is None:
                self._take(one)
        self.after_post()
        return outcomes

    def _take(self, person: Person) -> None:
        value = person.identifier.value
        held = self.people.setdefault(value, {})
        for name, attribute in person.attributes.items():
            ordered_by = (value, "" if self.orders_whole_updates else name)
            if person.timestamp >= self.set_at.get(ordered_by, 0):
                self.set_at[ordered_by] = person.timestamp
                held[name] = attribute


class FixedCredentials:
    """Knows the accounts it was given."""

    def __init__(self, accounts: Mapping[int | None, Workspace] | None = None) -> None:
        self.accounts = accounts or {1001: WORKSPACE, 1002: WORKSPACE}
        self.fresh: dict[int | None, Workspace] = dict(self.accounts)
        self.reads: list[int | None] = []
        self.fresh_reads: list[int | None] = []

    def workspace(
        self, account_id: int | None, *, time_left: TimeLeft, afresh: bool = False
    ) -> Workspace:
        (self.fresh_reads if afresh else self.reads).append(account_id)
        if afresh:
            self.accounts = self.fresh
        if account_id not in self.accounts:
            raise UnknownAccountError("the credentials secret has no entry for the account")
        return self.accounts[account_id]


class MemoryMarks:
    """Marks in the table of a MemoryStore."""

    def __init__(self, store: MemoryStore) -> None:
        self.store = store
        self.removed: list[int] = []

    def key(self, account_id: int) -> str:
        return f"account#{account_id}"

    def set(self, account_ids: Iterable[int], *, now: float, time_left: TimeLeft) -> None:
        self.store.items |= {self.key(one): PersonState(version=1) for one in account_ids}

    def remove(self, account_ids: Iterable[int], *, time_left: TimeLeft) -> None:
        for one in account_ids:
            del self.store.items[self.key(one)]
            self.removed.append(one)


class MemoryQueue:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.delayed: list[str] = []
        self.letters: list[DeadLetter] = []
        self.is_broken = False
        self.time_left = 0.0

    def delay(self, messages: Sequence[ReceivedMessage], *, time_left: TimeLeft) -> None:
        self.time_left = time_left()
        self.delayed += [message.id for message in messages]

    def set_aside(self, letters: Sequence[DeadLetter], *, time_left: TimeLeft) -> list[DeadLetter]:
        if self.is_broken:
            return list(letters)
        self.letters += letters
        return []


class RecordingTelemetry:
    """Remembers what was reported, by name."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Any]] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        def report(*args: Any, **fields: Any) -> None:
            self.told.append((name, (*args, *fields.values())))

        return report

    def named(self, name: str) -> list[Any]:
        return [args for told, args in self.told if told == name]

    @property
    def report(self) -> Report:
        (args,) = self.named("batch_done")
        report: Report = args[0]
        return report

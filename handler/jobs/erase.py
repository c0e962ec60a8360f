"""Erase: forget people in the table, and as the options say in Customer.io.

    record > look up > delete in Customer.io > erase > delete again > look up again > deliver

Erasures come in from forward.py. Every step can be done twice. Whatever else handles the same
person at the same time, nothing from before the erasure stays, and what came after it does:
design.md has the reasons.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from handler.clock import Deadline
from handler.domain.erasure import Deletion, ErasedIn, Erasure
from handler.domain.membership import PersonState, merge
from handler.domain.update import Identifier
from handler.domain.workspace import OnErasure, Workspace
from handler.errors import (
    Failure,
    RetryableError,
    UnconfirmedErasureError,
    UnusableCredentialsError,
    VersionConflictError,
)
from handler.jobs.deletions import LatePost, known_as
from handler.jobs.deliver import deliver
from handler.jobs.post import PersonUpdates, Poster
from handler.jobs.run import Delivered, Outside, Run

MAX_ROUNDS: Final = 5
"""Most rounds in which other invocations write the people first."""

CONFIRMED_AFTER_S: Final = 20
"""How long an erasure must have been recorded before its last look at the table, in seconds.

By then every change that was read before the record is saved and in the index: see states.py."""


class Erased(msgspec.Struct, frozen=True):
    """What was done in each workspace, and why the erasure is to be retried or set aside."""

    results: Sequence[ErasedIn]
    failure: Failure | None


def erase(outside: Outside, erasure: Erasure, *, deadline: Deadline) -> Erased:
    """Erase a person in all workspaces of the secret.

    If one workspace fails, the others are done all the same. Of several failures, one that is to
    be retried counts.
    """
    if not erasure.identifiers:
        return Erased([], None)
    workspaces = outside.attempt(outside.credentials.workspaces, deadline=deadline)
    if not isinstance(workspaces, Mapping):
        return Erased([], workspaces)
    results: list[ErasedIn] = []
    failures: list[Failure] = []
    for entry, workspace in workspaces.items():
        if isinstance(workspace, UnusableCredentialsError):
            failures.append(workspace)
            continue
        person = _Person(outside, workspace, erasure, deadline)
        done = outside.attempt(person.erase, entry)
        if isinstance(done, Erased):
            results += done.results
            failures += [done.failure] if done.failure else []
        else:
            failures.append(done)
    if not all(each.is_confirmed for each in results):
        failures.append(UnconfirmedErasureError("an erasure is done twice"))
    failures.sort(key=lambda failure: isinstance(failure, RetryableError), reverse=True)
    return Erased(results, failures[0] if failures else None)


class _Person(msgspec.Struct):
    """One person to erase in one workspace."""

    outside: Outside
    workspace: Workspace
    erasure: Erasure
    deadline: Deadline
    rejected: Failure | None = None

    @property
    def on_erasure(self) -> OnErasure:
        return self.outside.options.of(self.workspace).on_erasure

    def erase(self, entry: str) -> Erased:
        """Erase everybody with the identifiers; `entry` names the workspace in the secret."""
        recorded_at = self.outside.erasures.record(
            self.erasure.identifiers,
            self.workspace.site_id,
            at_ms=self.erasure.at_ms,
            now=self.outside.now(),
            deadline=self.deadline,
        )
        is_confirmed = recorded_at + CONFIRMED_AFTER_S <= self.outside.now()
        states = self._look_up()
        people, deleted = 0, set[str]()
        for _ in range(MAX_ROUNDS):
            identifiers = self._to_delete(states)
            # Before, as afterwards nobody knows the former identifiers; and after, as a post may
            # have arrived and been verified in between.
            self._delete(identifiers)
            if erased := self._save(states):
                self._delete(identifiers)
            people += erased
            deleted |= {identifier.text for identifier in identifiers}
            # Somebody may have started anew, or been written, meanwhile.
            states = self._look_up()
            if not self._not_erased(states):
                self._deliver(states)
                done = ErasedIn(
                    entry, self.on_erasure, people, len(deleted), is_confirmed=is_confirmed
                )
                return Erased([done], self.rejected)
        raise VersionConflictError("others kept writing this person first")

    def _look_up(self) -> dict[str, PersonState]:
        """Return the states of everybody with one of the identifiers, by key."""
        owners = self._owners(self.erasure.identifiers)
        return {key: state for states in owners.values() for key, state in states.items()}

    def _owners(
        self, identifiers: Iterable[Identifier]
    ) -> dict[Identifier, Mapping[str, PersonState]]:
        """Return the states of who has each identifier now. Raises why one cannot be read."""
        wanted = [(self.workspace.site_id, identifier) for identifier in identifiers]
        owners: dict[Identifier, Mapping[str, PersonState]] = {}
        answers = known_as(self.outside.people, wanted, deadline=self.deadline)
        for (_, identifier), answer in answers.items():
            if isinstance(answer, RetryableError):
                raise answer
            owners[identifier] = answer
        return owners

    def _not_erased(self, states: Mapping[str, PersonState]) -> dict[str, PersonState]:
        at_ms = self.erasure.at_ms
        return {key: state for key, state in states.items() if state.erased_at_ms < at_ms}

    def _to_delete(self, states: Mapping[str, PersonState]) -> list[Identifier]:
        """Return under which identifiers Customer.io may have what is to be erased.

        Whoever started anew after an earlier try of this erasure is not deleted for its sake.
        """
        if self.on_erasure == "none":
            return []
        erasing = self._not_erased(states)
        named = self.erasure.identifiers if erasing or not states else ()
        former = [each for state in erasing.values() for each in state.former]
        unowned = [each for each, owners in self._owners(former).items() if not owners]
        return [*{each.text: each for each in (*unowned, *named)}.values()]

    def _delete(self, identifiers: Sequence[Identifier]) -> None:
        """Delete or suppress people in Customer.io."""
        action = self.on_erasure
        if action == "none" or not identifiers:
            return
        deletions = [Deletion(identifier, action) for identifier in identifiers]
        run = Run(self.outside, self.deadline)
        # The person has no key of one item: there may be several, or none.
        addressee = LatePost(PersonUpdates("", self.workspace), identifiers)
        Poster(run).post([addressee], lambda _: deletions)
        self._check(run.result)

    def _save(self, states: Mapping[str, PersonState]) -> int:
        """Erase states; return how many. Those that others wrote first stay."""
        now = self.outside.now()
        erased = {
            key: merge(state, (), now=now, erased_at_ms=self.erasure.at_ms)
            for key, state in self._not_erased(states).items()
        }
        failures = self.outside.people.save(erased, now=now, deadline=self.deadline)
        for failure in failures.values():
            if not isinstance(failure, VersionConflictError):
                raise failure
        return len(erased) - len(failures)

    def _deliver(self, states: Mapping[str, PersonState]) -> None:
        """Deliver who started anew: Customer.io may have deleted them, or have what is erased."""
        people = [PersonUpdates(key, self.workspace) for key in states]
        self._check(deliver(self.outside, people, deadline=self.deadline, consistent=True))

    def _check(self, posted: Delivered) -> None:
        """Raise a failure that is to be retried, and keep one that is not."""
        # A rejection is permanent: waiting would only keep the person in the table.
        for failure in posted.failures.values():
            if isinstance(failure, RetryableError):
                raise failure
            self.rejected = failure

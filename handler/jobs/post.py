"""Post: persons to Customer.io, all workspaces side by side, with credentials that work.

Deliveries come in from deliver.py; persons go to customerio. Failures are recorded by person.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Final, Protocol, TypeVar

import msgspec

from handler.clock import Deadline
from handler.concurrency import side_by_side
from handler.domain.attributes import Person
from handler.domain.erasure import Deletion
from handler.domain.membership import PersonState
from handler.domain.update import Update
from handler.domain.workspace import Workspace
from handler.errors import (
    CredentialsRefusedError,
    EventRejectedError,
    Failure,
    RetryableError,
)
from handler.jobs.run import Run

WORKSPACES_AT_A_TIME: Final = 16
SHORTEST_SHARE_S: Final = 5.0
"""The least time that a workspace gets, in seconds."""


class PersonUpdates(msgspec.Struct, frozen=True):
    """All that is new about one person; no updates at all means: deliver what is known.

    `all_audiences`: send the attributes of all audiences in the state, not only of changed ones.
    """

    key: str
    workspace: Workspace
    updates: Sequence[Update] = ()
    all_audiences: bool = False


class Delivery(msgspec.Struct, frozen=True):
    """One person to deliver: their updates, and the state that includes them.

    `predecessors`: updates of those who had the current identifier before.
    """

    person: PersonUpdates
    state: PersonState
    predecessors: tuple[Update, ...] = ()

    def succeeding(self, other: Delivery) -> Delivery:
        """Return the delivery of a person who has an identifier that another person had.

        Customer.io still has the other's lists and attributes under it.
        """
        continuations = max(self.state.continuations, other.state.continuations)
        return msgspec.structs.replace(
            self,
            state=msgspec.structs.replace(self.state, continuations=continuations),
            predecessors=(*self.predecessors, *other.updates),
        )

    @property
    def takes_audience_attributes(self) -> bool:
        """Whether attributes of single audiences are posted."""
        return self.person.all_audiences or any(
            update.one_attribute_per_audience for update in (*self.updates, *self.predecessors)
        )

    @property
    def updates(self) -> Sequence[Update]:
        """The updates of the person, but for those from before an erasure."""
        erased_at_ms = self.state.erased_at_ms
        if not erased_at_ms:  # most people were never erased
            return self.person.updates
        return [update for update in self.person.updates if update.at_ms > erased_at_ms]


class Addressee(Protocol):
    """Whatever has a person to post for."""

    @property
    def person(self) -> PersonUpdates:
        """The person, with the workspace to post to."""


_Addressee = TypeVar("_Addressee", bound=Addressee)

_Persons = Callable[[_Addressee], list[Person] | list[Deletion]]
"""Builds what is posted for somebody."""


class Poster:
    """Posts what one run delivers. Failures are added to the run's result."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._outside = run.outside
        self._refreshed: dict[Workspace, Workspace] = {}

    def refreshed(self, workspace: Workspace) -> Workspace:
        """Return a workspace with its refreshed credentials, if there are any."""
        return self._refreshed.get(workspace, workspace)

    def post(
        self,
        addressees: Sequence[_Addressee],
        persons: _Persons[_Addressee],
    ) -> list[_Addressee]:
        """Post, all workspaces side by side; return those whose posts Customer.io accepted."""
        by_workspace: defaultdict[Workspace, list[_Addressee]] = defaultdict(list)
        for addressee in addressees:
            by_workspace[addressee.person.workspace].append(addressee)
        groups: defaultdict[Workspace, list[_Addressee]] = defaultdict(list)
        for workspace, members in by_workspace.items():
            groups[self.refreshed(workspace)] += members
        if not groups:
            return []
        share = self._run.deadline.seconds_left() * WORKSPACES_AT_A_TIME / len(groups)

        def post(group: tuple[Workspace, list[_Addressee]]) -> list[_Addressee]:
            workspace, members = group
            deadline = self._run.deadline.within(max(SHORTEST_SHARE_S, share))
            result = self._outside.attempt(self._post_to, workspace, members, persons, deadline)
            if isinstance(result, list):
                return result
            self._run.fail((each.person.key for each in members), result)
            return []

        posted = side_by_side(self._outside.executor, post, [*groups.items()])
        return [addressee for accepted in posted for addressee in accepted]

    def _post_to(
        self,
        workspace: Workspace,
        group: Sequence[_Addressee],
        persons: _Persons[_Addressee],
        deadline: Deadline,
    ) -> list[_Addressee]:
        """Post to one workspace, and again if the secret has new credentials."""
        accepted, refused = self._try_to_post(workspace, group, persons, deadline)
        if not refused:
            return accepted
        refreshed = self._outside.attempt(
            self._outside.credentials.refreshed, workspace, deadline=deadline
        )
        if isinstance(refreshed, Workspace):
            self._refreshed[workspace] = refreshed
            more, refused = self._try_to_post(refreshed, refused, persons, deadline)
            accepted += more
            refreshed = None
        if refused and refreshed is None:
            self._outside.telemetry.credentials_refused()
            refreshed = CredentialsRefusedError("Customer.io refused the credentials")
        if refreshed is not None:
            self._run.fail((each.person.key for each in refused), refreshed)
        return accepted

    def _try_to_post(
        self,
        workspace: Workspace,
        group: Sequence[_Addressee],
        persons_of: _Persons[_Addressee],
        deadline: Deadline,
    ) -> tuple[list[_Addressee], list[_Addressee]]:
        """Return those whose posts were accepted, and for whom credentials were refused."""
        persons: list[Person | Deletion] = []
        owners: list[str] = []
        failures: dict[str, Failure] = {}
        for addressee in group:
            key = addressee.person.key
            built = self._outside.attempt(persons_of, addressee)
            if isinstance(built, list):
                persons += built
                owners += [key] * len(built)
            else:
                failures[key] = built
        if persons:
            outcomes = self._outside.customerio.deliver(workspace, persons, deadline=deadline)
            for key, outcome in zip(owners, outcomes, strict=True):
                if isinstance(outcome, EventRejectedError):
                    self._run.result.events_rejected[key] = outcome
                # Of several failures of one person, a retryable one counts.
                elif outcome is not None and not isinstance(failures.get(key), RetryableError):
                    failures[key] = outcome
        accepted: list[_Addressee] = []
        refused: list[_Addressee] = []
        for addressee in group:
            failure = failures.get(addressee.person.key)
            if failure is None:
                accepted.append(addressee)
            elif isinstance(failure, CredentialsRefusedError):
                refused.append(addressee)
            else:
                self._run.fail([addressee.person.key], failure)
        return accepted, refused

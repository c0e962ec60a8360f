"""Ports: what the jobs need from the outside, as protocols.

app.py passes the real objects, tests pass stand-ins.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from handler.clock import Deadline
from handler.domain.attributes import Person
from handler.domain.audience import AudienceUpdate, Catalogue
from handler.domain.erasure import Deletion, ErasedIn, Erasure
from handler.domain.membership import PersonState
from handler.domain.message import AudienceMessage
from handler.domain.outcome import DeadLetter, MessageOutcome, ReceivedMessage
from handler.domain.report import Report
from handler.domain.update import Identifier, SiteIdentifier
from handler.domain.walk import Walk, WalkStep
from handler.domain.workspace import Workspace
from handler.errors import Failure, RetryableError, UnusableCredentialsError


class Page(Protocol):
    """A page of people; see table/people.py."""

    @property
    def people(self) -> Mapping[str, PersonState | RetryableError]:
        """The people by key, or why one cannot be read."""

    @property
    def last_key(self) -> str | None:
        """The key that the next page begins after; None: this is the last page."""


class People(Protocol):
    """Where states are kept; see table/people.py."""

    def load(
        self, keys: Sequence[str], *, consistent: bool, deadline: Deadline
    ) -> Mapping[str, PersonState | RetryableError]:
        """Return each person's state, version 0 if there is none, or why it was not read."""

    def versions(
        self, keys: Sequence[str], *, catalogues_of: Collection[str] = (), deadline: Deadline
    ) -> Mapping[str, int | RetryableError]:
        """Return each person's current version, 0 if there is none, or why it was not read.

        If the catalogue of one of these workspaces has changed, it is read again.
        """

    def save(
        self, states: Mapping[str, PersonState], *, now: float, deadline: Deadline
    ) -> Mapping[str, RetryableError]:
        """Write states, each as the next version; return why some were not written."""

    def known_as(
        self, identifiers: Sequence[SiteIdentifier], *, deadline: Deadline
    ) -> Mapping[SiteIdentifier, Sequence[str] | RetryableError]:
        """Return the keys of the people whose current identifier each is."""

    def pages(
        self,
        segment: int,
        total: int,
        *,
        after: str | None,
        at_most: int | None,
        consistent: bool,
        deadline: Deadline,
    ) -> Iterator[Page]:
        """Yield one of `total` segments of the table, page by page. Raises RetryableError."""


class Erasures(Protocol):
    """Where it is kept who was erased; see table/erasures.py."""

    def newest(
        self, identifiers: Collection[SiteIdentifier], *, deadline: Deadline
    ) -> Mapping[SiteIdentifier, int | RetryableError]:
        """Return the time of the newest erasure of whoever has each identifier; 0: none."""

    def record(
        self,
        identifiers: Collection[Identifier],
        site_id: str,
        *,
        at_ms: int,
        now: float,
        deadline: Deadline,
    ) -> int:
        """Record an erasure for each identifier; return since when all have it."""


class Audiences(Protocol):
    """Where catalogues of audiences are kept; see table/audiences.py."""

    def of(self, site_id: str) -> Catalogue:
        """Return a workspace's catalogue as it was read last; raise why it was not read."""

    def learn(
        self, site_id: str, updates: Collection[AudienceUpdate], *, deadline: Deadline
    ) -> None:
        """Store what is new about audiences; raise a RetryableError if that fails."""


class Credentials(Protocol):
    """The credentials of each workspace; see credentials.py."""

    def workspace(self, account_id: int | None, *, deadline: Deadline) -> Workspace:
        """Return the workspace of an mParticle account."""

    def workspace_of_site(self, site_id: str, *, deadline: Deadline) -> Workspace:
        """Return the workspace with this site id."""

    def workspaces(
        self, *, deadline: Deadline
    ) -> Mapping[str, Workspace | UnusableCredentialsError]:
        """Return all workspaces, each once, by the name of an entry in the secret.

        Of an entry that cannot be used, return why.
        """

    def refreshed(self, workspace: Workspace, *, deadline: Deadline) -> Workspace | None:
        """Read the secret again; return new credentials of this workspace, None if none."""


class CustomerIo(Protocol):
    """Where people are delivered; see customerio/client.py."""

    def paused(self, workspace: Workspace) -> RetryableError | None:
        """Return why nothing is sent to a workspace for now; None if it is not paused."""

    def needs_probe(self, workspace: Workspace) -> bool:
        """Tell whether a pause of a workspace is over, and no delivery succeeded since."""

    def deliver(
        self, workspace: Workspace, persons: Sequence[Person | Deletion], *, deadline: Deadline
    ) -> Sequence[Failure | None]:
        """Post persons and deletions; return why each failed, or None."""


class Walks(Protocol):
    """Where walks over the table are started; see walks.py."""

    def start(self, walk: Walk, *, deadline: Deadline) -> None:
        """Start a walk unless it was started before. Raises a RetryableError."""


class Suspensions(Protocol):
    """Which accounts mParticle is to suspend; see table/suspensions.py."""

    def suspend(self, account_ids: Iterable[int], *, now: float, deadline: Deadline) -> None:
        """Suspend accounts for a while."""


class Queue(Protocol):
    """The queues as the forwarder uses them; see queue.py."""

    def delay(self, messages: Sequence[ReceivedMessage], *, deadline: Deadline) -> None:
        """Hide messages for a while."""

    def move_to_retry(
        self, outcomes: Sequence[MessageOutcome], *, deadline: Deadline
    ) -> Collection[str]:
        """Send messages to the retry queue; return the ids of those that arrived."""

    def set_aside(
        self, letters: Iterable[DeadLetter], *, deadline: Deadline
    ) -> Iterable[tuple[DeadLetter, bool]]:
        """Send letters to the DLQ; return each with whether it arrived."""


class DeliveryTelemetry(Protocol):
    """What a delivery reports; see telemetry.py."""

    def person_delivered(self, key: str, person: Person) -> None:
        """Report a person whom Customer.io accepted, and what was left out."""

    def credentials_refused(self) -> None:
        """Report that Customer.io refused credentials that were just read."""

    def unexpected_error(self, error: Exception) -> None:
        """Report an unexpected error."""


class WalkTelemetry(DeliveryTelemetry, Protocol):
    """What a walk reports in addition."""

    def walk_person_skipped(self, key: str, error: Failure) -> None:
        """Report a person whom a walk could not deliver, and goes on without."""

    def walk_step_done(self, before: WalkStep, after: WalkStep) -> None:
        """Report what a step did."""


class Telemetry(DeliveryTelemetry, Protocol):
    """What a batch reports in addition."""

    def message_accepted(self, message: ReceivedMessage, opened: AudienceMessage) -> None:
        """Report a message that needs no delivery."""

    def erasure_done(
        self, message: ReceivedMessage, erasure: Erasure, results: Sequence[ErasedIn]
    ) -> None:
        """Report an erasure that was carried out."""

    def message_set_aside(self, letter: DeadLetter) -> None:
        """Report a letter that reached the DLQ."""

    def message_retried(self, outcome: MessageOutcome) -> None:
        """Report a message that is retried later, and why."""

    def batch_done(self, report: Report) -> None:
        """Report the batch."""

"""Names: the names of audiences, stored from updates before people are posted.

deliver.py gets the attributes of audiences here, and the people for whom a name changed meanwhile.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Final

from handler.domain.audience import AudienceUpdate, Catalogue
from handler.domain.audience_attributes import AudienceAttributes
from handler.domain.profile import MembershipChange
from handler.domain.update import Update
from handler.domain.workspace import Workspace
from handler.errors import Failure, RetryableError
from handler.jobs.post import Delivery
from handler.jobs.run import Run

_NONE: Final = Catalogue()


class AudienceNames:
    """The names of the audiences in one run.

    A catalogue that cannot be read or written fails only the people whose delivery depends on it:
    those with one attribute per audience, and everybody if removed audiences are cleared.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._audiences = run.outside.audiences
        self._attributes: dict[Workspace, AudienceAttributes] = {}

    def learn(self, deliveries: Sequence[Delivery]) -> None:
        """Store the names of audiences from the updates of people."""
        by_site: defaultdict[str, list[Update]] = defaultdict(list)
        for delivery in deliveries:
            by_site[delivery.person.workspace.site_id] += delivery.updates
        for site_id, updates in by_site.items():
            named = _named_in(updates)
            failure = self._run.outside.attempt(
                self._audiences.learn, site_id, named, deadline=self._run.deadline
            )
            if failure is not None:
                self._fail(deliveries, site_id, failure)

    def attributes(self, delivery: Delivery) -> AudienceAttributes:
        """Return the attributes of audiences for a person. Raises why they cannot be read."""
        workspace = delivery.person.workspace
        try:
            catalogue = self._audiences.of(workspace.site_id)
        except RetryableError:
            if self._needs_catalogue(delivery):
                raise
            catalogue = _NONE
        known = self._attributes.get(workspace)
        if known is None or known.catalogue is not catalogue:
            known = AudienceAttributes(catalogue, self._run.outside.options.of(workspace))
            self._attributes[workspace] = known
        return known

    def in_use(self, deliveries: Iterable[Delivery]) -> dict[str, Catalogue]:
        """Return the catalogues that the deliveries of these people depend on, by site id."""
        used: dict[str, Catalogue] = {}
        for delivery in deliveries:
            site_id = delivery.person.workspace.site_id
            if site_id not in used and self._needs_catalogue(delivery):
                used[site_id] = self._audiences.of(site_id)
        return used

    def outdated(
        self, deliveries: Sequence[Delivery], used: Mapping[str, Catalogue]
    ) -> list[Delivery]:
        """Return the deliveries that depend on a catalogue that has changed since.

        Deliveries whose catalogue can no longer be read fail.
        """
        outdated: list[Delivery] = []
        for site_id, catalogue in used.items():
            newest = self._run.outside.attempt(self._audiences.of, site_id)
            if not isinstance(newest, Catalogue):
                self._fail(deliveries, site_id, newest)
            elif newest is not catalogue:
                outdated += self._affected(deliveries, site_id)
        return outdated

    def _fail(self, deliveries: Iterable[Delivery], site_id: str, failure: Failure) -> None:
        affected = self._affected(deliveries, site_id)
        self._run.fail([delivery.person.key for delivery in affected], failure)

    def _affected(self, deliveries: Iterable[Delivery], site_id: str) -> list[Delivery]:
        return [
            delivery
            for delivery in deliveries
            if delivery.person.workspace.site_id == site_id and self._needs_catalogue(delivery)
        ]

    def _needs_catalogue(self, delivery: Delivery) -> bool:
        options = self._run.outside.options
        return options.clear_removed_audiences or delivery.takes_audience_attributes


def _named_in(updates: Iterable[Update]) -> list[AudienceUpdate]:
    """Return what updates say of audiences: each thing once, with its newest time."""
    said_at: dict[MembershipChange, int] = {}
    for update in sorted(updates, key=attrgetter("at_ms")):
        for change in update.changes:
            said_at[change] = update.at_ms
    return [
        AudienceUpdate(change.audience_id, at_ms, change.audience_name)
        for change, at_ms in said_at.items()
    ]

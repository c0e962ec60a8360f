"""Names: what audiences are called, learned from updates before people are posted.

deliver.py asks here for the attributes of audiences, and whether a name changed meanwhile.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Final

from handler.domain.audience import AudienceUpdate, Catalogue
from handler.domain.audience_attributes import AudienceAttributes
from handler.domain.workspace import Workspace
from handler.jobs.isolation import Failure
from handler.jobs.post import Delivery
from handler.jobs.run import Run

_NONE: Final = Catalogue()


class AudienceNames:
    """The names of the audiences in one run.

    A catalogue that cannot be read or written fails only people with one attribute per audience.
    """

    def __init__(self, run: Run) -> None:
        """Begin; failures are added to the run's result."""
        self._run = run
        self._audiences = run.outside.audiences
        self._attributes: dict[tuple[Workspace, bool], AudienceAttributes] = {}

    def learn(self, deliveries: Sequence[Delivery]) -> None:
        """Keep what the updates of people say of audiences."""
        said: defaultdict[str, dict[tuple[int, str], int]] = defaultdict(dict)
        for delivery in deliveries:
            newest = said[delivery.news.workspace.site_id]
            for update in delivery.news.updates:
                at_ms = update.at_ms
                for change in update.changes:
                    named = change.audience_id, change.audience_name
                    if at_ms > newest.get(named, 0):
                        newest[named] = at_ms
        for site_id, newest in said.items():
            news = [AudienceUpdate(key, at_ms, name) for (key, name), at_ms in newest.items()]
            failure = self._run.attempt(
                partial(self._audiences.learn, site_id, news, deadline=self._run.deadline)
            )
            if failure is not None:
                self._fail(deliveries, site_id, failure)

    def attributes(self, delivery: Delivery) -> AudienceAttributes:
        """Return the attributes of audiences for a person. Raises why they are not known."""
        workspace = delivery.news.workspace
        takes_any = delivery.takes_audience_attributes
        catalogue = self._audiences.of(workspace.site_id) if takes_any else _NONE
        known = self._attributes.get((workspace, takes_any))
        if known is None or known.catalogue is not catalogue:
            known = AudienceAttributes(catalogue, self._run.outside.options.of(workspace))
            self._attributes[workspace, takes_any] = known
        return known

    def in_use(self, deliveries: Iterable[Delivery]) -> dict[str, Catalogue]:
        """Return the catalogues that these people's attributes come from, by site id."""
        site_ids = {
            delivery.news.workspace.site_id
            for delivery in deliveries
            if delivery.takes_audience_attributes
        }
        return {site_id: self._audiences.of(site_id) for site_id in site_ids}

    def concerned(
        self, deliveries: Sequence[Delivery], used: Mapping[str, Catalogue]
    ) -> list[Delivery]:
        """Return who took attributes from a catalogue that has changed since.

        Whose catalogue cannot be read any more fails.
        """
        concerned: list[Delivery] = []
        for site_id, catalogue in used.items():
            newest = self._run.attempt(partial(self._audiences.of, site_id))
            if not isinstance(newest, Catalogue):
                self._fail(deliveries, site_id, newest)
            elif newest is not catalogue:
                concerned += _with_attributes(deliveries, site_id)
        return concerned

    def _fail(self, deliveries: Iterable[Delivery], site_id: str, failure: Failure) -> None:
        concerned = _with_attributes(deliveries, site_id)
        self._run.fail([delivery.key for delivery in concerned], failure)


def _with_attributes(deliveries: Iterable[Delivery], site_id: str) -> list[Delivery]:
    return [
        delivery
        for delivery in deliveries
        if delivery.takes_audience_attributes and delivery.news.workspace.site_id == site_id
    ]

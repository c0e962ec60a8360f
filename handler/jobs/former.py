"""Former: the former identifiers of people, until they are cleared in Customer.io.

Nobody may stay in an audience under an identifier that mParticle no longer uses. So all audiences
under a former identifier are cleared. If another person, the successor, has the identifier now,
they are delivered again instead, after the person who had it before. An invocation that read the
person before the change may still post under a former identifier. So a state keeps it until nobody
can, and each delivery does all this once more.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from typing import Final

from handler.domain.attributes import Person, former_persons
from handler.domain.membership import PersonState
from handler.domain.versions import without_former
from handler.errors import Failure, RetryableError, VersionConflictError
from handler.jobs.names import AudienceNames
from handler.jobs.post import Delivery, PersonUpdates
from handler.jobs.run import Run
from handler.jobs.states import States

MAX_ROUNDS: Final = 5
"""How often to look for successors of successors."""


class FormerIdentifiers:
    """The former identifiers of the people in one run; failures are added to its result."""

    def __init__(self, run: Run, states: States, names: AudienceNames) -> None:
        self._run = run
        self._outside = run.outside
        self._failures = run.result.failures
        self._states = states
        self._names = names
        # By person: the keys of the people who have a former identifier of theirs now.
        self._successors_of: defaultdict[str, set[str]] = defaultdict(set)

    def with_successors(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Return the deliveries, and those of their successors.

        A successor's post must arrive after those of the person who had the identifier before.
        """
        deliveries = [each for each in deliveries if each.person.key not in self._failures]
        if not any(each.state.former for each in deliveries):  # as is usual
            return deliveries
        by_key = {each.person.key: each for each in deliveries}
        queried: set[str] = set()
        for _ in range(MAX_ROUNDS):
            changed = with_former(by_key.values())
            self._query([each for each in changed if each.person.key not in queried])
            queried |= {each.person.key for each in changed}
            outdated: dict[str, PersonUpdates] = {}
            floors: dict[str, int] = {}
            for delivery, key in self._pairs(changed):
                successor = by_key.get(key)
                # Later than the clearing, which another invocation may have posted already.
                lasts = delivery.state.former.values()
                floor = max(floors.get(key, 0), *(last + 2 for last in lasts))
                if successor is None or successor.state.timestamp < floor:
                    # Who got the identifier by another account may not be created by this one.
                    workspace = replace(delivery.person.workspace, create_people=False)
                    person = successor.person if successor else PersonUpdates(key, workspace)
                    outdated[key] = person
                    floors[key] = floor
            if not outdated:
                break
            updated = self._states.update([*outdated.values()], floors)
            by_key |= {each.person.key: each for each in updated}
        for delivery, key in self._pairs(with_former(by_key.values())):
            if key in by_key:
                by_key[key] = by_key[key].succeeding(delivery)
        return [each for key, each in by_key.items() if key not in self._failures]

    def _pairs(self, changed: Iterable[Delivery]) -> Iterable[tuple[Delivery, str]]:
        """Yield each delivery with the key of each of its successors that has not failed."""
        for delivery in changed:
            for key in self._successors_of.get(delivery.person.key, ()):
                if key not in self._failures:
                    yield delivery, key

    def _query(self, deliveries: Sequence[Delivery]) -> None:
        """Query the index for the people who have the former identifiers now."""
        wanted = dict.fromkeys(
            (delivery.person.workspace.site_id, identifier)
            for delivery in deliveries
            for identifier in delivery.state.former
        )
        if not wanted:
            return
        answers = self._outside.people.known_as([*wanted], deadline=self._run.deadline)
        for delivery in deliveries:
            own = delivery.person.key
            for identifier in delivery.state.former:
                answer = answers[delivery.person.workspace.site_id, identifier]
                if isinstance(answer, RetryableError):
                    self._failures[own] = answer
                else:
                    # The index lags behind: it may still name this person.
                    self._successors_of[own] |= {key for key in answer if key != own}

    def has_successor(self, key: str) -> bool:
        """Tell whether somebody else has a former identifier of a person now."""
        return bool(self._successors_of.get(key))

    def new_successors(self, posted: Sequence[Delivery], again: Collection[str]) -> list[Delivery]:
        """Return new successors, who got an identifier during its clearing, and predecessors."""
        if not with_former(posted):  # as is usual
            return []
        before = {each.person.key: each for each in posted if each.person.key not in again}
        after = {each.person.key: each for each in self.with_successors([*before.values()])}
        new = {
            key
            for key, each in after.items()
            if key not in before or before[key].state.version != each.state.version
        }
        predecessors = {key for key in before if key in after and self._successors_of[key] & new}
        return [after[key] for key in new | predecessors]

    def clearing(self, deliveries: Sequence[Delivery]) -> Callable[[Delivery], list[Person]]:
        """Return what builds the persons that clear former identifiers, unless one is in use."""
        current = {
            (delivery.person.workspace.site_id, delivery.state.identifier.text)
            for delivery in deliveries
            if delivery.state.identifier is not None
        }

        def persons(delivery: Delivery) -> list[Person]:
            if self._failure_of_successor(delivery.person.key):
                return []
            site_id = delivery.person.workspace.site_id
            return [
                person
                for person in former_persons(
                    delivery.state,
                    delivery.updates,
                    self._names.attributes(delivery),
                    single_audiences=delivery.takes_audience_attributes,
                )
                if (site_id, person.identifier.text) not in current
            ]

        return persons

    def forget(
        self, posted: Iterable[Delivery], again: Collection[str], *, cleared_after: float
    ) -> None:
        """Save states without the former identifiers that nobody can post under any more.

        All of them were cleared after a time, in Unix seconds. `again`: who is posted again.
        """
        states: dict[str, PersonState] = {}
        for delivery in with_former(posted):
            key = delivery.person.key
            if key in again or key in self._failures or self._failure_of_successor(key):
                continue
            state = without_former(delivery.state, cleared_after)
            if state is not delivery.state:
                states[key] = state
        if not states:
            return
        failures = self._outside.people.save(
            states, now=self._outside.now(), deadline=self._run.deadline
        )
        for key, failure in failures.items():
            # The other writer has the former identifiers too, and clears them again.
            if not isinstance(failure, VersionConflictError):
                self._failures[key] = failure

    def blocked(self) -> dict[str, Failure]:
        """Return the failure of each person whose successor failed."""
        failures = {key: self._failure_of_successor(key) for key in self._successors_of}
        return {key: failure for key, failure in failures.items() if failure}

    def _failure_of_successor(self, key: str) -> Failure | None:
        failures = (self._failures.get(each) for each in self._successors_of.get(key, ()))
        return next((each for each in failures if each), None)


def with_former(deliveries: Iterable[Delivery]) -> list[Delivery]:
    """Return the deliveries of people with a former identifier."""
    return [each for each in deliveries if each.state.former]

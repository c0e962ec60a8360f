"""Former: the identifiers that people had before, until they are cleared in Customer.io.

Nobody may stay in an audience under an identifier that mParticle no longer uses. So whoever
Customer.io has under a former identifier is taken out of all audiences, unless somebody else has
that identifier by now: then that person, the successor, is delivered again after those who had it
before. Only when all this is verified does a state forget its former identifiers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Final

from handler.domain.attributes import Person, former_persons
from handler.domain.audience_attributes import AudienceAttributes
from handler.domain.membership import without_former
from handler.errors import RetryableError, VersionConflictError
from handler.jobs.isolation import Failure
from handler.jobs.post import Delivery, PersonUpdates
from handler.jobs.run import Run

MAX_ROUNDS: Final = 5
"""How often successors of successors are looked for."""

Update = Callable[[Sequence[PersonUpdates], Mapping[str, int]], list[Delivery]]
"""Load, merge and save people; who is in the mapping gets at least that timestamp."""


Attributes = Callable[[Delivery], AudienceAttributes]
"""The attributes of audiences for a person."""


class FormerIdentifiers:
    """The former identifiers of the people in one run."""

    def __init__(self, run: Run, update: Update, attributes: Attributes) -> None:
        """Begin; failures are added to the run's result."""
        self._run = run
        self._outside = run.outside
        self._failures = run.result.failures
        self._update = update
        self._attributes = attributes
        # By person: who has a former identifier of theirs now, and must be up to date as well.
        self._successors_of: defaultdict[str, set[str]] = defaultdict(set)

    def with_successors(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Return the deliveries, and those of the people who have a former identifier by now.

        What they carry must arrive after what was posted under it of the person before them.
        """
        by_key = {each.key: each for each in deliveries if each.key not in self._failures}
        asked: set[str] = set()
        for _ in range(MAX_ROUNDS):
            changed = [each for each in by_key.values() if each.former]
            self._ask([each for each in changed if each.key not in asked])
            asked |= {each.key for each in changed}
            late: dict[str, PersonUpdates] = {}
            floors: dict[str, int] = {}
            for delivery, key in self._pairs(changed):
                successor = by_key.get(key)
                # Later than the clearing, which somebody may have posted already.
                floor = max(floors.get(key, 0), *(last + 2 for last in delivery.former.values()))
                if successor is None or successor.state.timestamp < floor:
                    workspace = delivery.news.workspace
                    late[key] = successor.news if successor else PersonUpdates(key, workspace)
                    floors[key] = floor
            if not late:
                break
            by_key |= {each.key: each for each in self._update([*late.values()], floors)}
        for delivery, key in self._pairs([each for each in by_key.values() if each.former]):
            if key in by_key:
                by_key[key] = by_key[key].succeeding(delivery)
        return [each for each in by_key.values() if each.key not in self._failures]

    def _pairs(self, changed: Iterable[Delivery]) -> Iterable[tuple[Delivery, str]]:
        """Yield each of these with the key of each of their successors, failed ones apart."""
        for delivery in changed:
            for key in self._successors_of.get(delivery.key, ()):
                if key not in self._failures:
                    yield delivery, key

    def _ask(self, deliveries: Sequence[Delivery]) -> None:
        """Ask the index who has the former identifiers of these people now."""
        by_site: defaultdict[str, list[Delivery]] = defaultdict(list)
        for delivery in deliveries:
            by_site[delivery.news.workspace.site_id].append(delivery)
        for site_id, theirs in by_site.items():
            former = dict.fromkeys(each for delivery in theirs for each in delivery.former)
            answers = self._outside.people.known_as(
                [*former], site_id, deadline=self._run.deadline
            )
            for delivery in theirs:
                for identifier in delivery.former:
                    answer = answers[identifier]
                    if isinstance(answer, RetryableError):
                        self._failures[delivery.key] = answer
                    else:
                        # The index lags: it may still have this person.
                        keys = {key for key in answer if key != delivery.key}
                        self._successors_of[delivery.key] |= keys

    def new_successors(self, posted: Sequence[Delivery], again: Collection[str]) -> list[Delivery]:
        """Return who got a former identifier while it was cleared, and who had it before."""
        if not any(delivery.former for delivery in posted):
            return []
        before = {delivery.key: delivery for delivery in posted if delivery.key not in again}
        after = {each.key: each for each in self.with_successors([*before.values()])}
        new = {
            key
            for key, each in after.items()
            if key not in before or before[key].state.version != each.state.version
        }
        had = {key for key in before if key in after and self._successors_of[key] & new}
        return [after[key] for key in new | had]

    def clearing(self, deliveries: Sequence[Delivery]) -> Callable[[Delivery], Sequence[Person]]:
        """Return what clears the former identifiers of a person that none of these has now."""
        current = {
            (delivery.news.workspace.site_id, delivery.state.identifier.text)
            for delivery in deliveries
            if delivery.state.identifier is not None
        }

        def persons(delivery: Delivery) -> Sequence[Person]:
            if self._failure_of_successor(delivery.key):
                return []
            site_id = delivery.news.workspace.site_id
            return [
                person
                for person in former_persons(
                    delivery.state,
                    delivery.former,
                    delivery.news.updates,
                    self._attributes(delivery),
                )
                if (site_id, person.identifier.text) not in current
            ]

        return persons

    def forget(self, done: Sequence[Delivery]) -> None:
        """Let states forget the former identifiers that are cleared in Customer.io."""
        states = {
            delivery.key: without_former(delivery.state)
            for delivery in done
            if delivery.state.former
            and delivery.key not in self._failures
            and not self._failure_of_successor(delivery.key)
        }
        if not states:
            return
        failures = self._outside.people.save(
            states, now=self._outside.now(), deadline=self._run.deadline
        )
        for key, failure in failures.items():
            # Whoever wrote first has the former identifiers too, and clears them again.
            if not isinstance(failure, VersionConflictError):
                self._failures[key] = failure

    def blocked(self) -> dict[str, Failure]:
        """Return who is not up to date because a successor is not, and why."""
        failures = {key: self._failure_of_successor(key) for key in self._successors_of}
        return {key: failure for key, failure in failures.items() if failure}

    def _failure_of_successor(self, key: str) -> Failure | None:
        failures = (self._failures.get(each) for each in self._successors_of.get(key, ()))
        return next((each for each in failures if each), None)

"""Deliver: make Customer.io show the newest state of people, whatever the news came from.

    load > merge > save > post > clear former identifiers > verify

It knows no message and no queue. Whoever has news hands it over as PersonUpdates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Final

from handler.clock import AWS_CALL_S, Deadline
from handler.concurrency import slices
from handler.domain.attributes import Person, build_person, introduction
from handler.domain.audience import AudienceUpdate
from handler.domain.events import events
from handler.domain.workspace import Workspace
from handler.errors import PersonRejectedError, VersionConflictError
from handler.jobs.former import FormerIdentifiers
from handler.jobs.isolation import Failure
from handler.jobs.names import AudienceNames
from handler.jobs.post import Delivery, PersonUpdates, Poster
from handler.jobs.run import Delivered, Outside, Run
from handler.jobs.states import States

PEOPLE_IN_MEMORY: Final = 1000
"""People whose states are loaded at a time."""

MAX_ROUNDS: Final = 5
"""Of posting people whom someone else keeps writing, and of trying one person after a pause."""

VERIFYING_S: Final = AWS_CALL_S + 0.5
"""Kept for the verifying read, in seconds."""


@dataclass(frozen=True, slots=True)
class Deliverer:
    """Brings people up to date."""

    outside: Outside

    def learn(self, workspace: Workspace, news: AudienceUpdate, *, deadline: Deadline) -> None:
        """Keep what is new of an audience. Raises the RetryableError if it is not kept."""
        self.outside.audiences.learn(workspace.site_id, [news], deadline=deadline)

    def deliver(self, people: Sequence[PersonUpdates], *, deadline: Deadline) -> Delivered:
        """Return once Customer.io shows the newest state of everybody but those who failed."""
        delivery = _Phases(Run(self.outside, deadline.keeping(VERIFYING_S)), verify_by=deadline)
        delivery.deliver(people)
        return delivery.result


class _Phases:
    """The phases of one run."""

    def __init__(self, run: Run, *, verify_by: Deadline) -> None:
        self._run = run
        self._outside = run.outside
        self._verify_by = verify_by
        self.result = run.result
        self._states = States(run)
        self._poster = Poster(run)
        self._names = AudienceNames(run)
        self._former = FormerIdentifiers(run, self._states.update, self._names.attributes)

    def deliver(self, people: Sequence[PersonUpdates]) -> None:
        # After a pause, one person shows whether Customer.io answers: until then nobody else of
        # the workspace is read or written. If that person fails before the post, another does.
        rest = list(people)
        for _ in range(MAX_ROUNDS):
            trials = self._trials(rest)
            if not trials:
                break
            self._deliver(list(self._without_paused(trials)))
            keys = {person.key for person in trials}
            rest = [person for person in rest if person.key not in keys]
        self._deliver(list(self._without_paused(rest)))
        self._keep_what_was_asked({person.key for person in people})

    def _trials(self, people: Iterable[PersonUpdates]) -> list[PersonUpdates]:
        """Return one person of each workspace on trial."""
        one_each = {self._poster.refreshed(person.workspace): person for person in people}
        is_on_trial = self._outside.customerio.is_on_trial
        return [person for workspace, person in one_each.items() if is_on_trial(workspace)]

    def _deliver(self, people: Sequence[PersonUpdates]) -> None:
        deliveries: list[Delivery] = []
        for part in slices(people, PEOPLE_IN_MEMORY):
            updated = self._run.attempt(partial(self._states.update, part))
            if isinstance(updated, list):
                deliveries += updated
            else:
                self._fail_the_rest(part, updated)
        if deliveries:
            self._names.learn(deliveries)
            failure = self._run.attempt(partial(self._bring_up_to_date, deliveries))
            if failure is not None:
                self._fail_the_rest(people, failure)

    def _fail_the_rest(self, people: Iterable[PersonUpdates], failure: Failure) -> None:
        """Note a failure for those of these people who have not failed yet."""
        keys = [person.key for person in people if person.key not in self.result.failures]
        self._run.fail(keys, failure)

    def _without_paused(self, people: Iterable[PersonUpdates]) -> Iterable[PersonUpdates]:
        """Return whose workspace takes people at present: for the others nothing is begun."""
        paused = cache(self._outside.customerio.paused)
        for person in people:
            reason = paused(self._poster.refreshed(person.workspace))
            if reason is None:
                yield person
            else:
                self._run.fail([person.key], reason)

    def _keep_what_was_asked(self, asked_for: set[str]) -> None:
        """Fail who has a successor that failed; drop the successors that nobody asked for."""
        failures = self.result.failures
        failures |= {k: v for k, v in self._former.blocked().items() if k not in failures}
        for of_all in (failures, self.result.persons, self.result.too_old):
            for key in of_all.keys() - asked_for:
                del of_all[key]

    # --- post, clear former identifiers, verify ---

    def _bring_up_to_date(self, deliveries: Sequence[Delivery]) -> None:
        """Post people until what was posted is the newest state of each."""
        waiting = deliveries
        for _ in range(MAX_ROUNDS):
            asked = self._former.with_successors(waiting)
            introduced = self._post_changed(asked, self._introductions)
            posted = self._poster.post(introduced, self._persons)
            posted = self._clear_former(asked, posted)
            waiting = self._overtaken(posted)
            again = {delivery.key for delivery in waiting}
            self._former.forget([each for each in posted if each.key not in again])
            if not waiting:
                return
            self.result.overtaken += len(waiting)
        lost = VersionConflictError("others kept writing this person meanwhile")
        self._run.fail((delivery.key for delivery in waiting), lost)

    def _post_changed(
        self, deliveries: Sequence[Delivery], persons: Callable[[Delivery], Sequence[Person]]
    ) -> list[Delivery]:
        """Post persons of those with a former identifier; return all but who then failed."""
        changed = [delivery for delivery in deliveries if delivery.former]
        others = [delivery for delivery in deliveries if not delivery.former]
        return [*others, *self._poster.post(changed, persons)]

    def _introductions(self, delivery: Delivery) -> list[Person]:
        """Return what gives their id to whoever Customer.io has under a former email."""
        first = introduction(delivery.state, self._person(delivery))
        return [] if first is None else [first]

    def _persons(self, delivery: Delivery) -> list[Person]:
        person = self._person(delivery)
        self.result.persons[delivery.key] = person
        return [person]

    def _person(self, delivery: Delivery) -> Person:
        audiences = self._names.attributes(delivery)
        updates = delivery.news.updates
        return build_person(
            delivery.state,
            updates,
            audiences,
            predecessors=delivery.predecessors,
            events=(
                events(delivery.key, delivery.state.memberships, updates)
                if audiences.options.sends_events
                else ()
            ),
        )

    def _clear_former(
        self, asked: Sequence[Delivery], posted: Sequence[Delivery]
    ) -> list[Delivery]:
        """Empty the lists under former identifiers; return who is still to be verified."""
        # Whom Customer.io rejected under a new identifier has left the former one, too.
        rejected = [
            delivery
            for delivery in asked
            if delivery.former
            and isinstance(self.result.failures.get(delivery.key), PersonRejectedError)
        ]
        clearing = self._former.clearing(posted)
        cleared = self._post_changed(posted, clearing)
        self._poster.post(rejected, clearing)
        return cleared

    def _overtaken(self, posted: Sequence[Delivery]) -> list[Delivery]:
        """Return who must be posted again, as someone else wrote them while they were posted."""
        by_key = {delivery.key: delivery for delivery in posted}
        catalogues = self._names.in_use(posted)
        versions = self._outside.people.versions(
            [*by_key], catalogues_of=catalogues, deadline=self._verify_by
        )
        changed = [
            key
            for key, version in self._run.successes(versions).items()
            # An item that is gone was erased: there is nothing newer to post.
            if version not in {by_key[key].state.version, 0}
        ]
        again: list[Delivery] = []
        if changed:
            states = self._outside.people.load(changed, consistent=True, deadline=self._verify_by)
            again = [
                by_key[key].after_post(state)
                for key, state in self._run.successes(states).items()
                if state.identifier is not None
            ]
        settled = {*changed, *self.result.failures}
        again += [
            delivery
            for delivery in self._names.concerned(posted, catalogues)
            if delivery.key not in settled and self._has_other_names(delivery)
        ]
        return [*again, *self._former.new_successors(posted, {delivery.key for delivery in again})]

    def _has_other_names(self, delivery: Delivery) -> bool:
        """Tell whether the names of audiences give a person other attributes than were posted."""
        posted = self.result.persons[delivery.key]
        return self._person(delivery).attributes != posted.attributes

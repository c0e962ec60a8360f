"""Deliver: make Customer.io show the newest state of people, whatever the source of updates.

    load > merge > save > post > clear former identifiers > verify

It knows no message and no queue: updates come in as PersonUpdates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Final

from handler.clock import AWS_CALL_S, Deadline
from handler.concurrency import slices
from handler.domain.attributes import Person, build_person, introduction
from handler.domain.events import events
from handler.domain.workspace import Workspace
from handler.errors import Failure, PersonRejectedError, RetryableError, VersionConflictError
from handler.jobs.deletions import Deletions, LatePost
from handler.jobs.former import FormerIdentifiers, with_former
from handler.jobs.names import AudienceNames
from handler.jobs.post import Delivery, PersonUpdates, Poster
from handler.jobs.run import Delivered, Outside, Run
from handler.jobs.states import States

PEOPLE_IN_MEMORY: Final = 1000
"""People whose states are loaded at a time."""

MEMBERSHIPS_IN_MEMORY: Final = 250_000
"""With more than so many in the loaded states, their people are posted before others are loaded.
Most people are in few audiences, so most batches are posted in one piece."""

MAX_ROUNDS: Final = 5
"""Most posts of a person whom other invocations keep writing, and most probes after a pause."""

VERIFYING_S: Final = AWS_CALL_S + 0.5
"""Reserved for the verifying read, in seconds."""


def deliver(
    outside: Outside,
    people: Sequence[PersonUpdates],
    *,
    deadline: Deadline,
    consistent: bool = False,
) -> Delivered:
    """Return once Customer.io shows the newest state of everybody but those who failed.

    `consistent`: people are read consistently from the start; see states.py.
    """
    run = Run(outside, deadline.keeping(VERIFYING_S))
    _Phases(run, verify_by=deadline, consistent=consistent).deliver(people)
    return run.result


class _Phases:
    """The phases of one run."""

    def __init__(self, run: Run, *, verify_by: Deadline, consistent: bool) -> None:
        self._run = run
        self._outside = run.outside
        self._verify_by = verify_by
        self._consistent = consistent
        self.result = run.result
        self._states = States(run)
        self._poster = Poster(run)
        self._names = AudienceNames(run)
        self._deletions = Deletions(run, self._poster)
        self._former = FormerIdentifiers(run, self._states, self._names)

    def deliver(self, people: Sequence[PersonUpdates]) -> None:
        # After a pause, deliver one person of the workspace as a probe, before the others are read
        # or written. If that person fails before the post, take another.
        rest = people
        for _ in range(MAX_ROUNDS):
            probes = self._probes(rest)
            if not probes:
                break
            self._deliver(self._without_paused(probes))
            keys = {person.key for person in probes}
            rest = [person for person in rest if person.key not in keys]
        self._deliver(self._without_paused(rest))
        self._keep_requested({person.key for person in people})

    def _probes(self, people: Iterable[PersonUpdates]) -> list[PersonUpdates]:
        """Return one person of each workspace that needs a probe."""
        by_workspace = {person.workspace: person for person in people}
        refreshed = {self._poster.refreshed(key): person for key, person in by_workspace.items()}
        needs_probe = self._outside.customerio.needs_probe
        return [person for workspace, person in refreshed.items() if needs_probe(workspace)]

    def _deliver(self, people: Sequence[PersonUpdates]) -> None:
        deliveries: list[Delivery] = []
        memberships = 0
        for part in slices(people, PEOPLE_IN_MEMORY):
            updated = self._outside.attempt(self._states.update, part, consistent=self._consistent)
            if not isinstance(updated, list):
                self._fail_the_rest(part, updated)
                continue
            deliveries += updated
            memberships += sum(len(each.state.memberships) for each in updated)
            if memberships > MEMBERSHIPS_IN_MEMORY:
                self._post(deliveries)
                deliveries, memberships = [], 0
        self._post(deliveries)

    def _post(self, deliveries: list[Delivery]) -> None:
        """Post saved states, until Customer.io shows the newest ones."""
        deliveries += self._delete_again(self._states.late_posts(), deliveries)
        if deliveries:
            self._names.learn(deliveries)
            failure = self._outside.attempt(self._bring_up_to_date, deliveries)
            if failure is not None:
                self._fail_the_rest([each.person for each in deliveries], failure)

    def _delete_again(
        self, late_posts: Sequence[LatePost], deliveries: Sequence[Delivery]
    ) -> list[Delivery]:
        """Delete erased people again; return the deliveries of who has their identifiers now."""
        if not late_posts:
            return []
        keys = {delivery.person.key for delivery in deliveries}
        anew = self._outside.attempt(self._deletions.repeat, late_posts)
        if not isinstance(anew, list):
            self._run.fail([each.person.key for each in late_posts], anew)
            return []
        others = [person for person in anew if person.key not in keys]
        return self._states.update(others, consistent=True)

    def _fail_the_rest(self, people: Iterable[PersonUpdates], failure: Failure) -> None:
        """Record a failure of those people who have not failed yet."""
        keys = [person.key for person in people if person.key not in self.result.failures]
        self._run.fail(keys, failure)

    def _without_paused(self, people: Iterable[PersonUpdates]) -> list[PersonUpdates]:
        """Return the people whose workspace is not paused; the others fail."""

        @cache
        def paused(workspace: Workspace) -> RetryableError | None:
            return self._outside.customerio.paused(self._poster.refreshed(workspace))

        others: list[PersonUpdates] = []
        for person in people:
            reason = paused(person.workspace)
            if reason is None:
                others.append(person)
            else:
                self.result.failures[person.key] = reason
        return others

    def _keep_requested(self, keys: set[str]) -> None:
        """Fail people whose successor failed; keep results of requested people alone.

        Of those who failed, the posts do not count either.
        """
        result = self.result
        result.failures = self._deletions.blocked() | self._former.blocked() | result.failures
        for kept in (result.failures, result.persons, result.too_old, result.events_rejected):
            for key in kept.keys() - keys:
                del kept[key]
        for key in result.persons.keys() & result.failures.keys():
            del result.persons[key]

    # --- post, clear former identifiers, verify ---

    def _bring_up_to_date(self, deliveries: Sequence[Delivery]) -> None:
        """Post people until the post of each shows their newest state."""
        waiting = deliveries
        for _ in range(MAX_ROUNDS):
            started = self._outside.now()
            current = self._former.with_successors(waiting)
            introduced = self._post_changed(current, self._introductions)
            posted = self._poster.post(introduced, self._persons)
            posted = self._clear_former(current, posted)
            waiting = self._overtaken(posted)
            again = {delivery.person.key for delivery in waiting}
            self._former.forget(posted, again, cleared_after=started)
            if not waiting:
                return
            self.result.overtaken += len(waiting)
        lost = VersionConflictError("others kept writing this person meanwhile")
        self._run.fail((delivery.person.key for delivery in waiting), lost)

    def _post_changed(
        self, deliveries: list[Delivery], persons: Callable[[Delivery], list[Person]]
    ) -> list[Delivery]:
        """Post for those with a former identifier; return all deliveries but those that failed."""
        changed = with_former(deliveries)
        if not changed:  # as is usual
            return deliveries
        others = [delivery for delivery in deliveries if not delivery.state.former]
        return [*others, *self._poster.post(changed, persons)]

    def _introductions(self, delivery: Delivery) -> list[Person]:
        """Return what adds the id to the person whom Customer.io has under a former email."""
        if self._former.has_successor(delivery.person.key):
            return []
        first = introduction(delivery.state, self._person(delivery))
        return [] if first is None else [first]

    def _persons(self, delivery: Delivery) -> list[Person]:
        person = self._person(delivery)
        self.result.persons[delivery.person.key] = person
        return [person]

    def _person(self, delivery: Delivery) -> Person:
        audiences = self._names.attributes(delivery)
        person, state, updates = delivery.person, delivery.state, delivery.updates
        return build_person(
            state,
            updates,
            audiences,
            predecessors=delivery.predecessors,
            all_audiences=person.all_audiences,
            events=(
                events(person.key, state.memberships, updates)
                if audiences.options.sends_events
                else ()
            ),
        )

    def _clear_former(self, current: list[Delivery], posted: list[Delivery]) -> list[Delivery]:
        """Clear audiences under former identifiers; return the deliveries to verify."""
        changed = with_former(current)
        if not changed:  # as is usual
            return posted
        # If Customer.io rejects a new identifier, clear the former one all the same.
        rejected = [
            delivery
            for delivery in changed
            if isinstance(self.result.failures.get(delivery.person.key), PersonRejectedError)
        ]
        clearing = self._former.clearing(posted)
        cleared = self._post_changed(posted, clearing)
        self._poster.post(rejected, clearing)
        return cleared

    def _overtaken(self, posted: Sequence[Delivery]) -> list[Delivery]:
        """Return the deliveries to post again, as their data changed during the post."""
        by_key = {delivery.person.key: delivery for delivery in posted}
        catalogues = self._names.in_use(posted)
        versions = self._outside.people.versions(
            [*by_key], catalogues_of=catalogues, deadline=self._verify_by
        )
        changed = [
            key
            for key, version in self._run.successes(versions).items()
            # A missing item has expired: there is nothing newer to post.
            if version not in (by_key[key].state.version, 0)
        ]
        again = self._newer([by_key[key] for key in changed]) if changed else []
        outdated = self._names.outdated(posted, catalogues)
        settled = {*changed, *self.result.failures}
        # Of everybody: the catalogue may have been read again between merge and post.
        left = self._states.update_after_removals(
            each for each in posted if each.person.key not in settled
        )
        again += left
        settled |= {*self.result.failures, *(each.person.key for each in left)}
        again += [
            each
            for each in outdated
            if each.person.key not in settled and self._has_other_names(each)
        ]
        keys = {each.person.key for each in again}
        return [*again, *self._former.new_successors(posted, keys)]

    def _newer(self, overtaken: Sequence[Delivery]) -> list[Delivery]:
        """Return the deliveries of the states that others saved meanwhile."""
        by_key = {delivery.person.key: delivery for delivery in overtaken}
        loaded = self._outside.people.load([*by_key], consistent=True, deadline=self._verify_by)
        states = self._run.successes(loaded)
        again = [
            self._states.delivery(by_key[key].person, state)
            for key, state in states.items()
            if state.identifier is not None
        ]
        late = (LatePost.of_delivery(by_key[key], state) for key, state in states.items())
        return [*again, *self._delete_again([each for each in late if each], again)]

    def _has_other_names(self, delivery: Delivery) -> bool:
        """Tell whether new names of audiences make other attributes than were posted."""
        posted = self.result.persons[delivery.person.key]
        return self._person(delivery).attributes != posted.attributes

"""States: load people's states, merge updates into them, and save them.

This is the first phase of a delivery: deliver.py posts only saved states.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

import msgspec

from handler.clock import Deadline
from handler.domain.erasure import erased_until
from handler.domain.membership import Memberships, PersonState, merge, too_old
from handler.domain.removal import exits
from handler.domain.update import Identifier, SiteIdentifier, Update
from handler.domain.versions import new_version
from handler.errors import RetryableError, VersionConflictError
from handler.jobs.deletions import LatePost
from handler.jobs.post import Delivery, PersonUpdates
from handler.jobs.run import Run

MAX_ROUNDS: Final = 5
"""Most reads of a person whom other invocations write first."""

NEW_VERSION_AFTER_S: Final = 60
"""An unchanged state is delivered as a new version if it is older than this, in seconds."""

SAVE_WITHIN_S: Final = 10.0
"""How long after a read its people are saved, in seconds. An erasure that was recorded after the
read counts on it: jobs/erase.py."""


class States:
    """The states of the people in one run. Failures are added to the run's result."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._outside = run.outside
        self._result = run.result
        self._late_posts: dict[str, LatePost] = {}

    def late_posts(self) -> list[LatePost]:
        """Return, once, what earlier deliveries may have posted of people erased since."""
        late_posts = [*self._late_posts.values()]
        self._late_posts.clear()
        return late_posts

    def update(
        self,
        people: Sequence[PersonUpdates],
        floors: Mapping[str, int] = MappingProxyType({}),
        *,
        consistent: bool = False,
    ) -> list[Delivery]:
        """Update people's states in the table, and return the deliveries to post.

        `floors` has the least timestamp of some states, by key. `consistent`: of a person without
        updates, the first read must not show a tombstone that is no longer there.
        """
        ready: list[Delivery] = []
        waiting = {person.key: person for person in people}
        for tries in range(MAX_ROUNDS):
            if tries:
                pause = self._outside.backoff(tries)
                self._outside.sleep(min(pause, self._run.deadline.seconds_left()))
            merged, changed, save_by = self._merge(
                waiting, floors, consistent=consistent or tries > 0 or bool(floors)
            )
            # The states that were read are free by now, so they take no memory during the save.
            failures = self._outside.people.save(
                changed, now=self._outside.now(), deadline=save_by
            )
            self._result.changed += len(changed) - len(failures)
            conflicts: dict[str, PersonUpdates] = {}
            for key, failure in failures.items():
                merged.pop(key, None)
                if isinstance(failure, VersionConflictError):
                    conflicts[key] = waiting[key]
                else:
                    self._result.failures[key] = failure
            ready += merged.values()
            self._result.version_conflicts += len(conflicts)
            waiting = conflicts
            if not waiting:
                return ready
        lost = VersionConflictError("others kept writing this person first")
        self._run.fail(waiting, lost)
        return ready

    def _merge(
        self, people: Mapping[str, PersonUpdates], floors: Mapping[str, int], *, consistent: bool
    ) -> tuple[dict[str, Delivery], dict[str, PersonState], Deadline]:
        """Return the deliveries and the states that changed, by key, and until when to save."""
        states = self._outside.people.load(
            [*people], consistent=consistent, deadline=self._run.deadline
        )
        known_states = self._run.successes(states)
        erased, save_by = self._erased(people, known_states)
        now = self._outside.now()
        merged: dict[str, Delivery] = {}
        changed: dict[str, PersonState] = {}
        for key, known in known_states.items():
            if key in self._result.failures:
                continue
            person, floor, erased_at_ms = people[key], floors.get(key, 0), erased.get(key, 0)
            delivery = self._outside.attempt(self._merged, person, known, now, floor, erased_at_ms)
            if not isinstance(delivery, Delivery):
                self._result.failures[key] = delivery
                continue
            if delivery.state.identifier is not None:
                merged[key] = delivery
            elif not known.version:
                continue  # of whom nothing is known, there is nothing to erase
            if delivery.state is not known:
                changed[key] = delivery.state
            if late := LatePost.of_merge(person, known, delivery.state):
                self._late_posts[key] = late
        return merged, changed, save_by

    def _erased(
        self, people: Mapping[str, PersonUpdates], states: Mapping[str, PersonState]
    ) -> tuple[Mapping[str, int], Deadline]:
        """Return when people were erased, by key, and until when all of them may be saved.

        Only of those whose updates name an identifier that is new to them, as few people's do.
        """
        named: dict[str, list[SiteIdentifier]] = {}
        for key, known in states.items():
            person, current = people[key], known.identifier
            for update in person.updates:
                each = update.identifier
                if each is not None and not (current and each.names_the_same(current)):
                    named.setdefault(key, []).append((person.workspace.site_id, each))
        if not named:  # as is usual
            return {}, self._run.deadline
        save_by = self._run.deadline.within(SAVE_WITHIN_S)
        newest = self._outside.erasures.newest(
            [each for others in named.values() for each in others], deadline=self._run.deadline
        )
        erased: dict[str, int] = {}
        for key, others in named.items():
            erased_at_ms: dict[Identifier, int] = {}
            for other in others:
                answer = newest[other]
                if isinstance(answer, RetryableError):
                    self._result.failures[key] = answer
                else:
                    erased_at_ms[other[1]] = answer
            erased[key] = erased_until(states[key], people[key].updates, erased_at_ms)
        return erased, save_by

    def delivery(self, person: PersonUpdates, newest: PersonState) -> Delivery:
        """Return a person's delivery with a state that another invocation saved.

        An exit from a removed audience that the other one saved is in the delivery, too: its event
        may not have been sent.
        """
        return Delivery(self._with_exits(person, newest.memberships), newest)

    def update_after_removals(self, deliveries: Iterable[Delivery]) -> list[Delivery]:
        """Update people who entered an audience before its removal, which is known only now."""
        if not self._outside.options.clear_removed_audiences:
            return []
        entered = [
            each.person
            for each in deliveries
            if self._exits(each.person.workspace.site_id, each.state.memberships, ())
        ]
        return self.update(entered) if entered else []

    def _merged(
        self,
        person: PersonUpdates,
        known: PersonState,
        now: float,
        floor: int,
        erased_at_ms: int,
    ) -> Delivery:
        person = self._with_exits(person, known.memberships)
        merged = merge(known, person.updates, now=now, erased_at_ms=erased_at_ms)
        if person.updates:
            # A join that was too old may count in a state that was written meanwhile.
            self._result.too_old.pop(person.key, None)
            if places := too_old(known, merged, person.updates, now=now):
                self._result.too_old[person.key] = places
        if merged is known and known.identifier is not None:
            if known.timestamp < now - NEW_VERSION_AFTER_S:
                merged = new_version(known, now=max(floor, now))
            elif known.timestamp < floor:
                merged = new_version(known, now=floor)
        elif merged.timestamp < floor:
            merged = msgspec.structs.replace(merged, timestamp=floor)
        return Delivery(person, merged)

    def _with_exits(self, person: PersonUpdates, memberships: Memberships) -> PersonUpdates:
        """Return a person with an exit from each removed audience that they are in.

        `memberships` are those before the updates. Raises why the catalogue cannot be read.
        """
        if not self._outside.options.clear_removed_audiences:
            return person
        missing = self._exits(person.workspace.site_id, memberships, person.updates)
        if not missing:
            return person
        # Exits go last: the places of the others are those in `too_old`.
        return msgspec.structs.replace(person, updates=(*person.updates, *missing))

    def _exits(
        self, site_id: str, memberships: Memberships, updates: Sequence[Update]
    ) -> Sequence[Update]:
        removed = self._outside.audiences.of(site_id).ever_removed
        one_attribute = self._outside.options.one_attribute_per_audience
        if not removed:  # as is usual
            return ()
        return exits(removed, memberships, updates, one_attribute_per_audience=one_attribute)

"""Deliver: make Customer.io show the newest state of people, whatever the news came from.

    load > merge > save > post > clear former identifiers > verify

It knows no message and no queue. Whoever has news hands it over as PersonUpdates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Final, TypeVar

import msgspec

from handler.clock import AWS_CALL_S, Now, Sleep, TimeLeft, keeping
from handler.domain.attributes import Person, build_person, introduction
from handler.domain.membership import PersonState, merge, new_version, too_old
from handler.domain.options import AttributeOptions
from handler.domain.workspace import Workspace
from handler.errors import PermanentError, RetryableError, VersionConflictError
from handler.jobs.former import FormerIdentifiers
from handler.jobs.isolation import Failure, attempt
from handler.jobs.ports import Credentials, CustomerIo, DeliveryTelemetry, People
from handler.jobs.post import Delivery, PersonUpdates, Poster

PEOPLE_IN_MEMORY: Final = 1000
"""People whose states are loaded at a time."""

MAX_ROUNDS: Final = 5
"""How often a person is read again after someone else wrote them first."""

NEW_VERSION_AFTER_S: Final = 60
"""An unchanged state is delivered as a new version if it is older than this, in seconds."""

VERIFYING_S: Final = AWS_CALL_S + 0.5
"""Kept for the verifying read, in seconds."""


_Result = TypeVar("_Result")


@dataclass(slots=True)
class Delivered:
    """What became of a delivery: everybody is up to date but those in `failures`.

    By person: `persons` has what was posted last, of those who failed too; `too_old` the places
    of the updates with a join that did not count.
    """

    failures: dict[str, Failure] = field(default_factory=dict)
    persons: dict[str, Person] = field(default_factory=dict)
    too_old: dict[str, Sequence[int]] = field(default_factory=dict)
    changed: int = 0
    overtaken: int = 0
    version_conflicts: int = 0


class Deliverer:
    """Brings people up to date."""

    def __init__(
        self,
        *,
        people: People,
        credentials: Credentials,
        customerio: CustomerIo,
        telemetry: DeliveryTelemetry,
        executor: Executor,
        now: Now,
        sleep: Sleep,
        backoff: Callable[[int], float],
        options: AttributeOptions,
    ) -> None:
        """Keep what delivering needs; `backoff` gives the seconds before a round, from 1.

        `executor` runs workspaces side by side.
        """
        self.people = people
        self.credentials = credentials
        self.customerio = customerio
        self.telemetry = telemetry
        self.executor = executor
        self.now = now
        self.sleep = sleep
        self.backoff = backoff
        self.options = options

    def deliver(self, people: Sequence[PersonUpdates], *, time_left: TimeLeft) -> Delivered:
        """Return once Customer.io shows the newest state of everybody but those who failed."""
        run = _Run(self, time_left)
        run.deliver(people)
        return run.result


class _Run:
    """One call of `deliver`, with what is known of it so far."""

    def __init__(self, rooms: Deliverer, time_left: TimeLeft) -> None:
        self._rooms = rooms
        self._time_left = time_left
        self._to_verify = keeping(time_left, VERIFYING_S)
        self.result = Delivered()
        self._poster = Poster(
            customerio=rooms.customerio,
            credentials=rooms.credentials,
            telemetry=rooms.telemetry,
            executor=rooms.executor,
            failures=self.result.failures,
            time_left=self._to_verify,
        )
        self._former = FormerIdentifiers(
            people=rooms.people,
            update=self._update,
            failures=self.result.failures,
            now=rooms.now,
            time_left=self._to_verify,
            options=rooms.options,
        )

    def deliver(self, people: Sequence[PersonUpdates]) -> None:
        open_ = list(self._without_paused(people))
        asked_for = {person.key for person in people}
        deliveries: list[Delivery] = []
        for start in range(0, len(open_), PEOPLE_IN_MEMORY):
            part = open_[start : start + PEOPLE_IN_MEMORY]
            updated = self._isolated(part, partial(self._update, part))
            deliveries += updated or []
        self._isolated(open_, partial(self._bring_up_to_date, deliveries))
        self._keep_what_was_asked(asked_for)

    def _without_paused(self, people: Iterable[PersonUpdates]) -> Iterable[PersonUpdates]:
        """Return whose workspace takes people at present: for the others nothing is begun."""
        reasons: dict[Workspace, RetryableError | None] = {}
        for person in people:
            workspace = person.workspace
            if workspace not in reasons:
                reasons[workspace] = self._rooms.customerio.paused(workspace)
            if (reason := reasons[workspace]) is None:
                yield person
            else:
                self.result.failures[person.key] = reason

    def _keep_what_was_asked(self, asked_for: set[str]) -> None:
        """Fail who has a successor that failed; drop the successors that nobody asked for."""
        failures = self.result.failures
        failures |= {k: v for k, v in self._former.blocked().items() if k not in failures}
        for of_all in (failures, self.result.persons, self.result.too_old):
            for key in of_all.keys() - asked_for:
                del of_all[key]

    def _isolated(
        self, people: Sequence[PersonUpdates], call: Callable[[], _Result]
    ) -> _Result | None:
        """Return what the call returns; an error fails these people alone."""
        result = attempt(call, self._rooms.telemetry)
        if not isinstance(result, PermanentError | RetryableError):
            return result
        for person in people:
            self.result.failures.setdefault(person.key, result)
        return None

    # --- load, merge, save ---

    def _update(
        self, people: Sequence[PersonUpdates], floors: Mapping[str, int] = MappingProxyType({})
    ) -> list[Delivery]:
        """Bring people's kept states up to date, and return who is to be posted.

        Who is in `floors` gets a state with at least that timestamp.
        """
        ready: list[Delivery] = []
        waiting = {person.key: person for person in people}
        for tries in range(MAX_ROUNDS):
            if tries:
                pause = self._rooms.backoff(tries)
                self._rooms.sleep(min(pause, max(0.0, self._to_verify())))
            merged, changed = self._merge(waiting, floors, consistent=tries > 0 or bool(floors))
            failures = self._rooms.people.save(
                changed, now=self._rooms.now(), time_left=self._to_verify
            )
            self.result.changed += len(changed) - len(failures)
            ready += [delivery for delivery in merged if delivery.key not in failures]
            conflicts = {
                key: waiting[key]
                for key, failure in failures.items()
                if isinstance(failure, VersionConflictError)
            }
            self.result.failures |= {k: v for k, v in failures.items() if k not in conflicts}
            self.result.version_conflicts += len(conflicts)
            waiting = conflicts
            if not waiting:
                return ready
        lost = VersionConflictError("others kept writing this person first")
        self.result.failures |= dict.fromkeys(waiting, lost)
        return ready

    def _merge(
        self, people: Mapping[str, PersonUpdates], floors: Mapping[str, int], *, consistent: bool
    ) -> tuple[list[Delivery], dict[str, PersonState]]:
        """Return the deliveries of people as they are with their updates, and whose changed."""
        states = self._rooms.people.load(
            [*people], consistent=consistent, time_left=self._to_verify
        )
        now = self._rooms.now()
        merged: list[Delivery] = []
        changed: dict[str, PersonState] = {}
        for key, person in people.items():
            known = states[key]
            if isinstance(known, RetryableError):
                self.result.failures[key] = known
                continue
            state = attempt(
                partial(self._merged, person, known, now, floors.get(key, 0)),
                self._rooms.telemetry,
            )
            if not isinstance(state, PersonState):
                self.result.failures[key] = state
            elif state.identifier is not None:
                merged.append(Delivery.of(person, state))
                if state is not known:
                    changed[key] = state
        return merged, changed

    def _merged(
        self, person: PersonUpdates, known: PersonState, now: float, floor: int
    ) -> PersonState:
        merged = merge(known, person.updates, now=now)
        if places := too_old(known, merged, person.updates, now=now):
            self.result.too_old[person.key] = places
        if merged is known and known.version:
            if known.timestamp < floor:
                # Exactly the floor: two successors of each other would outbid each other for ever.
                return new_version(known, now=floor)
            if known.timestamp < now - NEW_VERSION_AFTER_S:
                return new_version(known, now=now)
        elif merged.timestamp < floor:
            return msgspec.structs.replace(merged, timestamp=floor)
        return merged

    # --- post, clear former identifiers, verify ---

    def _bring_up_to_date(self, deliveries: Sequence[Delivery]) -> None:
        """Post people until what was posted is the newest state of each."""
        waiting = deliveries
        for _ in range(MAX_ROUNDS):
            posted = self._poster.post(self._former.with_successors(waiting), self._persons)
            posted = self._clear_former(posted)
            waiting = self._overtaken(posted)
            again = {delivery.key for delivery in waiting}
            self._former.forget([each for each in posted if each.key not in again])
            if not waiting:
                return
            self.result.overtaken += len(waiting)
        lost = VersionConflictError("others kept writing this person meanwhile")
        self.result.failures |= dict.fromkeys((delivery.key for delivery in waiting), lost)

    def _persons(self, delivery: Delivery) -> list[Person]:
        person = build_person(delivery.state, delivery.news.updates, self._rooms.options)
        self.result.persons[delivery.key] = person
        if not delivery.former:
            return [person]
        first = introduction(delivery.state, person)
        return [person] if first is None else [first, person]

    def _clear_former(self, posted: Sequence[Delivery]) -> list[Delivery]:
        """Empty the lists under former identifiers; return who is still to be verified."""
        changed = [delivery for delivery in posted if delivery.former]
        cleared = self._poster.post(changed, self._former.clearing(posted)) if changed else []
        return [*(delivery for delivery in posted if not delivery.former), *cleared]

    def _overtaken(self, posted: Sequence[Delivery]) -> list[Delivery]:
        """Return who must be posted again, as someone else wrote them while they were posted."""
        by_key = {delivery.key: delivery for delivery in posted}
        versions = self._rooms.people.versions([*by_key], time_left=self._time_left)
        changed: list[str] = []
        for key, delivery in by_key.items():
            version = versions[key]
            if isinstance(version, RetryableError):
                self.result.failures[key] = version
            # An item that is gone was erased: there is nothing newer to post.
            elif version not in {delivery.state.version, 0}:
                changed.append(key)
        again: list[Delivery] = []
        if changed:
            states = self._rooms.people.load(changed, consistent=True, time_left=self._time_left)
            for key in changed:
                state = states[key]
                if isinstance(state, RetryableError):
                    self.result.failures[key] = state
                elif state.identifier is not None:
                    again.append(by_key[key].after_post(state))
        return [*again, *self._former.new_successors(posted, {delivery.key for delivery in again})]

"""Walk: one step of a walk over the table, as many pages as there is time for.

Steps come in from walker.py; people go to deliver.py, like those of a batch of messages. A page
that is done twice does no harm, so a step may die anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Final

import msgspec

from handler.clock import Deadline
from handler.concurrency import slices
from handler.domain.membership import PersonState
from handler.domain.update import site_id_in
from handler.domain.walk import WalkStep
from handler.domain.workspace import Workspace
from handler.errors import Failure, OutOfTimeError, RetryableError, UnreadableStateError
from handler.jobs.deliver import deliver
from handler.jobs.ports import WalkTelemetry
from handler.jobs.post import PersonUpdates
from handler.jobs.run import Outside

PAGE_S: Final = 60.0
"""No page starts with less time left, in seconds."""

_States = Mapping[str, PersonState | RetryableError]


class Walker(msgspec.Struct, frozen=True):
    """Takes steps of walks, one at a time.

    `people_per_second`: the most that this walker delivers, so that the table has room for fresh
    changes.
    """

    outside: Outside
    telemetry: WalkTelemetry
    people_per_second: float

    def take(self, step: WalkStep, *, deadline: Deadline) -> WalkStep:
        """Deliver pages while time is left; return the next step, or this one as done.

        Raises a RetryableError if not even the first page could be delivered: then all its people
        are to be delivered again. Raises MisconfiguredError if a human must act first.
        """
        after = step
        failure: RetryableError = OutOfTimeError("no time left for a page")
        while not after.done and deadline.allows(PAGE_S):
            try:
                after = self._page(after, deadline)
            except RetryableError as error:
                failure = error
                break
        if after is step and not step.done:
            raise failure
        self.telemetry.walk_step_done(step, after)
        return after

    def _page(self, step: WalkStep, deadline: Deadline) -> WalkStep:
        """Deliver the next page; return the step after it."""
        if step.keys is not None:
            page = self.outside.people.load(step.keys, consistent=True, deadline=deadline)
            start = None
        else:
            # Consistent: whoever was saved before the walk began is on a page.
            read = next(
                self.outside.people.pages(
                    step.segment,
                    step.segments,
                    after=step.start,
                    # At a low rate, all of a page would not be delivered within a step.
                    at_most=max(1, int(self.people_per_second * PAGE_S)),
                    consistent=True,
                    deadline=deadline,
                )
            )
            page, start = read.people, read.last_key
        delivered, skipped = self._deliver(step, page, deadline)
        return msgspec.structs.replace(
            step,
            start=start,
            done=start is None,
            read=step.read + len(page),
            delivered=step.delivered + delivered,
            skipped=step.skipped + skipped,
        )

    def _deliver(self, step: WalkStep, page: _States, deadline: Deadline) -> tuple[int, int]:
        """Deliver those of a page whom the walk concerns; return how many, and how many it skips.

        Raises if one is to be retried.
        """
        people, skipped = self._chosen(step, page, deadline)
        # One second's worth at a time.
        for part in slices(people, max(1, int(self.people_per_second))):
            started = self.outside.now()
            skipped |= self._deliver_part(part, deadline)
            # In the last minute, finish the page at full speed.
            if deadline.allows(PAGE_S):
                seconds = len(part) / self.people_per_second
                self.outside.sleep(max(0.0, started + seconds - self.outside.now()))
        for key, failure in skipped.items():
            self.telemetry.walk_person_skipped(key, failure)
        return sum(person.key not in skipped for person in people), len(skipped)

    def _deliver_part(
        self, people: Sequence[PersonUpdates], deadline: Deadline
    ) -> dict[str, Failure]:
        """Deliver people; return why some were rejected. Raises if one is to be retried."""
        delivered = deliver(self.outside, people, deadline=deadline)
        failures = {**delivered.failures, **delivered.events_rejected}
        for failure in failures.values():
            if isinstance(failure, RetryableError) and not isinstance(
                failure, UnreadableStateError
            ):
                raise failure
        for key, person in delivered.persons.items():
            self.telemetry.person_delivered(key, person)
        return failures

    def _chosen(
        self, step: WalkStep, page: _States, deadline: Deadline
    ) -> tuple[list[PersonUpdates], dict[str, Failure]]:
        """Return whom the walk concerns, and why some of the page cannot be delivered."""
        walk, options = step.walk, self.outside.options
        one_attribute = walk.one_attribute_per_audience
        if one_attribute is None:
            one_attribute = options.one_attribute_per_audience

        @cache
        def workspace_of(site_id: str) -> Workspace | Failure:
            find = self.outside.credentials.workspace_of_site
            return self.outside.attempt(find, site_id, deadline=deadline)

        all_audiences = walk.kind == "resync" and one_attribute
        chosen: list[PersonUpdates] = []
        skipped: dict[str, Failure] = {}
        for key, state in page.items():
            site_id = site_id_in(key)
            if walk.site_id not in {"", site_id}:
                continue
            if isinstance(state, RetryableError):
                skipped[key] = state
                continue
            updates = walk.updates(state, one_attribute=one_attribute)
            if updates is None:
                continue
            workspace = workspace_of(site_id)
            if isinstance(workspace, Workspace):
                person = PersonUpdates(key, workspace, updates, all_audiences=all_audiences)
                chosen.append(person)
            elif isinstance(workspace, RetryableError):
                raise workspace
            else:
                skipped[key] = workspace
        return chosen, skipped

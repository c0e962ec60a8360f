"""Deletions: people deleted in Customer.io once more, as a slow post may have brought them back.

A post of somebody who is erased meanwhile may arrive after the erasure deleted them. Whoever sent
it deletes them again, unless somebody has the identifier now.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec

from handler.clock import Deadline
from handler.domain.erasure import Deletion
from handler.domain.membership import PersonState
from handler.domain.update import Identifier
from handler.domain.workspace import Workspace
from handler.errors import Failure, RetryableError
from handler.jobs.ports import People
from handler.jobs.post import Delivery, PersonUpdates, Poster
from handler.jobs.run import Run


class LatePost(msgspec.Struct, frozen=True):
    """Identifiers of an erased person under which Customer.io may have them again."""

    person: PersonUpdates
    identifiers: Sequence[Identifier]

    @classmethod
    def of_merge(
        cls, person: PersonUpdates, known: PersonState, merged: PersonState
    ) -> LatePost | None:
        """Return what was posted before an erasure, as far as this merge shows it.

        Of whom there was no state, nothing was posted.
        """
        if not (known.version and merged.erased_at_ms):
            return None
        posted = [
            update.identifier
            for update in person.updates
            if update.identifier is not None and update.at_ms <= merged.erased_at_ms
        ]
        if known.erased_at_ms < merged.erased_at_ms:
            posted += known.former
            posted += [known.identifier] if known.identifier else []
        return cls._of(person, posted, merged)

    @classmethod
    def of_delivery(cls, delivery: Delivery, newest: PersonState) -> LatePost | None:
        """Return what a delivery posted of a person who was erased meanwhile."""
        posted = delivery.state
        if newest.erased_at_ms <= posted.erased_at_ms or posted.identifier is None:
            return None
        return cls._of(delivery.person, [posted.identifier], newest)

    @classmethod
    def _of(
        cls, person: PersonUpdates, posted: Iterable[Identifier], newest: PersonState
    ) -> LatePost | None:
        by_text = {each.text: each for each in posted}
        current = newest.identifier
        if current is not None:
            by_text.pop(current.text, None)
            if current.is_id and "email" in newest.set_at:
                # Customer.io may have the person by this email, too.
                by_text = {text: each for text, each in by_text.items() if each.is_id}
        return cls(person, [*by_text.values()]) if by_text else None

    @property
    def key(self) -> str:
        """The key of the person's item."""
        return self.person.key

    @property
    def workspace(self) -> Workspace:
        """The workspace that was posted to."""
        return self.person.workspace


class Deletions:
    """The deletions of one run."""

    def __init__(self, run: Run, poster: Poster) -> None:
        """Begin; failures are added to the run's result."""
        self._run = run
        self._outside = run.outside
        self._poster = poster
        self._owners_of: dict[str, list[str]] = {}

    def repeat(self, late_posts: Iterable[LatePost]) -> list[PersonUpdates]:
        """Delete people again; return who has one of their identifiers now.

        They are to be delivered again: whoever got it during this deletion, or an earlier one
        that was cut short, may be deleted.
        """
        options = self._outside.options
        late = [each for each in late_posts if options.of(each.workspace).on_erasure != "none"]
        if not late:
            return []
        owned = self._owners(late)
        deleting = [each for each in late if each.key not in self._run.result.failures]

        def deletions(each: LatePost) -> Sequence[Deletion]:
            action = options.of(each.workspace).on_erasure
            return [
                Deletion(identifier, action)
                for identifier in each.identifiers
                if action != "none" and not owned[each.workspace.site_id, identifier.text]
            ]

        deleted = self._poster.post(deleting, deletions)
        owned = self._owners(deleted)
        again: dict[str, PersonUpdates] = {}
        for each in deleted:
            keys = [
                key
                for identifier in each.identifiers
                for key in owned.get((each.workspace.site_id, identifier.text), ())
            ]
            self._owners_of[each.key] = keys
            again |= {key: PersonUpdates(key, each.workspace) for key in keys}
        return [*again.values()]

    def blocked(self) -> dict[str, Failure]:
        """Return, of people whose identifiers others have, why one of these is to be retried."""
        failures = self._run.result.failures
        return {
            person: failure
            for person, owners in self._owners_of.items()
            for failure in map(failures.get, owners)
            if isinstance(failure, RetryableError)
        }

    def _owners(self, late: Sequence[LatePost]) -> dict[tuple[str, str], list[str]]:
        """Return who has each identifier now, by site id and the identifier's text."""
        by_site: defaultdict[str, list[LatePost]] = defaultdict(list)
        for each in late:
            by_site[each.workspace.site_id].append(each)
        owned: dict[tuple[str, str], list[str]] = {}
        for site_id, group in by_site.items():
            identifiers = dict.fromkeys(each for late in group for each in late.identifiers)
            owners = known_as(
                self._outside.people, [*identifiers], site_id, deadline=self._run.deadline
            )
            for each in group:
                for identifier in each.identifiers:
                    answer = owners[identifier]
                    if isinstance(answer, RetryableError):
                        self._run.fail([each.key], answer)
                    else:
                        owned[site_id, identifier.text] = [*answer]
        return owned


def known_as(
    people: People, identifiers: Collection[Identifier], site_id: str, *, deadline: Deadline
) -> Mapping[Identifier, Mapping[str, PersonState] | RetryableError]:
    """Return the people with each identifier, by key.

    The index may name people who had the identifier a moment ago, so their states are read.
    """
    answers = people.known_as([*identifiers], site_id, deadline=deadline)
    named = dict.fromkeys(
        key for keys in answers.values() if not isinstance(keys, RetryableError) for key in keys
    )
    states = people.load([*named], consistent=True, deadline=deadline) if named else {}
    return {
        identifier: answer
        if isinstance(answer, RetryableError)
        else _with(identifier, {key: states[key] for key in answer})
        for identifier, answer in answers.items()
    }


def _with(
    identifier: Identifier, states: Mapping[str, PersonState | RetryableError]
) -> Mapping[str, PersonState] | RetryableError:
    people: dict[str, PersonState] = {}
    for key, state in states.items():
        if isinstance(state, RetryableError):
            return state
        if state.identifier is not None and state.identifier.names_the_same(identifier):
            people[key] = state
    return people

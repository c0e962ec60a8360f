"""Deletions: people deleted in Customer.io once more, as a slow post may have brought them back.

A post of somebody who is erased meanwhile may arrive after the erasure deleted them. Whoever sent
it deletes them again, unless somebody has the identifier now.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec

from handler.clock import Deadline
from handler.domain.erasure import Deletion
from handler.domain.membership import PersonState
from handler.domain.update import Identifier, SiteIdentifier
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


class Deletions:
    """The deletions of one run; failures are added to its result."""

    def __init__(self, run: Run, poster: Poster) -> None:
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
        late = [
            each for each in late_posts if options.of(each.person.workspace).on_erasure != "none"
        ]
        if not late:
            return []
        owners = self._owners(late)
        failures = self._run.result.failures
        deleting = [each for each in late if each.person.key not in failures]

        def deletions(each: LatePost) -> list[Deletion]:
            action = options.of(each.person.workspace).on_erasure
            return [
                Deletion(identifier, action)
                for identifier in each.identifiers
                if action != "none" and not owners[each.person.key][identifier]
            ]

        deleted = self._poster.post(deleting, deletions)
        owners = self._owners(deleted)
        again: dict[str, PersonUpdates] = {}
        for each in deleted:
            keys = [key for named in owners[each.person.key].values() for key in named]
            self._owners_of[each.person.key] = keys
            again |= {key: PersonUpdates(key, each.person.workspace) for key in keys}
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

    def _owners(self, late: Sequence[LatePost]) -> dict[str, dict[Identifier, Collection[str]]]:
        """Return, by person, who has their identifiers now; fail people of whom it is unknown."""
        wanted = [
            (each.person.workspace.site_id, identifier)
            for each in late
            for identifier in each.identifiers
        ]
        answers = known_as(self._outside.people, wanted, deadline=self._run.deadline)
        owners: dict[str, dict[Identifier, Collection[str]]] = {}
        for each in late:
            owners[each.person.key] = {}
            for identifier in each.identifiers:
                answer = answers[each.person.workspace.site_id, identifier]
                if isinstance(answer, RetryableError):
                    self._run.fail([each.person.key], answer)
                else:
                    owners[each.person.key][identifier] = answer
        return owners


def known_as(
    people: People, identifiers: Iterable[SiteIdentifier], *, deadline: Deadline
) -> Mapping[SiteIdentifier, Mapping[str, PersonState] | RetryableError]:
    """Return the people with each identifier, by key.

    The index may name people who had the identifier a moment ago, so their states are read.
    """
    wanted = [*dict.fromkeys(identifiers)]
    answers = people.known_as(wanted, deadline=deadline) if wanted else {}
    named = dict.fromkeys(
        key for keys in answers.values() if not isinstance(keys, RetryableError) for key in keys
    )
    states = people.load([*named], consistent=True, deadline=deadline) if named else {}
    return {
        (site_id, identifier): answer
        if isinstance(answer, RetryableError)
        else _with(identifier, {key: states[key] for key in answer})
        for (site_id, identifier), answer in answers.items()
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

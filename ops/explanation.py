"""Explanation: why a person is, or is not, in an audience.

It brings together what the table, the queues and the log say of one person.
show_explanation.py says it in words.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from handler.domain.audience import Catalogue
from handler.domain.update import Identifier, hash_in
from handler.table.suspensions import Suspensions
from ops import audiences, mapping, people
from ops.delivery_log import Delivery, last_delivery
from ops.logs import read_log
from ops.masking import masked
from ops.memberships import Membership, audience_ids, memberships, seconds
from ops.mentions import Names, account_of
from ops.queues import Depth, depth
from ops.stack import NO_DEADLINE
from ops.status import LoggedError, logged_errors

if TYPE_CHECKING:
    from ops.dead_letter_queue import DeadLetterQueue
    from ops.stack import Aws, Stack

MOST_LETTERS: Final = 1000
"""Dead letters that are read at most, as an operator waits for them."""

RETRIES_S: Final = 3600
"""How far back the reasons of retries are read, in seconds."""


@dataclass(frozen=True, slots=True)
class KnownPerson:
    """What one workspace has of the person; `person` is the hash that names them in the log."""

    site_id: str
    person: str
    known_as: str
    former: tuple[str, ...]
    version: int
    timestamp: int
    values: Mapping[str, float]
    """When each value that is kept in Customer.io was last set or cleared, in Unix seconds."""
    memberships: Sequence[Membership]
    delivery: Delivery | None


@dataclass(frozen=True, slots=True)
class NamingLetter:
    """A dead letter that names the person."""

    source_message_id: str
    error_type: str
    reason: str
    sent_at: float
    account_id: int | None


@dataclass(frozen=True, slots=True)
class Letters:
    """The dead letters: how many there are, were read, and could not be read; which name whom."""

    count: int
    read: int
    unreadable: int
    hidden: int
    naming: tuple[NamingLetter, ...]


@dataclass(frozen=True, slots=True)
class Waiting:
    """What may still be on its way, and what holds it up."""

    queue: Depth
    retry_queue: Depth
    mappings: Mapping[str, str]
    retries: Sequence[LoggedError]
    suspended: Mapping[int, bool]
    """Whether mParticle is asked to suspend each account that is known."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """What is known of one person, in the order in which somebody would ask."""

    audience: str | None
    people: Sequence[KnownPerson]
    letters: Letters
    waiting: Waiting
    log_level: str
    logged_since: float

    @property
    def is_in_order(self) -> bool:
        """Tell whether the person is known, and nothing that can be seen holds up a change."""
        return bool(
            self.people
            and not (self.letters.naming or self.letters.hidden)
            and set(self.waiting.mappings.values()) == {"Enabled"}
            and not any(self.waiting.suspended.values())
        )


@dataclass(frozen=True, slots=True)
class Question:
    """Who is asked about, in which workspaces, and of which audience; None for all.

    `customer_id_type`: which identity is the customer id, by its type in messages.
    """

    query: people.Query
    site_ids: Collection[str]
    stored: Sequence[people.StoredPerson]
    audience: str | None
    customer_id_type: str

    @property
    def keys(self) -> list[str]:
        """The keys that the person's items have, or would have."""
        return [*self.query.keys(self.site_ids), *(each.key for each in self.stored)]

    @property
    def names(self) -> Names:
        """What messages may name the person by."""
        identifiers = [self.query.identifier]
        for person in self.stored:
            identifiers += [person.state.identifier, *person.state.former]
        return Names.of(self.site_ids, self.keys, filter(None, identifiers), self.customer_id_type)


@dataclass(frozen=True, slots=True)
class Explainer:
    """Looks everything up; the log from `since` on, in Unix seconds."""

    aws: Aws
    stack: Stack
    dead_letters: DeadLetterQueue
    log_level: str
    since: float
    reveal: bool
    on_lines: Callable[[int], None] = lambda _: None

    def explain(self, question: Question, accounts: Iterable[int]) -> Explanation:
        """Return what is known of a person; `accounts` are those that may be suspended.

        Raises ValueError if no message has named the audience.
        """
        catalogues = audiences.catalogues(self.aws, self.stack, question.site_ids)
        text = question.audience
        asked = None if text is None else audience_ids(text, catalogues.values())
        letters = self._letters(question.names)
        named = {letter.account_id for letter in letters.naming if letter.account_id is not None}
        return Explanation(
            audience=text,
            people=[
                self._person(person, catalogues[person.site_id], asked)
                for person in question.stored
            ],
            letters=letters,
            waiting=self._waiting({*accounts, *named}),
            log_level=self.log_level,
            logged_since=self.since,
        )

    def _person(
        self, person: people.StoredPerson, catalogue: Catalogue, asked: set[int] | None
    ) -> KnownPerson:
        state = person.state
        hashed = hash_in(person.key)
        return KnownPerson(
            site_id=person.site_id,
            person=hashed,
            known_as=self._shown(state.identifier) if state.identifier else "",
            former=tuple(map(self._shown, state.former)),
            version=state.version,
            timestamp=state.timestamp,
            values={name: seconds(stamp) for name, stamp in state.set_at.items()},
            memberships=memberships(state, catalogue, asked),
            delivery=last_delivery(
                self.aws.logs,
                self.stack.log_group,
                hashed,
                since=self.since,
                on_lines=self.on_lines,
            ),
        )

    def _shown(self, identifier: Identifier) -> str:
        value = identifier.value if self.reveal else masked(identifier.value)
        return f"{identifier.kind} {value}"

    def _letters(self, names: Names) -> Letters:
        count, read, unreadable = self.dead_letters.count(), 0, 0
        naming = []
        with closing(self.dead_letters.walk(most=MOST_LETTERS)) as walk:
            for letter in (letter for batch in walk for letter in batch):
                read += 1
                are_in = names.are_in(letter.body)
                unreadable += are_in is None
                if are_in:
                    naming.append(
                        NamingLetter(
                            letter.source_message_id,
                            letter.error_type,
                            letter.error_message,
                            letter.sent_at,
                            account_of(letter.body),
                        )
                    )
        oldest_first = sorted(naming, key=lambda letter: letter.sent_at)
        hidden = self.dead_letters.hidden
        return Letters(max(count, read), read, unreadable, hidden, tuple(oldest_first))

    def _waiting(self, accounts: Iterable[int]) -> Waiting:
        now = time.time()
        suspensions = Suspensions(self.aws.dynamodb, self.stack.table_name)
        log = read_log(
            self.aws.logs,
            self.stack.log_group,
            ['"message.retried"', '"credentials.refused"'],
            since=now - RETRIES_S,
            on_lines=self.on_lines,
        )
        return Waiting(
            queue=depth(self.aws, self.stack.queue_url),
            retry_queue=depth(self.aws, self.stack.retry_queue_url),
            mappings=mapping.states(self.aws, self.stack),
            retries=logged_errors("forwarder", log.lines),
            suspended={
                account: suspensions.is_suspended(account, now=now, deadline=NO_DEADLINE)
                for account in sorted(accounts)
            },
        )

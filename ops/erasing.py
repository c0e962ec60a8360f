"""Erasing: asks the function to erase people, waits for it, and finds their dead letters.

The requests are those that mParticle sends, so an erasure by hand has the same guarantees.
"""

from __future__ import annotations

import csv
import io
import json
import random
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

from handler.domain.erasure import customer_id_kind
from handler.domain.message import ERASURE, MessageType
from handler.domain.profile import CUSTOMER_ID_TYPES
from handler.domain.update import Identifier
from handler.errors import ForwarderError
from handler.sender import Sender
from handler.table.table import Table
from ops.mentions import Names
from ops.people import Query, StoredPerson
from ops.stack import NO_DEADLINE
from ops.table import opened

if TYPE_CHECKING:
    from ops.dead_letter_queue import DeadLetterQueue
    from ops.dead_letters import DeadLetter
    from ops.stack import Aws, Stack

_GROUP: Final = "ops-erase"
_COLUMNS: Final = {"customer_id", "email"}


@dataclass(frozen=True, slots=True)
class Subject:
    """A person to erase, by one or both identifiers."""

    customer_id: str | None = None
    email: str | None = None

    @property
    def queries(self) -> list[Query]:
        """What finds the person in the table."""
        by_id = [Query(customer_id=self.customer_id)] if self.customer_id else []
        return [*by_id, *([Query(email=self.email)] if self.email else [])]

    @property
    def identifiers(self) -> list[Identifier]:
        """What Customer.io may know the person by."""
        return [query.identifier for query in self.queries if query.identifier is not None]

    def request(
        self, *, at_ms: int, customer_id_type: str = CUSTOMER_ID_TYPES["CustomerId"]
    ) -> str:
        """Return the request to erase the person, as mParticle would send it."""
        values = {customer_id_kind(customer_id_type): self.customer_id, "email": self.email}
        return json.dumps(
            {
                "type": MessageType.DATA_SUBJECT.value,
                "id": str(uuid.uuid4()),
                "timestamp_ms": at_ms,
                "subject_request_id": str(uuid.uuid4()),
                "subject_request_type": ERASURE,
                "subject_identities": {
                    kind: {"encoding": "raw", "value": value}
                    for kind, value in values.items()
                    if value
                },
            }
        )


def subject_of(person: StoredPerson) -> Subject | None:
    """Return a person as a subject; None for one who is erased already."""
    known_as = person.state.identifier
    if known_as is None:
        return None
    return Subject(customer_id=known_as.value) if known_as.is_id else Subject(email=known_as.value)


def read_subjects(text: str) -> list[Subject]:
    """Return the subjects in a CSV file with the columns `customer_id`, `email`, or both.

    Raises ValueError if it has another column, or a row without a value.
    """
    rows = csv.DictReader(io.StringIO(text), strict=True)
    if not rows.fieldnames or not set(rows.fieldnames) <= _COLUMNS:
        raise ValueError("expected a CSV file with the columns customer_id, email or both")
    subjects = []
    for row in rows:
        if None in row:
            raise ValueError("a row has too many fields")
        values = {name: (row.get(name) or "").strip() or None for name in _COLUMNS}
        if not any(values.values()):
            raise ValueError("a row names nobody")
        subjects.append(Subject(values["customer_id"], values["email"]))
    if not subjects:
        raise ValueError("the file names nobody")
    return subjects


def now_ms(aws: Aws, stack: Stack) -> int:
    """Return the end of the second in which SQS answers, in Unix milliseconds.

    The clock of a laptop may be wrong.
    """
    answer = aws.sqs.get_queue_attributes(QueueUrl=stack.queue_url, AttributeNames=["QueueArn"])
    date = answer["ResponseMetadata"]["HTTPHeaders"]["date"]
    return int(parsedate_to_datetime(date).timestamp() + 1) * 1000


def send(
    aws: Aws, stack: Stack, requests: Sequence[str], *, sleep: Callable[[float], None]
) -> None:
    """Put requests on the queue. Raises a RetryableError if SQS did not take all."""
    with ThreadPoolExecutor(1) as executor:
        sender = Sender(
            aws.sqs,
            executor,
            queue_url=stack.queue_url,
            draw=random.uniform,
            sleep=sleep,
            group=_GROUP,
        )
        sender.send(requests, account_id=None, deadline=NO_DEADLINE)


@dataclass(frozen=True, slots=True)
class Wait:
    """Waits until the function has erased people."""

    aws: Aws
    stack: Stack
    site_ids: Sequence[str]
    at_ms: int
    sleep: Callable[[float], None]
    clock: Callable[[], float]

    def until_erased(self, subjects: Iterable[Subject], *, seconds: float) -> Iterator[int]:
        """Yield how many subjects are left, about once a second, until none or time is left."""
        left = [*subjects]
        until = self.clock() + seconds
        with opened(self.aws, self.stack) as table:
            while True:
                left = [subject for subject in left if not self._is_erased(table, subject)]
                yield len(left)
                if not left or self.clock() >= until:
                    return
                self.sleep(1.0)

    def _is_erased(self, table: Table, subject: Subject) -> bool:
        return all(
            self._is_erased_in(table, site_id, identifier)
            for site_id in self.site_ids
            for identifier in subject.identifiers
        )

    def _is_erased_in(self, table: Table, site_id: str, identifier: Identifier) -> bool:
        """Tell whether an erasure is recorded, and nobody has the identifier from before it."""
        wanted = (site_id, identifier)
        recorded = table.erasures.newest([wanted], deadline=NO_DEADLINE)[wanted]
        if isinstance(recorded, ForwarderError):
            raise recorded
        if recorded < self.at_ms:
            return False
        keys = table.people.known_as([wanted], deadline=NO_DEADLINE)[wanted]
        if isinstance(keys, ForwarderError):
            raise keys
        for state in table.people.load(keys, consistent=True, deadline=NO_DEADLINE).values():
            if isinstance(state, ForwarderError):
                raise state
            if state.erased_at_ms < self.at_ms and state.identifier is not None:
                return False
        return True


@dataclass(frozen=True, slots=True)
class Letters:
    """The dead letters that name people. `unreadable`: how many may name them; `removed`: if they
    were to be removed, how many were.
    """

    naming: Sequence[DeadLetter]
    unreadable: int
    removed: int


def letters_of(dead_letters: DeadLetterQueue, names: Names, *, remove: bool) -> Letters:
    """Find the dead letters that name people, and perhaps remove them."""
    naming: list[DeadLetter] = []
    unreadable = removed = 0
    with closing(dead_letters.walk()) as walk:
        for batch in walk:
            are_in = [names.are_in(letter.body) for letter in batch]
            unreadable += are_in.count(None)
            named = [letter for letter, is_in in zip(batch, are_in, strict=True) if is_in]
            naming += named
            if remove:
                removed += len(named) - dead_letters.delete(named)
    return Letters(naming, unreadable, removed)

"""Wire: what we send to Customer.io's Track API v2, and how to read its answer. No sockets.

Persons come in from domain/attributes.py; chunks of entities go to client.py.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, Final, Literal

import msgspec

from handler.domain.attributes import Attributes, Person
from handler.domain.erasure import Deletion
from handler.domain.events import Event
from handler.domain.packing import packed
from handler.errors import (
    CredentialsRefusedError,
    RetryableError,
    ThrottledError,
    UnavailableError,
    WrongAddressError,
)

MAX_BODY_BYTES: Final = 499_999
"""A batch request must be smaller than 500 kB (Track API, `POST /api/v2/batch`)."""

MAX_ENTITIES: Final = 1000
"""Most entities of a request. Customer.io documents no limit; other senders to this API had to
lower theirs to this one."""

MAX_ENTITY_BYTES: Final = 32_000
"""An entity must be 32 kB or smaller (Track API, `POST /api/v2/batch`)."""

MAX_ATTRIBUTES: Final = 300
"""Attributes that one identify call takes (Track API, "Person limits")."""

# Errors of credentials, address or rate, not of the people in a request.
_RETRYABLE_4XX: Final = {401, 403, 404, 408, 429}

_OPENING: Final = b'{"batch":['
_CLOSING: Final = b"]}"


class Entity(msgspec.Struct, frozen=True, gc=False):
    """One encoded entity; `owner` is the place of its person among all that are posted."""

    owner: int
    body: bytes
    is_event: bool = False


class Chunk(msgspec.Struct, frozen=True):
    """The entities of one request."""

    entities: Sequence[Entity]

    @property
    def body(self) -> bytes:
        """The request's body."""
        return _OPENING + b",".join([entity.body for entity in self.entities]) + _CLOSING

    def halves(self) -> tuple[Chunk, Chunk]:
        """Return the first and the second half, both smaller than the whole."""
        middle = len(self.entities) // 2
        return Chunk(self.entities[:middle]), Chunk(self.entities[middle:])

    def without_events_of(self, owners: Collection[int]) -> Chunk:
        """Return the chunk without the events of some people."""
        return Chunk(
            [each for each in self.entities if not (each.is_event and each.owner in owners)]
        )


class _Identify(msgspec.Struct):
    identifiers: dict[str, str]
    timestamp: int
    attributes: Attributes
    type: str = "person"
    action: str = "identify"


class _Deletion(msgspec.Struct):
    identifiers: dict[str, str]
    action: str
    type: str = "person"


class _EventAttributes(msgspec.Struct):
    audience_id: int
    audience_name: str


class _Event(msgspec.Struct):
    identifiers: dict[str, str]
    id: str
    name: str
    timestamp: int
    attributes: _EventAttributes
    type: str = "person"
    action: str = "event"


_ENCODER = msgspec.json.Encoder()


def entities(person: Person | Deletion, *, owner: int = 0) -> list[Entity]:
    """Return a person as entities: as many as the limits require, then one for each event."""
    if isinstance(person, Deletion):
        return [Entity(owner, _ENCODER.encode(_Deletion(_identifiers(person), person.action)))]
    encoded = _identifying(person, person.attributes, owner)
    for event in person.events:
        encoded.append(_event(person, event, owner))
    return encoded


def _identifying(person: Person, attributes: Attributes, owner: int) -> list[Entity]:
    # With this attribute, Customer.io creates nobody (Track API, `_update`).
    sent = {**attributes, "_update": True} if person.update_only else attributes
    body = _ENCODER.encode(_Identify(_identifiers(person), person.timestamp, sent))
    count = len(attributes)
    if count < 2 or (len(sent) <= MAX_ATTRIBUTES and len(body) <= MAX_ENTITY_BYTES):
        return [Entity(owner, body)]
    named = list(attributes.items())
    halves = (dict(named[: count // 2]), dict(named[count // 2 :]))
    return [part for half in halves for part in _identifying(person, half, owner)]


def _event(person: Person, event: Event, owner: int) -> Entity:
    attributes = _EventAttributes(event.audience_id, event.audience_name)
    body = _ENCODER.encode(
        _Event(_identifiers(person), event.id, event.name, event.timestamp, attributes)
    )
    return Entity(owner, body, is_event=True)


def _identifiers(person: Person | Deletion) -> dict[str, str]:
    return {person.identifier.kind: person.identifier.value}


_ROOM: Final = MAX_BODY_BYTES - len(_OPENING) - len(_CLOSING)


def chunks(persons: Iterable[Sequence[Entity]]) -> Iterator[Chunk]:
    """Pack the entities of each person, in order, into few requests.

    They stay together if they fit in one request, so that an event arrives after the attributes of
    its person.
    """
    for group in packed(
        _split(persons), _size, max_size=_ROOM, max_items=MAX_ENTITIES, count_of=len
    ):
        yield Chunk([*chain.from_iterable(group)])


def _split(persons: Iterable[Sequence[Entity]]) -> Iterator[Sequence[Entity]]:
    for person in persons:
        if len(person) == 1:
            yield person
        else:
            yield from packed(
                person, lambda entity: _size([entity]), max_size=_ROOM, max_items=MAX_ENTITIES
            )


def _size(entities: Iterable[Entity]) -> int:
    return sum([len(entity.body) + 1 for entity in entities])  # a comma goes with each


class Refused(msgspec.Struct, frozen=True):
    """An answer that refuses the request as a whole for its content.

    A 4xx that no retry can help, or a 207 that does not say which entities it refuses.
    """

    reason: str


def read_answer(status: int, body: bytes, *, count: int) -> dict[int, str] | Refused:
    """Return why each refused entity was refused, by its place in the chunk of `count`.

    Raises the RetryableError that the answer calls for.
    """
    if status in {200, 207}:
        return _refusals(status, body, count)
    if 400 <= status < 500 and status not in _RETRYABLE_4XX:
        errors = _errors(body)
        reason = _reason(errors[0]) if errors else ""
        return Refused(reason or f"refused with {status}")
    raise _error(status)


def read_region(status: int, body: bytes) -> Literal["us", "eu"]:
    """Return the region that `GET /api/v1/accounts/region` names.

    Raises the RetryableError that the answer calls for.
    """
    if status != 200:
        raise _error(status)
    try:
        return msgspec.json.decode(body, type=_Region).region
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise UnavailableError("Customer.io's answer names no region") from None


def _error(status: int) -> RetryableError:
    match status:
        case 401 | 403:
            return CredentialsRefusedError(f"Customer.io refused the credentials: {status}")
        case 408 | 429:
            return ThrottledError(f"Customer.io asked to slow down: {status}")
        case _ if status == 404 or 300 <= status < 400:
            return WrongAddressError(f"wrong region or Track API URL: {status}")
        case _:
            return UnavailableError(f"Customer.io answered with an error: {status}")


def _refusals(status: int, body: bytes, count: int) -> dict[int, str] | Refused:
    errors = _errors(body)
    if errors is None or (status == 207 and not errors):
        raise UnavailableError(f"Customer.io's answer {status} is malformed")
    refused: dict[int, str] = {}
    for error in errors:
        place = error.get("batch_index") if isinstance(error, dict) else None
        if type(place) is not int or place not in range(count):
            if status == 200:
                raise UnavailableError("Customer.io's answer 200 is malformed")
            return Refused(_reason(error) or f"refused with {status}")
        refused[place] = _reason(error) or "no reason given"
    return refused


def _errors(body: bytes) -> list[Any] | None:
    """Return the errors in an answer, empty if there are none; None if it is malformed."""
    try:
        answer = msgspec.json.decode(body, type=_Answer)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    return answer.errors or answer.meta.errors or []


class _Region(msgspec.Struct):
    region: Literal["us", "eu"]


class _Errors(msgspec.Struct):
    errors: list[Any] | None = None


class _Answer(_Errors):
    meta: _Errors = msgspec.field(default_factory=_Errors)


def _reason(error: object) -> str:
    """Return the field and the reason of a rejection, if they are plain words; else nothing.

    Its free text (`message`) may quote the person and is not read.
    """
    codes = [error.get("field"), error.get("reason")] if isinstance(error, dict) else []
    return ": ".join(code for code in codes if isinstance(code, str) and _CODE.fullmatch(code))


# At most eight words of at most 24 letters: long enough for a code, too short for free text.
_CODE: Final = re.compile(r"[A-Za-z_]{1,24}(?:[ ._][A-Za-z_]{1,24}){0,7}")

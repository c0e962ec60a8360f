"""Wire: what we send to Customer.io's Track API v2, and how to read its answer. No sockets.

Persons come from domain/attributes.py as entities; chunks of entities go to client.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, Literal

import msgspec

from handler.domain.attributes import Attributes, Person
from handler.errors import (
    CredentialsRefusedError,
    RetryableError,
    ThrottledError,
    UnavailableError,
    WrongAddressError,
)

MAX_BODY_BYTES: Final = 499_999
"""A batch request must be smaller than 500 kB (Track API, `POST /api/v2/batch`)."""

MAX_ENTITY_BYTES: Final = 32_000
"""An entity must be 32 kB or smaller (Track API, `POST /api/v2/batch`)."""

MAX_ATTRIBUTES: Final = 300
"""Attributes that one identify call takes (Track API, "Person limits")."""

# Credentials, address and rate: nothing that the people of a request can be refused for.
_RETRYABLE_4XX: Final = {401, 403, 404, 408, 429}

_OPENING: Final = b'{"batch":['
_CLOSING: Final = b"]}"


class Chunk(msgspec.Struct, frozen=True):
    """The entities of one request, and whose they are: the places of the persons given."""

    entities: Sequence[bytes]
    owners: Sequence[int]

    @property
    def body(self) -> bytes:
        """The request's body."""
        return _OPENING + b",".join(self.entities) + _CLOSING

    def halves(self) -> tuple[Chunk, Chunk]:
        """Return the first and the second half, both smaller than the whole."""
        middle = len(self.entities) // 2
        return (
            Chunk(self.entities[:middle], self.owners[:middle]),
            Chunk(self.entities[middle:], self.owners[middle:]),
        )


class _Entity(msgspec.Struct):
    identifiers: dict[str, str]
    timestamp: int
    attributes: Attributes
    type: str = "person"
    action: str = "identify"


_ENCODER = msgspec.json.Encoder()


def entities(person: Person) -> list[bytes]:
    """Return a person as encoded entities: one, or as many as the limits ask for."""
    identifier = person.identifier
    entity = _ENCODER.encode(
        _Entity({identifier.kind: identifier.value}, person.timestamp, person.attributes)
    )
    count = len(person.attributes)
    if count < 2 or (count <= MAX_ATTRIBUTES and len(entity) <= MAX_ENTITY_BYTES):
        return [entity]
    named = list(person.attributes.items())
    halves = (dict(named[: count // 2]), dict(named[count // 2 :]))
    return [
        part
        for half in halves
        for part in entities(msgspec.structs.replace(person, attributes=half))
    ]


def chunks(persons: Iterable[Sequence[bytes]]) -> Iterator[Chunk]:
    """Pack the entities of each person, in order, into as few requests as their sizes allow."""
    pending: list[bytes] = []
    owners: list[int] = []
    size = 0
    room = MAX_BODY_BYTES - len(_OPENING) - len(_CLOSING)
    for owner, parts in enumerate(persons):
        for entity in parts:
            if pending and size + len(entity) + 1 > room:
                yield Chunk(pending, owners)
                pending, owners, size = [], [], 0
            pending.append(entity)
            owners.append(owner)
            size += len(entity) + 1
    if pending:
        yield Chunk(pending, owners)


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
        return Refused(_first_reason(body) or f"refused with {status}")
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
        case 404:
            return WrongAddressError("wrong region or Track API URL: 404")
        case _ if 300 <= status < 400:
            return WrongAddressError(f"wrong region or Track API URL: {status}")
        case _:
            return UnavailableError(f"Customer.io answered with an error: {status}")


def _refusals(status: int, body: bytes, count: int) -> dict[int, str] | Refused:
    errors = _errors(body)
    if errors is None or (status == 207 and not errors):
        raise UnavailableError(f"Customer.io's answer {status} makes no sense")
    refused: dict[int, str] = {}
    for error in errors:
        place = error.get("batch_index") if isinstance(error, dict) else None
        if type(place) is not int or place not in range(count):
            return Refused(_reason(error) or f"refused with {status}")
        refused[place] = _reason(error)
    return refused


def _errors(body: bytes) -> list[Any] | None:
    """Return the list of errors in an answer, empty where there is none; None for nonsense."""
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


def _first_reason(body: bytes) -> str:
    errors = _errors(body)
    return _reason(errors[0]) if errors else ""


def _reason(error: object) -> str:
    """Return what an error says, word by word: not yet to be shown, see `without_values`."""
    told = [str(error)]
    if isinstance(error, dict):
        told = [str(error[name]) for name in ("field", "reason", "message") if error.get(name)]
    return ": ".join(told)


def without_values(reason: str, entity: bytes, *, secrets: Iterable[str] = ()) -> str:
    """Return Customer.io's reason, short enough for a log line and fit for one.

    Shown are plain words and small numbers; masked is what it quotes, and every word that is part
    of a value, an id or an audience's name that was sent, or of `secrets`.
    """
    sent = msgspec.json.decode(entity, type=_Entity)
    audiences = [name[3:] for name in sent.attributes if name.startswith("In ")]
    texts = [*secrets, *sent.identifiers.values(), *audiences, *sent.attributes.values()]
    values = " ".join(text for text in texts if isinstance(text, str)).casefold()
    words = set(_WORD.findall(values))

    def is_value(word: str) -> bool:
        # A longer word may be a value that is cut short; a shorter one is in every value.
        return word in words or (len(word) >= 4 and word in values)

    told = _QUOTED.sub(_MASK, reason[:_LONGEST_READ].replace("\\", "")).split()
    shown = [
        _MASK if not _PLAIN.fullmatch(one) or any(map(is_value, _parts(one))) else one
        for one in told
    ]
    return " ".join(shown)[:300] or "no reason given"


def _parts(word: str) -> list[str]:
    return [] if word == _MASK else _WORD.findall(word.casefold())


_LONGEST_READ: Final = 10_000
_MASK: Final = "[value]"
_WORD = re.compile(r"[^\W_]+")
_QUOTED = re.compile(r"(?<!\w)(?:'[^']*'?|\"[^\"]*\"?|`[^`]*`?|\u201c[^\u201d]*\u201d?)")
# Words of letters, and numbers of up to five digits. Anything else may be a value in disguise, or
# somebody else's: an email, an id of letters and digits, something encoded.
_MARKS: Final = r"[][_.,;:!?()<>/'-]"
_RUN: Final = r"(?:[A-Z]?[a-z]{1,24}|[A-Z]{1,5}|[a-z]|[0-9]{1,5})"
_PLAIN = re.compile(rf"{_MARKS}*+(?:{_RUN}(?:{_MARKS}++|\Z))*+")

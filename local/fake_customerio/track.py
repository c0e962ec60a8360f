"""Track API: reads requests, checks the API's limits, and writes answers.

Bytes come in from server.py; entities within the limits go on to people.py. Of HTTP, this module
knows only a status and a body.

If the documentation does not say what happens, the fake does this:

* KB means 1,000 bytes, the stricter reading: a batch has fewer than 500,000 bytes and an entity at
  most 32,000, as sent. A larger batch is answered with 413, and a larger entity is refused.
* The limit of 300 attributes is for each update, not for each person.
* The limits on attributes are for people. An event only has to fit an entity.
* `phone` is not an identifier, and only people are known, no objects or deliveries.
* Of events, `page` and `screen` are not known.
* An empty batch is accepted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from local.fake_customerio.people import Entity, People

BATCH_BYTES = 500_000
ENTITY_BYTES = 32_000
ATTRIBUTES = 300
NAME_BYTES = 150
VALUE_BYTES = 1_000
IDENTIFIER_BYTES = 150
EVENT_NAME_BYTES = 100

_IDENTIFIERS = {"id", "email", "cio_id"}
_ULID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a request."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""
    """Why something was refused, for the page."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an entity, or a whole request, is not accepted."""

    reason: str
    field: str
    message: str


@dataclass(frozen=True, slots=True)
class Call:
    """The entities of a request, and a function that writes the answer from the refusals."""

    entities: Sequence[Entity | Refusal]
    answer: Callable[[Mapping[int, Refusal]], Answer]

    @property
    def read(self) -> Sequence[Entity]:
        """The entities that could be read."""
        return [each for each in self.entities if isinstance(each, Entity)]


class _Batch(msgspec.Struct):
    batch: list[msgspec.Raw]


def batch(body: bytes) -> Call:
    """Read `POST /api/v2/batch`."""
    if len(body) >= BATCH_BYTES:
        return fixed(refused_whole(413, Refusal("too_large", "batch", "500 KB or more")))
    try:
        raw_entities = msgspec.json.decode(body, type=_Batch).batch
    except msgspec.DecodeError as error:
        return fixed(refused_whole(400, _refusal(error)))
    return Call([_read(bytes(raw)) for raw in raw_entities], _batch_answer)


def entity(body: bytes) -> Call:
    """Read `POST /api/v2/entity`."""
    return Call([_read(body)], _entity_answer)


def customer(action: str, identifier: str, body: bytes) -> Call:
    """Read `PUT` or `DELETE /api/v1/customers/{identifier}`."""
    return Call([_read_customer(action, identifier, body)], _customer_answer)


def fixed(answer: Answer) -> Call:
    """Return a call that changes nothing and has a fixed answer."""
    return Call([], lambda _: answer)


def json_answer(status: int, content: object, reason: str = "") -> Answer:
    """Return an answer whose body is JSON."""
    headers = {"Content-Type": "application/json"}
    return Answer(status, msgspec.json.encode(content), headers, reason)


def refused_whole(status: int, refusal: Refusal) -> Answer:
    """Return the answer to a request that is refused as a whole."""
    return json_answer(status, {"errors": [refusal]}, refusal.message)


def perform(
    call: Call, site_id: str, people: People, refuse: Callable[[Entity], Refusal | None]
) -> dict[int, Refusal]:
    """Apply the entities that `refuse` has nothing against; return the refusals, by place."""
    refused = {}
    for index, each in enumerate(call.entities):
        refusal = each if isinstance(each, Refusal) else refuse(each)
        if refusal is not None:
            refused[index] = refusal
        elif isinstance(each, Entity):
            people.apply(site_id, each)
    return refused


def _batch_answer(refused: Mapping[int, Refusal]) -> Answer:
    if not refused:
        return json_answer(200, {})
    errors = [
        {"batch_index": index, **msgspec.to_builtins(refusal)}
        for index, refusal in refused.items()
    ]
    return json_answer(207, {"errors": errors}, errors[0]["message"])


def _entity_answer(refused: Mapping[int, Refusal]) -> Answer:
    return refused_whole(400, refused[0]) if refused else json_answer(200, {})


def _customer_answer(refused: Mapping[int, Refusal]) -> Answer:
    if not refused:
        return json_answer(200, {})
    message = refused[0].message
    return json_answer(400, {"meta": {"errors": [message]}}, message)


def _read(raw: bytes) -> Entity | Refusal:
    if len(raw) > ENTITY_BYTES:
        return Refusal("too_large", "", "an entity has at most 32 KB")
    try:
        return _checked(msgspec.json.decode(raw, type=Entity))
    except msgspec.DecodeError as error:
        return _refusal(error)


def _read_customer(action: str, identifier: str, body: bytes) -> Entity | Refusal:
    kind = "email" if "@" in identifier else "id"
    if identifier.startswith("cio_"):
        kind, identifier = "cio_id", identifier.removeprefix("cio_")
    entity: dict[str, Any] = {
        "type": "person",
        "action": action,
        "identifiers": {kind: identifier},
    }
    try:
        attributes = msgspec.json.decode(body or b"{}", type=dict[str, Any])
        if "_timestamp" in attributes:
            entity["timestamp"] = attributes.pop("_timestamp")
        return _checked(msgspec.convert(entity | {"attributes": attributes}, Entity))
    except msgspec.DecodeError as error:
        return _refusal(error)


def _refusal(error: msgspec.DecodeError) -> Refusal:
    """Return msgspec's error as Customer.io would write it; a field's name is at its end."""
    message = str(error)
    missing = "missing required field" in message
    field_ = re.search(r"`(?:\$\.)?(\w+)[^`]*`$", message) if "$" in message or missing else None
    return Refusal("required" if missing else "invalid", field_[1] if field_ else "", message)


def _checked(entity: Entity) -> Entity | Refusal:
    return next(_breaches(entity), entity)


def _breaches(entity: Entity) -> Iterator[Refusal]:
    if len(entity.identifiers) != 1 or not entity.identifiers.keys() <= _IDENTIFIERS:
        yield Refusal("invalid", "identifiers", "exactly one of id, email and cio_id is needed")
    for kind, value in entity.identifiers.items():
        yield from _identifier_breaches(kind, value)
    yield from _event_breaches(entity) if entity.action == "event" else _person_breaches(entity)


def _event_breaches(entity: Entity) -> Iterator[Refusal]:
    if not entity.name.strip():
        yield Refusal("required", "name", "an event needs a name")
    if len(entity.name.encode()) > EVENT_NAME_BYTES:
        yield Refusal("too_long", "name", "an event's name has at most 100 bytes")
    if entity.id is not None and not _ULID.fullmatch(entity.id):
        yield Refusal("invalid", "id", "an event's id is a ULID")


def _person_breaches(entity: Entity) -> Iterator[Refusal]:
    if len(entity.attributes) > ATTRIBUTES:
        yield Refusal("too_many", "attributes", "cannot identify more than 300 attributes")
    for name, value in entity.attributes.items():
        if name in _IDENTIFIERS and isinstance(value, str):
            yield from _identifier_breaches(name, value)
        if len(name.encode()) > NAME_BYTES:
            yield Refusal("too_long", "attributes", "an attribute name has at most 150 bytes")
        if len(_bytes(value)) > VALUE_BYTES:
            yield Refusal("too_long", name, "an attribute value has at most 1000 bytes")


def _identifier_breaches(kind: str, value: str) -> Iterator[Refusal]:
    if not value.strip():
        yield Refusal("required", kind, "an identifier cannot be empty")
    if len(value.encode()) > IDENTIFIER_BYTES:
        yield Refusal("too_long", kind, "an identifier has at most 150 bytes")


def _bytes(value: object) -> bytes:
    return value.encode() if isinstance(value, str) else msgspec.json.encode(value)

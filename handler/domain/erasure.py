"""Erasure: a request to forget a person, and what is then done in Customer.io.

Data subject requests come in from message.py; erasures go on to jobs/erase.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import msgspec

from handler.domain.membership import PersonState
from handler.domain.message import CUSTOMER_ID, ERASURE, AudienceMessage
from handler.domain.profile import CUSTOMER_ID_TYPES, MAX_IDENTIFIER_BYTES
from handler.domain.update import Identifier, Update
from handler.domain.workspace import OnErasure
from handler.errors import MalformedMessageError


class Erasure(msgspec.Struct, frozen=True):
    """A request to forget all that was said of a person until a time, in Unix milliseconds.

    `request_id`: mParticle's id of the request; empty if it is not text.
    """

    request_id: str
    at_ms: int
    identifiers: tuple[Identifier, ...]


def read_erasure(
    message: AudienceMessage, *, customer_id_type: str = CUSTOMER_ID_TYPES["CustomerId"]
) -> Erasure | None:
    """Return the erasure that a message requests; None if it requests something else.

    `customer_id_type`: which identity is the customer id, by its type in other messages.
    The time is that of the message: what mParticle sent before it is erased, however long before
    it the request was submitted. Raises MalformedMessageError.
    """
    request = message.subject_request
    if request is None or request.subject_request_type != ERASURE:
        return None
    identities = {} if request.subject_identities is None else request.subject_identities
    if not isinstance(identities, dict):
        raise MalformedMessageError("$.subject_identities: expected an object")
    request_id = request.subject_request_id
    customer_id = _raw_value(customer_id_kind(customer_id_type), identities)
    # Customer.io ignores the case of emails, so use one form.
    email = _raw_value("email", identities).lower()
    at_ms = message.sent_at_ms
    return Erasure(
        request_id=request_id if isinstance(request_id, str) else "",
        at_ms=at_ms,
        identifiers=tuple(
            Identifier(is_id, at_ms, value)
            for is_id, value in ((True, customer_id), (False, email))
            if value
        ),
    )


def customer_id_kind(customer_id_type: str) -> str:
    """Return what these requests call the customer id, by its type in other messages."""
    is_default = customer_id_type == CUSTOMER_ID_TYPES["CustomerId"]
    return CUSTOMER_ID if is_default else customer_id_type


def _raw_value(kind: str, identities: Mapping[str, Any]) -> str:
    """Return the raw value of an identity, without surrounding spaces; empty if there is none.

    A value that Customer.io cannot hold is of nobody who is known here.
    """
    path = f"$.subject_identities.{kind}"
    identity = identities.get(kind)
    if identity is None:
        return ""
    if not isinstance(identity, dict):
        raise MalformedMessageError(f"{path}: expected an object")
    value = identity.get("value")
    if identity.get("encoding") != "raw" or value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise MalformedMessageError(f"{path}.value: expected str")
    text = str(value).strip()
    try:
        return text if len(text.encode()) <= MAX_IDENTIFIER_BYTES else ""
    except UnicodeEncodeError:
        raise MalformedMessageError(f"{path}.value: not valid Unicode") from None


def erased_until(
    known: PersonState, updates: Iterable[Update], erased_at_ms: Mapping[Identifier, int]
) -> int:
    """Return the time of the newest erasure of a person, in Unix milliseconds; 0: none.

    `erased_at_ms`: the newest erasure by each identifier that is new to the person. It is of
    somebody else if the person had another identifier at that time.
    """
    named = (known.identifier, known.outranked, *(update.identifier for update in updates))
    newest = 0
    for identifier, at_ms in erased_at_ms.items():
        then = max((each for each in named if each and each.set_at_ms <= at_ms), default=None)
        # Of somebody new, nothing else is known from that time.
        if identifier.names_the_same(then) if then else known.identifier is None:
            newest = max(newest, at_ms)
    return newest


class ErasedIn(msgspec.Struct, frozen=True):
    """What an erasure did in one workspace, by the name of its entry in the secret.

    `people`: whose states were erased; `deletions`: sent to Customer.io. `is_confirmed`: no change
    that was handled at the same time can have been missed.
    """

    entry: str
    on_erasure: OnErasure
    people: int
    deletions: int
    is_confirmed: bool


class Deletion(msgspec.Struct, frozen=True):
    """A person to delete from Customer.io, or to suppress: then it never takes them again."""

    identifier: Identifier
    action: Literal["delete", "suppress"]

"""Profile: one profile of a message, read into identities and changes.

Raw texts come in from message.py; profiles go on to update.py. Errors say where a profile is
wrong, and never contain a value from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final

import msgspec

from handler.domain.message import RawProfile, explain
from handler.errors import InvalidIdentityError, MalformedProfileError, NoIdentityError

MAX_IDENTIFIER_BYTES: Final = 150
"""Customer.io's limit on an id or email (Track API, "Person limits")."""

CUSTOMER_ID_TYPES: Final[Mapping[str, str]] = {
    "CustomerId": "customer",
    "Other": "other",
    **{f"Other{number}": f"other{number}" for number in range(2, 11)},
}
"""The identities that can be the customer id, by mParticle's name: their type in messages."""

_AUDIENCE_IDS: Final = range(-(2**63), 2**63)
_MPIDS: Final = range(-(2**63), 2**64)


AttributeValue = str | int | float | list[str | int | float]
"""What a user attribute may hold; a boolean is an int to Python."""


class MembershipChange(msgspec.Struct, frozen=True, gc=False):
    """One person entering or leaving one audience; the name is empty if the message has none."""

    audience_id: int
    audience_name: str
    is_member: bool


class Profile(msgspec.Struct, frozen=True):
    """One profile of one message.

    `attributes`: the user attributes of its audiences, by mParticle's key; None clears one.
    `person_hash`: the hash in the key of the person's item, from senders that have no MPID.
    """

    mpid: int | None
    customer_id: str | None
    email: str | None
    changes: tuple[MembershipChange, ...]
    attributes: Mapping[str, AttributeValue | None]
    person_hash: str | None = None


def read_profile(
    raw: RawProfile, *, customer_id_type: str = CUSTOMER_ID_TYPES["CustomerId"]
) -> Profile:
    """Return one profile of a message; `customer_id_type`: which identity is the customer id.

    Raises MalformedProfileError, NoIdentityError or InvalidIdentityError.
    """
    try:
        profile = _PROFILE.decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise MalformedProfileError(explain(error)) from None
    # 0 means no MPID: people without one must not share a state.
    mpid = profile.mpid or None
    if mpid is not None and mpid not in _MPIDS:
        raise _no_64_bit_int("$.mpid")
    customer_id = _identity(profile, customer_id_type)
    email = _identity(profile, "email")
    if customer_id is None and email is None:
        raise NoIdentityError("$.user_identities: no raw customer id or email")
    return Profile(
        mpid=mpid,
        customer_id=customer_id,
        email=email,
        changes=_changes(profile.audiences or ()),
        attributes=_attributes(profile.audiences or ()),
        person_hash=profile.person_hash,
    )


class _UserIdentity(msgspec.Struct):
    type: str | None = None
    encoding: str | None = None
    value: Any = None


class _UserAttribute(msgspec.Struct):
    key: Any = None
    value: Any = None
    list_value: Any = None
    action: Any = None


class _Audience(msgspec.Struct):
    audience_id: int
    action: str
    audience_name: str | None = None
    user_attributes: list[_UserAttribute | None] | None = None


class _Profile(msgspec.Struct):
    mpid: int | None = None
    person_hash: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")] | None = None
    user_identities: list[_UserIdentity | None] | None = None
    audiences: list[_Audience] | None = None


# Not strict: ids may come as digit strings.
_PROFILE: Final = msgspec.json.Decoder(_Profile, strict=False)


def _identity(profile: _Profile, kind: str) -> str | None:
    """Return the first raw identity of a kind, or None."""
    for place, identity in enumerate(profile.user_identities or ()):
        if identity is None or identity.type != kind or identity.encoding != "raw":
            continue
        value = identity.value
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise MalformedProfileError(f"$.user_identities[{place}].value: expected str")
        text = str(value).strip()
        if len(text.encode()) > MAX_IDENTIFIER_BYTES:
            reason = f"$.user_identities[{place}].value: over {MAX_IDENTIFIER_BYTES} bytes"
            raise InvalidIdentityError(reason)
        if text:
            return text
    return None


_ACTIONS: Final = {"add": True, "delete": False, "attribute_update": None}


def _changes(audiences: Iterable[_Audience]) -> tuple[MembershipChange, ...]:
    """Return the change of each audience; if it is listed twice, the later entry counts."""
    changes: dict[int, MembershipChange] = {}
    for place, audience in enumerate(audiences):
        if audience.audience_id not in _AUDIENCE_IDS:
            raise _no_64_bit_int(f"$.audiences[{place}].audience_id")
        if audience.action not in _ACTIONS:
            reason = f"$.audiences[{place}].action: expected add, delete or attribute_update"
            raise MalformedProfileError(reason)
        is_member = _ACTIONS[audience.action]
        if is_member is not None:
            name = (audience.audience_name or "").strip()
            changes[audience.audience_id] = MembershipChange(audience.audience_id, name, is_member)
    return tuple(changes.values())


def _attributes(audiences: Iterable[_Audience]) -> dict[str, AttributeValue | None]:
    """Return the attributes that audiences share; of two with one key, the later counts.

    Entries without a key or with a value that Customer.io cannot hold are ignored.
    """
    attributes: dict[str, AttributeValue | None] = {}
    for audience in audiences:
        for attribute in audience.user_attributes or ():
            if attribute is None or not isinstance(attribute.key, str):
                continue
            value = attribute.value if attribute.list_value is None else attribute.list_value
            if attribute.action == "delete":
                attributes[attribute.key] = None
            elif attribute.action == "upsert" and _is_value(value):
                attributes[attribute.key] = value
    return attributes


def _is_value(value: Any) -> bool:
    if isinstance(value, list):
        return all(isinstance(each, str | int | float) for each in value)
    return isinstance(value, str | int | float)


def _no_64_bit_int(path: str) -> MalformedProfileError:
    return MalformedProfileError(f"{path}: expected a 64-bit int")

"""Message: mParticle's JSON, read into the raw texts of its profiles.

Bodies come in from queue.py; profiles go on to profile.py.
Errors say where a body is wrong, and never contain a value from it.
dead_letter.py writes messages from the fields that are read here.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from enum import Enum
from typing import Annotated, Any, Final

import msgspec

from handler.domain.audience import AudienceUpdate
from handler.errors import MalformedMessageError, UnsupportedMessageError

MAX_AHEAD_S: Final = 24 * 3600
"""How far in the future a message's time may be; a later one would win every merge."""

_MAX_DIGITS: Final = 100

RawProfile = msgspec.Raw


class MessageType(Enum):
    """The types that are accepted, by mParticle's names; the last is of stream_record.py."""

    MEMBERSHIP_CHANGE = "audience_membership_change_request"
    SUBSCRIPTION = "audience_subscription_request"
    DATA_SUBJECT = "dsr_processing_request"
    STREAM_RECORD = "audience_stream_record"


_TYPES: Final = {each.value: each for each in MessageType}
_WITH_PROFILES: Final = (MessageType.MEMBERSHIP_CHANGE, MessageType.STREAM_RECORD)

ERASURE: Final = "erasure"
"""The type of data subject request that is carried out."""

CUSTOMER_ID: Final = "controller_customer_id"
"""The customer id, in mParticle's word for it in data subject requests."""

SUBJECT_IDENTITIES: Final = (
    CUSTOMER_ID,
    "other",
    *(f"other{n}" for n in range(2, 11)),
    "email",
)
"""The identities that may be read there: the customer id, whichever it is, and the email."""


class MessageFields(msgspec.Struct, frozen=True):
    """The fields of a message that are read, unchecked.

    `sns_type` and `sns_message` are of an SNS envelope. `user_profiles`: the raw text of each
    profile, or of the whole value if it is not an array.
    """

    type: Any = None
    id: Any = None
    timestamp_ms: Any = None
    account: Any = None
    audience_id: Any = None
    audience_name: Any = None
    action: Any = None
    subject_request_id: Any = None
    subject_request_type: Any = None
    subject_identities: Any = None
    sns_type: Any = msgspec.field(name="Type", default=None)
    sns_message: Any = msgspec.field(name="Message", default=None)
    user_profiles: Sequence[RawProfile] | RawProfile | None = None


class AudienceMessage(msgspec.Struct, frozen=True):
    """One message, with raw profiles.

    `message_id`: the sender's id, cut to 64 characters; empty if it is not printable.
    `audience`: what a subscription message says about its audience.
    `subject_request`: the fields of a data subject request.
    """

    type: MessageType
    message_id: str
    sent_at_ms: int
    account_id: int | None
    one_attribute_per_audience: bool | None
    profiles: Sequence[RawProfile]
    audience: AudienceUpdate | None = None
    subject_request: MessageFields | None = None


def read_message(body: str, *, now: float) -> AudienceMessage:
    """Return the message in an SQS body, bare or in an SNS envelope; `now` in Unix seconds.

    Raises MalformedMessageError or UnsupportedMessageError.
    """
    fields = read_fields(body)
    kind = _message_type(fields.type)
    if isinstance(fields.user_profiles, msgspec.Raw):
        raise MalformedMessageError("$.user_profiles: expected an array")
    head = _head(fields)
    account = head.account or Account()
    if not 0 < head.timestamp_ms <= (now + MAX_AHEAD_S) * 1000:
        reason = "$.timestamp_ms: must be positive and at most 24 hours in the future"
        raise MalformedMessageError(reason)
    return AudienceMessage(
        type=kind,
        message_id=_message_id(fields.id),
        sent_at_ms=head.timestamp_ms,
        account_id=account.account_id,
        one_attribute_per_audience=one_attribute_setting(account.account_settings),
        profiles=(fields.user_profiles or []) if kind in _WITH_PROFILES else [],
        audience=(
            _audience(fields, head.timestamp_ms) if kind is MessageType.SUBSCRIPTION else None
        ),
        subject_request=fields if kind is MessageType.DATA_SUBJECT else None,
    )


def read_fields(body: str) -> MessageFields:
    """Return the fields of the message in a body, bare or in an SNS envelope, unchecked.

    Raises MalformedMessageError if the body, or the text in its envelope, is not a JSON object.
    """
    fields = _read(body)
    enclosed = _enclosed(fields)
    return fields if enclosed is None else read_fields(enclosed)


def without_envelope(body: str) -> str:
    """Return the text in an SNS envelope; any other body unchanged."""
    try:
        enclosed = _enclosed(_read(body))
    except MalformedMessageError:
        return body
    return body if enclosed is None else without_envelope(enclosed)


def _enclosed(fields: MessageFields) -> str | None:
    """Return the text in an SNS envelope; None if these are the fields of something else."""
    text = fields.sns_message
    is_envelope = fields.type is None and fields.sns_type == "Notification"
    return text if is_envelope and isinstance(text, str) and text else None


class Account(msgspec.Struct):
    """The mParticle account in a message. `account_settings` are unchecked."""

    account_id: Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    account_settings: Any = None


class _Head(msgspec.Struct):
    timestamp_ms: int
    account: Account | None = None


class _Decoded(MessageFields, frozen=True):
    user_profiles: list[RawProfile] | None = None


_DECODER: Final = msgspec.json.Decoder(_Decoded)


def _read(body: str) -> MessageFields:
    try:
        return _DECODER.decode(body)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        return _read_leniently(body, reason=explain(error))


def _read_leniently(body: str, *, reason: str) -> MessageFields:
    # msgspec rejects a whole text that contains NaN or half a surrogate pair; json does not.
    # Encode the profiles again one by one, so that only those that contain one are rejected.
    try:
        # strict=False: accept control characters in strings.
        fields = json.loads(body, strict=False, parse_int=_parse_int)
        *values, profiles = map(fields.get, MessageFields.__struct_encode_fields__)
        if isinstance(profiles, list | None):
            values.append([_encoded(profile) for profile in profiles or ()])
        else:
            values.append(_encoded(profiles))
        return MessageFields(*values)
    except (ValueError, AttributeError, RecursionError):
        raise MalformedMessageError(reason) from None


def _parse_int(digits: str) -> float:
    # Python rejects integers of over 4300 digits, and with them the whole body.
    return int(digits) if len(digits) <= _MAX_DIGITS else math.inf


def _encoded(value: Any) -> msgspec.Raw:
    # Leave other characters than ASCII unescaped: a message must not grow over SQS's limit.
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return msgspec.Raw(_HALF_PAIR.sub(lambda half: f"\\u{ord(half[0]):04x}", text).encode())


_HALF_PAIR = re.compile("[\ud800-\udfff]")


def _message_type(name: Any) -> MessageType:
    if name is None:
        raise MalformedMessageError("$: no field `type`")
    if not isinstance(name, str):
        raise MalformedMessageError("$.type: expected a string")
    if name not in _TYPES:
        shown = name if _PLAIN.fullmatch(name) else f"not a plain name, {len(name)} characters"
        raise UnsupportedMessageError(f"$.type: {shown}")
    return _TYPES[name]


# Words of letters, with up to three digits after each. Addresses, keys and ids do not match.
_PLAIN = re.compile(r"(?=.{1,64}\Z)[A-Za-z]+[0-9]{0,3}(?:[._-][A-Za-z]+[0-9]{0,3})*")


def _head(fields: MessageFields) -> _Head:
    try:
        return msgspec.convert(fields, _Head, strict=False, from_attributes=True)
    except (msgspec.ValidationError, UnicodeError) as error:
        raise MalformedMessageError(explain(error)) from None


def _audience(fields: MessageFields, at_ms: int) -> AudienceUpdate | None:
    """Return what a subscription says about its audience; None if it cannot be read."""
    values = {
        "audience_id": fields.audience_id,
        "at_ms": at_ms,
        "name": fields.audience_name or "",
        "action": fields.action,
    }
    try:
        update = msgspec.convert(values, AudienceUpdate, strict=False)
    except (msgspec.ValidationError, UnicodeError):
        return None
    # JSON may contain half a surrogate pair: drop it.
    name = update.name.encode(errors="ignore").decode()
    return msgspec.structs.replace(update, name=name.strip())


def _message_id(value: Any) -> str:
    # Only logged, so never a reason to reject a message.
    text = str(value) if isinstance(value, str | int) else ""
    return text[:64] if text.isprintable() else ""


_ONE_ATTRIBUTE = re.compile(r"(create)?one(user)?attributeper(segment|audience)")
_SWITCH = {"true": True, "false": False}


def one_attribute_setting(settings: Any) -> bool | None:
    """Return the account setting for one attribute per audience; None if missing or unreadable."""
    if isinstance(settings, dict):
        for name, value in settings.items():
            if _ONE_ATTRIBUTE.fullmatch(re.sub(r"[^a-z0-9]", "", name.lower())):
                is_plain = isinstance(value, str | bool)
                return _SWITCH.get(str(value).strip().lower()) if is_plain else None
    return None


def explain(error: Exception) -> str:
    """Return what a decoder rejected and where. msgspec's texts contain no values."""
    if isinstance(error, RecursionError):
        return "$: nested too deeply"
    if isinstance(error, UnicodeError):
        return "$: not valid Unicode"
    text = str(error)
    return text if " - at `" in text else f"$: {text}"

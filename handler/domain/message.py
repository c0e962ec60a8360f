"""Message: mParticle's JSON, read into profiles and their changes.

Bodies come in from queue.py; profiles go on to membership.py and attributes.py.
What cannot be read is a PermanentError that says where, and never holds a value from the body.
`only_profiles` and `without_secrets` give back bodies for the DLQ.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import Any, Final

import msgspec

from handler.errors import (
    InvalidIdentityError,
    MalformedMessageError,
    MalformedProfileError,
    NoIdentityError,
    UnsupportedMessageError,
)

MAX_AHEAD_S: Final = 24 * 3600
"""How far in the future a message's time may lie; one further ahead would win every merge."""

MAX_IDENTIFIER_BYTES: Final = 150
"""Customer.io's limit on an id or email (Track API, "Person limits")."""

_AUDIENCE_IDS: Final = range(-(2**63), 2**63)
_MPIDS: Final = range(-(2**63), 2**64)

RawProfile = msgspec.Raw


class MessageType(Enum):
    """The messages that are accepted, by mParticle's name."""

    MEMBERSHIP_CHANGE = "audience_membership_change_request"
    SUBSCRIPTION = "audience_subscription_request"


class AudienceMessage(msgspec.Struct, frozen=True):
    """One message, its profiles not yet read. `text` is the body without an SNS envelope."""

    type: MessageType
    text: str
    message_id: str
    sent_at_ms: int
    account_id: int | None
    one_attribute_per_audience: bool | None
    profiles: Sequence[RawProfile]


class MembershipChange(msgspec.Struct, frozen=True, gc=False):
    """One person entering or leaving one audience."""

    audience_id: int
    audience_name: str
    is_member: bool


class Profile(msgspec.Struct, frozen=True):
    """What one profile of one message says.

    `names` holds `first_name` and `last_name` where the profile set (text) or cleared (None) them.
    """

    mpid: int | None
    customer_id: str | None
    email: str | None
    changes: tuple[MembershipChange, ...]
    names: Mapping[str, str | None]


# --- reading ---


def read_message(body: str, *, now: float) -> AudienceMessage:
    """Return the message in an SQS body, bare or in an SNS envelope; `now` in Unix seconds.

    Raises MalformedMessageError or UnsupportedMessageError.
    """
    fields, profiles = _split(body)
    if "type" not in fields and _text(fields, "Type") == "Notification":
        body = _text(fields, "Message")
        fields, profiles = _split(body)
    kind = _message_type(fields)
    head = _head(fields)
    if not 0 < head.timestamp_ms <= (now + MAX_AHEAD_S) * 1000:
        reason = "$.timestamp_ms: must be positive and at most 24 hours in the future"
        raise MalformedMessageError(reason)
    return AudienceMessage(
        type=kind,
        text=body,
        message_id=str(head.id)[:64],
        sent_at_ms=head.timestamp_ms,
        account_id=head.account.account_id,
        one_attribute_per_audience=one_attribute_setting(head.account.account_settings or {}),
        profiles=profiles,
    )


def read_profile(raw: RawProfile) -> Profile:
    """Return one profile of a message.

    Raises MalformedProfileError, NoIdentityError or InvalidIdentityError.
    """
    try:
        profile = _PROFILE.decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise MalformedProfileError(_explain(error)) from None
    _check_64_bit(profile.mpid, _MPIDS, "$.mpid")
    customer_id = _identity(profile, "customer")
    email = _identity(profile, "email")
    if customer_id is None and email is None:
        raise NoIdentityError("$.user_identities: no raw customer id or email")
    return Profile(
        # mParticle gives 0 to nobody: people without an MPID would otherwise share one state.
        mpid=profile.mpid or None,
        customer_id=customer_id,
        email=email,
        changes=tuple(_changes(profile.audiences or ())),
        names=_names(profile.audiences or ()),
    )


class _Account(msgspec.Struct):
    account_id: int | None = None
    account_settings: dict[str, Any] | None = None


class _Head(msgspec.Struct):
    timestamp_ms: int
    id: str | int = ""
    account: _Account = msgspec.field(default_factory=_Account)


class _UserIdentity(msgspec.Struct):
    type: str | None = None
    encoding: str | None = None
    value: Any = None


class _UserAttribute(msgspec.Struct):
    key: Any = None
    value: Any = None
    action: Any = None


class _Audience(msgspec.Struct):
    audience_id: int
    action: str
    audience_name: str | None = None
    user_attributes: list[_UserAttribute | None] | None = None


class _Profile(msgspec.Struct):
    mpid: int | None = None
    user_identities: list[_UserIdentity | None] | None = None
    audiences: list[_Audience] | None = None


# Not strict: ids and times may come as digit strings.
_HEAD = msgspec.json.Decoder(_Head, strict=False)
_PROFILE = msgspec.json.Decoder(_Profile, strict=False)
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_PROFILES = msgspec.json.Decoder(list[msgspec.Raw] | None)
_TEXT = msgspec.json.Decoder(str)
_READ = ("timestamp_ms", "id", "account")


def _split(body: str) -> tuple[dict[str, msgspec.Raw], list[RawProfile]]:
    """Part a body into its fields and its profiles, none of them read yet."""
    path = "$"
    try:
        fields = _FIELDS.decode(body.encode())
        path = "$.user_profiles"
        return fields, _PROFILES.decode(fields.get("user_profiles", b"null")) or []
    except msgspec.ValidationError as error:
        raise MalformedMessageError(_explain(error, root=path)) from None
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        return _split_loosely(_UNWRITABLE.sub(_escaped, body), reason=_explain(error))


def _split_loosely(body: str, *, reason: str) -> tuple[dict[str, msgspec.Raw], list[RawProfile]]:
    # msgspec refuses the whole text for what is somewhere in the middle of it (half a surrogate
    # pair, NaN, nesting without end). Parted by its brackets alone, it is only the profile that
    # holds such a thing which is refused; what stands outside of profiles has to be JSON.
    fields: dict[str, msgspec.Raw] = {}
    try:
        for field in _parts(body, "{}"):
            name, value = _NAME.fullmatch(field).group(1, 2)  # type: ignore[union-attr]
            fields[json.loads(name)] = msgspec.Raw(value)
            if json.loads(name) != "user_profiles":
                json.loads(value, parse_int=str)  # integers may be longer than int takes
        profiles = bytes(fields.get("user_profiles", b"null")).decode()
        listed = [] if profiles == "null" else _parts(profiles, "[]")
        return fields, [msgspec.Raw(profile) for profile in listed]
    except (ValueError, AttributeError, RecursionError):
        raise MalformedMessageError(reason) from None


_STRING: Final = r'"(?:[^"\\\x00-\x1f]++|\\.)*+"'
_NAME = re.compile(rf"({_STRING})\s*:\s*(.*)", re.DOTALL)
_TOKEN = re.compile(rf"{_STRING}|[][{{}},\x00-\x08\x0b\x0c\x0e-\x1f\"]")


def _parts(text: str, brackets: str) -> list[str]:
    """Part an array or object at its own commas, whatever is inside; ValueError if it is none."""
    text = text.strip(" \t\n\r")
    parts: list[str] = []
    depth, begin, end = 0, 1, 0
    for token in _TOKEN.finditer(text):
        kind = text[token.start()]
        if kind in "[{":
            depth += 1
        elif kind in "]}":
            depth -= 1
            end = token.end()
        elif (kind == '"' and len(token[0]) == 1) or kind < " ":
            raise ValueError  # a string that does not end, or what no JSON holds
        elif kind == "," and depth == 1:
            parts.append(text[begin : token.start()])
            begin = token.end()
        if depth < 1:
            break
    if text[:1] + text[-1:] != brackets or depth != 0 or end != len(text):
        raise ValueError
    last = text[begin:-1]
    parts = [part.strip(" \t\n\r") for part in (*parts, last)] if parts or last.strip() else []
    if "" in parts:
        raise ValueError
    return parts


def _text(fields: Mapping[str, msgspec.Raw], name: str) -> str:
    try:
        return _TEXT.decode(fields.get(name, b'""'))
    except msgspec.DecodeError as error:
        raise MalformedMessageError(_explain(error, root=f"$.{name}")) from None


def _message_type(fields: Mapping[str, msgspec.Raw]) -> MessageType:
    if "type" not in fields:
        raise MalformedMessageError("$: no field `type`")
    name = _text(fields, "type")
    try:
        return MessageType(name)
    except ValueError:
        raise unsupported(name) from None


# Words of letters, each with a small number at its end at most: no address, no key and no id.
_PLAIN = re.compile(r"(?=.{1,64}\Z)[A-Za-z]+[0-9]{0,3}(?:[._-][A-Za-z]+[0-9]{0,3})*")


def unsupported(name: str) -> UnsupportedMessageError:
    """Return the error for another type, by name where that is a name at all."""
    told = name if _PLAIN.fullmatch(name) else f"no plain word, of {len(name)} characters"
    return UnsupportedMessageError(f"$.type: {told}")


def _head(fields: Mapping[str, msgspec.Raw]) -> _Head:
    known = {name: fields[name] for name in _READ if bytes(fields.get(name, b"null")) != b"null"}
    try:
        return _HEAD.decode(msgspec.json.encode(known))
    except (msgspec.DecodeError, RecursionError) as error:
        raise MalformedMessageError(_explain(error)) from None


_ONE_ATTRIBUTE = re.compile(r"(create)?one(user)?attributeper(segment|audience)")
_SWITCH = {"true": True, "false": False}
_IS_SWITCH = re.compile(rb'(?P<quote>"?)\s*(?:true|false)\s*(?P=quote)', re.IGNORECASE).fullmatch


def one_attribute_setting(settings: Mapping[str, Any]) -> bool | None:
    """Return what the account says of one attribute per audience; None for nothing readable."""
    for name, value in settings.items():
        if _ONE_ATTRIBUTE.fullmatch(_letters(name)):
            return _SWITCH.get(str(value).strip().lower())
    return None


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


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


def _changes(audiences: Iterable[_Audience]) -> Iterable[MembershipChange]:
    """Return what is said of each audience; of two words on one audience, the later."""
    changes: dict[int, MembershipChange] = {}
    for place, audience in enumerate(audiences):
        path = f"$.audiences[{place}]"
        _check_64_bit(audience.audience_id, _AUDIENCE_IDS, f"{path}.audience_id")
        try:
            is_member = _ACTIONS[audience.action]
        except KeyError:
            reason = f"{path}.action: expected add, delete or attribute_update"
            raise MalformedProfileError(reason) from None
        if is_member is not None:
            name = (audience.audience_name or "").strip() or str(audience.audience_id)
            changes[audience.audience_id] = MembershipChange(audience.audience_id, name, is_member)
    return changes.values()


_NAMES: Final = {"$firstname": "first_name", "$lastname": "last_name"}


def _names(audiences: Iterable[_Audience]) -> dict[str, str | None]:
    """Return the names that the audiences' shared attributes set or clear; the later word stands.

    Other attributes, and entries without a key or a text, are not for us.
    """
    names: dict[str, str | None] = {}
    for audience in audiences:
        for attribute in audience.user_attributes or ():
            if attribute is None or not isinstance(attribute.key, str):
                continue
            name = _NAMES.get(attribute.key.lower())
            if name is None:
                continue
            if attribute.action == "delete":
                names[name] = None
            elif attribute.action == "upsert" and isinstance(attribute.value, str):
                names[name] = attribute.value
    return names


def _check_64_bit(value: int | None, valid: range, path: str) -> None:
    if value is not None and value not in valid:
        raise MalformedProfileError(f"{path}: expected a 64-bit int")


_EXPECTED = re.compile(r"Expected `(.+?)`, got `(.+?)`(?: - at `(.+)`)?")
_MISSING = re.compile(r"Object missing required field `(\w+)`(?: - at `(.+)`)?")


def _explain(error: Exception, *, root: str = "$") -> str:
    """Say what is wrong and where, path first, without any value."""
    if isinstance(error, RecursionError):
        return f"{root}: nested too deeply"
    if isinstance(error, UnicodeError):
        return f"{root}: not valid Unicode"
    text = str(error)
    if found := _EXPECTED.fullmatch(text):
        path = (found[3] or "$").replace("$", root, 1)
        return f"{path}: expected {found[1].replace(' | null', '')}, got {found[2]}"
    if found := _MISSING.fullmatch(text):
        return f"{(found[2] or '$').replace('$', root, 1)}: no field `{found[1]}`"
    return f"{root}: {text}"


# --- giving back ---


def only_profiles(message: AudienceMessage, profiles: Sequence[RawProfile]) -> str:
    """Return the message with these profiles alone, its secrets blanked."""
    listed = b"[" + b",".join(map(bytes, profiles)) + b"]"
    return _given_back({**_split(message.text)[0], "user_profiles": msgspec.Raw(listed)})


def without_secrets(body: str) -> str:
    """Return a body that is set aside whole: as it came, but for secrets in account settings.

    Where it cannot be read, for values of what looks like such a secret.
    """
    # What is no message stays in its envelope: out of it, it could be read otherwise, or hold
    # characters that SQS refuses.
    message = _enveloped(body)
    if message is not None and _has_type(message):
        body = message
    return _NOT_FOR_SQS.sub(_escaped, _without_secrets(body))


def _enveloped(body: str) -> str | None:
    try:
        fields, _ = _split(body)
        if "type" in fields or _text(fields, "Type") != "Notification":
            return None
        return _text(fields, "Message")
    except MalformedMessageError:
        return None


def _without_secrets(body: str) -> str:
    message = _enveloped(body)
    try:
        fields, _ = _split(body)
        if message is not None:
            fields["Message"] = msgspec.Raw(_written(_without_secrets(message)))
        blanked = _given_back(fields)
        return blanked if "type" in fields or message is not None else _searched(blanked)
    except MalformedMessageError:
        return _searched(body)


def _searched(text: str) -> str:
    return _SECRET_SETTING.sub(_blank, text)


def _has_type(body: str) -> bool:
    try:
        return "type" in _split(body)[0]
    except MalformedMessageError:
        return False


def _given_back(fields: dict[str, msgspec.Raw]) -> str:
    """Put the fields together again, but for the secrets among the account's settings."""
    if "account" in fields:
        fields = {**fields, "account": _blanked(fields["account"])}
    body = ",".join(f"{_written(name)}:{bytes(raw).decode()}" for name, raw in fields.items())
    return _UNWRITABLE.sub(_escaped, f"{{{body}}}")


def _blanked(account: msgspec.Raw) -> msgspec.Raw:
    """Return an account with all settings blanked but the one that is read: any may be secret."""
    try:
        fields = _FIELDS.decode(account)
    except (msgspec.DecodeError, RecursionError):
        text = bytes(account).decode()
        searched = _searched(text)
        # What was blanked may be all that could not be read.
        return account if searched == text else _blanked(msgspec.Raw(searched.encode()))
    if "account_settings" in fields:
        fields["account_settings"] = _blanked_settings(fields["account_settings"])
    return msgspec.Raw(msgspec.json.encode(fields))


def _blanked_settings(settings: msgspec.Raw) -> msgspec.Raw:
    try:
        named = _FIELDS.decode(settings)
    except (msgspec.DecodeError, RecursionError):
        # No object, and refused for it: as empty as it may be and still be refused.
        empty = {b"[": b"[]", b'"': b'""'}.get(bytes(settings)[:1])
        return settings if empty is None else msgspec.Raw(empty)
    blanked = {
        name: value if _ONE_ATTRIBUTE.fullmatch(_letters(name)) and _IS_SWITCH(value) else _NOTHING
        for name, value in named.items()
    }
    return msgspec.Raw(msgspec.json.encode(blanked))


def _written(text: str) -> str:
    """Write a text as JSON, no longer than it came: SQS's limit holds in the DLQ too."""
    return _UNWRITABLE.sub(_escaped, json.dumps(text, ensure_ascii=False))


def _escaped(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


_NOTHING = msgspec.Raw(b'""')

# Of the characters that JSON leaves as they are, those that SQS refuses in a message: halves of
# surrogate pairs, which are no Unicode either, and two more.
_UNWRITABLE = re.compile("[\ud800-\udfff\ufffe\uffff]")
_NOT_FOR_SQS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")

# A name, a colon and a value, also where both are escaped in the text of an SNS envelope, and
# where the body breaks off. The bounds keep the search linear.
_SECRET_SETTING = re.compile(
    r"""(?P<name>(?P<quote>\\?")[^"\\]{0,64}
            (?:api[^a-z0-9"\\]{0,3}key|site[^a-z0-9"\\]{0,3}id|secret|token|password|credential)
        [^"\\]{0,64}(?P=quote)[\x00-\x20]*:[\x00-\x20]*)
        (?:(?P=quote)(?:\\[^"]|[^"\\]|(?<!\\)\\")*?(?:(?P=quote)|\Z)|[^\s",{}\[\]\\]+)""",
    re.IGNORECASE | re.VERBOSE,
)


def _blank(setting: re.Match[str]) -> str:
    return f"{setting['name']}{setting['quote'] * 2}"

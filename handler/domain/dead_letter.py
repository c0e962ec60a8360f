"""Dead letter: bodies for the dead-letter queue, written from what message.py reads.

Messages come in from outcome.py, and mParticle's requests, for the source queue, from firehose.py.
A body contains only profiles and the fields that are read, so no secret from account settings.
message.py reads each body as it read the original.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from handler.domain.message import (
    SUBJECT_IDENTITIES,
    MessageFields,
    RawProfile,
    one_attribute_setting,
    read_fields,
    without_envelope,
)
from handler.errors import MalformedMessageError

MAX_VALUE_BYTES: Final = 1000
"""The limit for each field but the profiles, as JSON. No valid value is longer, and each letter of
a message repeats its fields."""

ONE_ATTRIBUTE_SETTING: Final = "oneAttributePerAudience"


def parts_of(body: str, parts: Iterable[Iterable[RawProfile]]) -> list[str]:
    """Return a message's body for each part of its profiles, with the fields that are read."""
    head = write_head(read_fields(body))
    return [with_profiles(head, _array(part)) for part in parts]


def whole_body(body: str) -> str:
    """Return a message's body with all its profiles, and otherwise only the fields that are read.

    A body that is not a JSON object is returned unchanged, except for characters that SQS rejects.
    An SNS envelope is removed.
    """
    text = without_envelope(body)
    try:
        fields = read_fields(text)
    except MalformedMessageError:
        # A question mark, as an escape could turn the text into JSON.
        return NOT_FOR_SQS.sub("?", text)
    profiles = fields.user_profiles
    written = _text(profiles) if isinstance(profiles, msgspec.Raw) else _array(profiles or ())
    return with_profiles(write_head(fields), written)


def write_head(fields: MessageFields) -> str:
    """Return the fields but the profiles as a JSON object, in ASCII, at most some kB long.

    A value that is too long is replaced by an empty one, so that it is rejected again.
    """
    written = {
        "type": _bounded(fields.type),
        "id": _bounded(fields.id),
        "timestamp_ms": _bounded(fields.timestamp_ms),
        "account": _account(fields.account),
        "audience_id": _bounded(fields.audience_id),
        "audience_name": _bounded(fields.audience_name),
        "action": _bounded(fields.action),
        "subject_request_id": _bounded(fields.subject_request_id),
        "subject_request_type": _bounded(fields.subject_request_type),
        "subject_identities": _identities(fields.subject_identities),
    }
    return to_json({name: value for name, value in written.items() if value is not None})


def with_profiles(head: str, profiles: str) -> str:
    """Return a message from the result of `write_head` and the JSON of its profiles."""
    comma = "" if head == "{}" else ","
    return f'{head[:-1]}{comma}"user_profiles":{profiles}}}'


def _array(profiles: Iterable[RawProfile]) -> str:
    return f"[{','.join(map(_text, profiles))}]"


def _account(account: Any) -> Any:
    if account is None or (isinstance(account, str) and account.lower() == "null"):
        return None  # message.py reads that text as no account, too
    if not isinstance(account, dict):
        return ""  # the value may be a secret; an empty string is rejected, too
    written = {"account_id": _bounded(account.get("account_id"))}
    setting = one_attribute_setting(account.get("account_settings"))
    if setting is not None:
        written["account_settings"] = {ONE_ATTRIBUTE_SETTING: setting}
    return {name: value for name, value in written.items() if value is not None}


def _identities(identities: Any) -> Any:
    """Return the identities that are read, each with its encoding and value."""
    if not isinstance(identities, dict):
        return _bounded(identities)
    return {kind: _identity(identities[kind]) for kind in SUBJECT_IDENTITIES if kind in identities}


def _identity(identity: Any) -> Any:
    if not isinstance(identity, dict):
        return _bounded(identity)
    return {name: _bounded(identity[name]) for name in ("encoding", "value") if name in identity}


def _bounded(value: Any) -> Any:
    if isinstance(value, dict | list):
        return []
    text = json.dumps(value, ensure_ascii=False)
    if len(text.encode(errors="surrogatepass")) <= MAX_VALUE_BYTES:
        return value
    return "" if isinstance(value, str) else []


def _text(profile: RawProfile) -> str:
    return text_for_sqs(bytes(profile).decode())


def text_for_sqs(text: str) -> str:
    """Return JSON without characters that SQS rejects."""
    # In JSON, such a character can only be in a string, where it can be escaped.
    return NOT_FOR_SQS.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


# It escapes all but ASCII, so SQS accepts the text and half a surrogate pair is preserved. NaN and
# Infinity are preserved too; the forwarder rejects the profiles that contain them.
to_json: Final = json.JSONEncoder(separators=(",", ":")).encode

NOT_FOR_SQS: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
"""The characters that SQS rejects (SendMessage, "MessageBody")."""

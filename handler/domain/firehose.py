"""Firehose: mParticle's requests to a partner, what goes on the queue of each, and the answers.

Requests come in from ingress.py, as the JSON object that they are. What is to be enqueued goes
back there as bodies that message.py reads; so do the answers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import Any, Final, NamedTuple

from handler.domain.dead_letter import with_profiles, write_head
from handler.domain.message import MessageFields, MessageType, unsupported
from handler.errors import MalformedMessageError

MAX_PART_BYTES: Final = 60_000
"""Of the messages that a large request is cut into. SQS charges by 64 KiB, so smaller ones cost
more; and what fails later fails, and is tried again, with fewer neighbours than in larger ones."""

MAX_MESSAGE_BYTES: Final = 1_048_576
"""SQS's limit on a message."""

FIREHOSE_VERSION: Final = "3.2.0"
"""The version of the format that this was written for: answered where a request names none."""


class RequestType(Enum):
    """The requests that are answered, by mParticle's name."""

    REGISTRATION = "module_registration_request"
    MEMBERSHIP_CHANGE = MessageType.MEMBERSHIP_CHANGE.value
    SUBSCRIPTION = MessageType.SUBSCRIPTION.value

    @property
    def answer_type(self) -> str:
        """Return the type of the answer, by mParticle's name."""
        return self.value.removesuffix("request") + "response"


def request_type(request: object) -> RequestType:
    """Return what a request asks. Raises MalformedMessageError, or UnsupportedMessageError that
    names the type.
    """
    if not isinstance(request, Mapping):
        raise MalformedMessageError(f"$: expected object, got {_json_type(request)}")
    if "type" not in request:
        raise MalformedMessageError("$: no field `type`")
    name = request["type"]
    if not isinstance(name, str):
        raise MalformedMessageError(f"$.type: expected str, got {_json_type(name)}")
    try:
        return RequestType(name)
    except ValueError:
        raise unsupported(name) from None


def _json_type(value: object) -> str:
    """Return what a value is in JSON, in the words that message.py has for it."""
    words = {dict: "object", list: "array", type(None): "null"}
    return words.get(type(value), type(value).__name__)


def account_id(request: Mapping[str, Any]) -> int | None:
    """Return the mParticle account that a request is for; None where it says none."""
    account = request.get("account")
    value = account.get("account_id") if isinstance(account, Mapping) else None
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,19}", value, re.ASCII):
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


# --- what goes on the queue ---


class Parts(NamedTuple):
    """The messages for a request, and why profiles of it are in none of them."""

    bodies: list[str]
    refusal: MalformedMessageError | None = None


def parts(request: Mapping[str, Any]) -> Parts:
    """Return the messages to be enqueued for a request: none, or one for some of its profiles.

    Each has the fields that are read (dead_letter.py writes them) and some profiles, in their
    order; together they have all profiles but those that no message can hold. One is larger than
    `MAX_PART_BYTES` only where a single profile makes it so.
    Raises MalformedMessageError for a request that is nested too deeply to be written, or whose
    `user_profiles` are no array and too large for SQS.
    """
    try:
        return _parts(request)
    except RecursionError:
        raise MalformedMessageError("$: nested too deeply") from None


# ASCII alone, with everything else escaped: so it holds nothing that SQS refuses, and half a
# surrogate pair stays as it came. A NaN is written as it came too: message.py refuses the profile
# that holds it, and no other.
_written = json.JSONEncoder(separators=(",", ":")).encode


def _parts(request: Mapping[str, Any]) -> Parts:
    kind = request_type(request)
    if kind is RequestType.REGISTRATION:
        return Parts([])
    fields = MessageFields(
        request["type"], request.get("id"), request.get("timestamp_ms"), request.get("account")
    )
    head = write_head(fields)
    if kind is RequestType.SUBSCRIPTION:
        return Parts([head])
    profiles = request.get("user_profiles")
    if not isinstance(profiles, list | None):
        # The forwarder refuses it, and sets it aside.
        body = with_profiles(head, _written(profiles))
        if len(body) > MAX_MESSAGE_BYTES:
            raise _too_large("$.user_profiles")
        return Parts([body])
    beside = len(with_profiles(head, "[]"))
    texts = [_written(profile) for profile in profiles or ()]
    fitting = [text for text in texts if beside + len(text) <= MAX_MESSAGE_BYTES]
    bodies = [
        with_profiles(head, f"[{','.join(some)}]")
        for some in _packed(fitting, MAX_PART_BYTES - beside)
    ]
    if len(fitting) == len(texts):
        return Parts(bodies)
    place = next(n for n, text in enumerate(texts) if beside + len(text) > MAX_MESSAGE_BYTES)
    return Parts(bodies, _too_large(f"$.user_profiles[{place}]"))


def _too_large(path: str) -> MalformedMessageError:
    return MalformedMessageError(f"{path}: over the {MAX_MESSAGE_BYTES} bytes of a message")


def _packed(texts: Iterable[str], room: int) -> Iterable[Sequence[str]]:
    """Part texts, in their order, into groups that commas put together fit the room."""
    group: list[str] = []
    size = 0
    for text in texts:
        if group and size + 1 + len(text) > room:
            yield group
            group, size = [], 0
        size += len(text) + bool(group)
        group.append(text)
    if group:
        yield group


# --- answers ---


def answer(
    request: Mapping[str, Any], *, answer_id: str, now: float, suspended: bool
) -> dict[str, Any]:
    """Return the answer to a request; `answer_id` is a UUID, `now` in Unix seconds.

    `suspended` tells mParticle to stop sending audience changes until a person acts.
    """
    kind = request_type(request)
    version = request.get("firehose_version")
    told: dict[str, Any] = {
        "type": kind.answer_type,
        "id": answer_id,
        "timestamp_ms": int(now * 1000),
        "firehose_version": version if isinstance(version, str) else FIREHOSE_VERSION,
    }
    match kind:
        case RequestType.REGISTRATION:
            return {**told, **_REGISTRATION}
        case RequestType.MEMBERSHIP_CHANGE:
            return {**told, "suspend_subscription": suspended}
        case RequestType.SUBSCRIPTION:
            return told


# Erasure (`dsr_processing_registration`) is not among it, as erasure requests are not handled;
# nor a site id or API key, which mParticle would then hold and send with every message.
_REGISTRATION: Final[Mapping[str, Any]] = {
    "name": "Customer.io audience forwarder",
    "description": (
        "Keeps the audiences that a person is in as attributes of that person in Customer.io. "
        "Late, doubled and reordered changes end in the same state, and two configurations for "
        "one workspace add up."
    ),
    "version": "1.0",
    "permissions": {
        "user_identities": [
            {"type": "customer", "encoding": "raw", "required": False},
            {"type": "email", "encoding": "raw", "required": False},
        ],
        "allow_access_mpid": True,
        "allow_audience_user_attributes": True,
    },
    "audience_processing_registration": {
        "account_settings": [
            {
                "type": "boolean",
                "id": "createOneUserAttributePerAudience",
                "name": "Create One User Attribute per Audience",
                "description": (
                    "Also set an attribute for each audience, true or false, "
                    "beside the list of all audiences."
                ),
                "visible": True,
                "default_value": False,
                "checked": False,
            }
        ]
    },
}

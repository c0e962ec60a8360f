"""Firehose: mParticle's requests to a partner, what goes on the queue of each, and the answers.

Requests come in from jobs/receive.py, as the JSON value that they are. What goes on the queue
returns there as bodies that message.py reads; so do the answers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from enum import Enum
from typing import Any, Final, NamedTuple

from handler.domain.dead_letter import NOT_FOR_SQS, whole_body, with_profiles, write_head
from handler.domain.message import MessageFields, MessageType
from handler.domain.packing import packed
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


def request_type(request: object) -> RequestType | None:
    """Return what a request asks; None for anything else, which the forwarder sets aside."""
    name = request.get("type") if isinstance(request, Mapping) else None
    try:
        return RequestType(name)
    except ValueError:
        return None


def account_id(request: object) -> int | None:
    """Return the mParticle account that a request is for; None if it names none."""
    account = request.get("account") if isinstance(request, Mapping) else None
    value = account.get("account_id") if isinstance(account, Mapping) else None
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,19}", value, re.ASCII):
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


# --- what goes on the queue ---


class Parts(NamedTuple):
    """The messages for a request, and why profiles of it are in none of them."""

    bodies: list[str]
    refusal: MalformedMessageError | None = None


def parts(request: object) -> Parts:
    """Return the messages to be enqueued for a request: none, or one for some of its profiles.

    Each has the fields that are read (dead_letter.py writes them) and some profiles, in their
    order; together they have all profiles but those that no message can hold. One is larger than
    `MAX_PART_BYTES` only if a single profile makes it so. What is no request of ours is one
    message, for the forwarder to set aside.
    Raises MalformedMessageError if SQS cannot hold the request whatever its profiles, and
    RecursionError if it cannot be written again.
    """
    kind = request_type(request)
    if kind is RequestType.REGISTRATION:
        return Parts([])
    fields: Mapping[str, Any] = request if isinstance(request, Mapping) else {}
    profiles = fields.get("user_profiles")
    if kind is not RequestType.MEMBERSHIP_CHANGE or not isinstance(profiles, list | None):
        # The forwarder refuses anything but a list of profiles, and sets it aside.
        body = whole_body(_written(request))
        if len(body.encode()) > MAX_MESSAGE_BYTES:
            raise _too_large("$")
        return Parts([body])
    head = write_head(
        MessageFields(
            type=kind.value,
            id=fields.get("id"),
            timestamp_ms=fields.get("timestamp_ms"),
            account=fields.get("account"),
        )
    )
    beside = len(with_profiles(head, "[]"))
    texts = [_written(profile) for profile in profiles or ()]
    fitting = [text for text in texts if beside + len(text) <= MAX_MESSAGE_BYTES]
    bodies = [
        with_profiles(head, f"[{','.join(some)}]")
        # A comma goes before each text but the first.
        for some in packed(
            fitting, lambda text: len(text) + 1, max_size=MAX_PART_BYTES - beside + 1
        )
    ]
    if len(fitting) == len(texts):
        return Parts(bodies)
    place = next(n for n, text in enumerate(texts) if beside + len(text) > MAX_MESSAGE_BYTES)
    return Parts(bodies, _too_large(f"$.user_profiles[{place}]"))


# ASCII alone, with everything else escaped: so it holds nothing that SQS refuses, and half a
# surrogate pair stays as it came. So do NaN and Infinity, which the forwarder refuses by profile.
_written = json.JSONEncoder(separators=(",", ":")).encode


def as_it_came(body: bytes) -> str:
    """Return a body that is no JSON as a message, which the forwarder sets aside.

    Raises MalformedMessageError if SQS cannot hold it.
    """
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise MalformedMessageError("$: neither JSON nor UTF-8") from None
    if not text or NOT_FOR_SQS.search(text):
        raise MalformedMessageError("$: not JSON, and empty or with characters that SQS refuses")
    if len(body) > MAX_MESSAGE_BYTES:
        raise _too_large("$")
    return text


def _too_large(path: str) -> MalformedMessageError:
    return MalformedMessageError(f"{path}: over the {MAX_MESSAGE_BYTES} bytes of a message")


# --- answers ---


def answer(
    request: object, *, answer_id: str, now: float, suspended: bool, version: str
) -> dict[str, Any]:
    """Return the answer to a request; `answer_id` is a UUID, `now` in Unix seconds.

    `version` is the one of this software, which a registration names.
    `suspended` tells mParticle to stop sending audience changes until a person acts.
    What is no request of ours has an answer too, as it is on the queue.
    """
    asked: Mapping[str, Any] = request if isinstance(request, Mapping) else {}
    name, format_version = asked.get("type"), asked.get("firehose_version")
    fields: dict[str, Any] = {
        "id": answer_id,
        "timestamp_ms": int(now * 1000),
        "firehose_version": (
            format_version if isinstance(format_version, str) else FIREHOSE_VERSION
        ),
    }
    if isinstance(name, str) and name.endswith("_request"):
        fields["type"] = name.removesuffix("request") + "response"
    match request_type(request):
        case RequestType.REGISTRATION:
            fields |= {**_REGISTRATION, "version": version}
        case RequestType.MEMBERSHIP_CHANGE:
            fields["suspend_subscription"] = suspended
    return fields


# Erasure (`dsr_processing_registration`) is not among it, as erasure requests are not handled;
# nor a site id or API key, which mParticle would then hold and send with every message.
_REGISTRATION: Final[Mapping[str, Any]] = {
    "name": "Customer.io audience forwarder",
    "description": (
        "Keeps the audiences that a person is in as attributes of that person in Customer.io. "
        "Late, doubled and reordered changes end in the same state, and two configurations for "
        "one workspace add up."
    ),
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

"""Firehose: mParticle's requests, the messages to enqueue for each, and the answers.

Requests come in from jobs/receive.py, as parsed JSON. Answers and bodies go back to it;
message.py can read each body.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, Final, NamedTuple

import msgspec

from handler.domain.change_messages import cut
from handler.domain.dead_letter import (
    NOT_FOR_SQS,
    to_json,
    whole_body,
    with_profiles,
    write_head,
)
from handler.domain.message import ERASURE, Account, MessageFields, MessageType
from handler.errors import MalformedMessageError

MAX_MESSAGE_BYTES: Final = 1_048_576
"""SQS's limit on a message."""

FIREHOSE_VERSION: Final = "3.2.0"
"""The version of the format that is implemented. Answers name it if the request names none."""


class RequestType(Enum):
    """The requests that are answered, by mParticle's name."""

    REGISTRATION = "module_registration_request"
    MEMBERSHIP_CHANGE = MessageType.MEMBERSHIP_CHANGE.value
    SUBSCRIPTION = MessageType.SUBSCRIPTION.value
    DATA_SUBJECT = MessageType.DATA_SUBJECT.value


def request_type(request: object) -> RequestType | None:
    """Return the type of a request; None for any other, which the forwarder sets aside."""
    name = request.get("type") if isinstance(request, Mapping) else None
    try:
        return RequestType(name)
    except ValueError:
        return None


def account_id(request: object) -> int | None:
    """Return the mParticle account of a request; None if it names none."""
    account = request.get("account") if isinstance(request, Mapping) else None
    try:
        return msgspec.convert(account, Account, strict=False).account_id
    except (msgspec.ValidationError, UnicodeError):
        return None


# --- what goes on the queue ---


class Parts(NamedTuple):
    """The messages for a request; `refusal` is the error if a profile fits in none of them."""

    bodies: list[str]
    refusal: MalformedMessageError | None = None


def parts(request: object) -> Parts:
    """Return the messages to enqueue for a request.

    Each has the fields that are read and some of the profiles, in their order. Together they have
    all profiles, except those that are too large for SQS. A message is larger than
    `MAX_PART_BYTES` only if a single profile is. A request of another type becomes one message,
    which the forwarder sets aside. A registration has no message.
    Raises MalformedMessageError if a request that cannot be cut is too large for SQS, and
    RecursionError if it is nested too deeply.
    """
    kind = request_type(request)
    if kind is RequestType.REGISTRATION:
        return Parts([])
    fields: Mapping[str, Any] = request if isinstance(request, Mapping) else {}
    profiles = fields.get("user_profiles")
    if kind is not RequestType.MEMBERSHIP_CHANGE or not isinstance(profiles, list | None):
        # Without a list of profiles, a request cannot be cut.
        body = whole_body(to_json(request))
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
    room = MAX_MESSAGE_BYTES - len(with_profiles(head, "[]"))
    texts = [to_json(profile) for profile in profiles or ()]
    fitting = [text for text in texts if len(text) <= room]
    bodies = [body for body, _ in cut(head, fitting)]
    if len(fitting) == len(texts):
        return Parts(bodies)
    place = next(place for place, text in enumerate(texts) if len(text) > room)
    return Parts(bodies, _too_large(f"$.user_profiles[{place}]"))


def as_it_came(body: bytes) -> str:
    """Return a body that is not JSON as a message, which the forwarder sets aside.

    Raises MalformedMessageError if SQS cannot hold it.
    """
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise MalformedMessageError("$: neither JSON nor UTF-8") from None
    if not text or NOT_FOR_SQS.search(text):
        raise MalformedMessageError("$: not JSON, and empty or with characters that SQS rejects")
    if len(body) > MAX_MESSAGE_BYTES:
        raise _too_large("$")
    return text


def _too_large(path: str) -> MalformedMessageError:
    return MalformedMessageError(f"{path}: over the {MAX_MESSAGE_BYTES} bytes of a message")


# --- answers ---


def answer(
    request: object,
    *,
    answer_id: str,
    now: float,
    suspended: bool,
    version: str,
    customer_id_type: str,
) -> dict[str, Any]:
    """Return the answer to a request; `answer_id` is a UUID, `now` in Unix seconds.

    `version` is that of this software, and `customer_id_type` the identity that is the customer
    id; both are for a registration. `suspended` tells mParticle to stop
    sending audience changes until a person acts. A request of another type is answered too, as it
    is on the queue.
    """
    received: Mapping[str, Any] = request if isinstance(request, Mapping) else {}
    name, format_version = received.get("type"), received.get("firehose_version")
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
            fields |= {
                **_REGISTRATION,
                "version": version,
                "permissions": _permissions(customer_id_type),
            }
        case RequestType.MEMBERSHIP_CHANGE:
            fields["suspend_subscription"] = suspended
    return fields


def _permissions(customer_id_type: str) -> dict[str, Any]:
    """Return what mParticle has to send of a person."""
    return {
        "user_identities": [
            {"type": kind, "encoding": "raw", "required": False}
            for kind in (customer_id_type, "email")
        ],
        "allow_access_mpid": True,
        "allow_audience_user_attributes": True,
    }


# It has no settings for credentials, as mParticle would send them with every message, and no
# domain for data subject requests, as it signs no answers to them.
_REGISTRATION: Final[Mapping[str, Any]] = {
    "name": "Customer.io audience forwarder",
    "description": (
        "Keeps the audiences that a person is in as attributes of that person in Customer.io. "
        "Late, doubled and reordered changes end in the same state, and two configurations for "
        "one workspace add up."
    ),
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
    "dsr_processing_registration": {"account_settings": [], "supported_dsr_types": [ERASURE]},
}

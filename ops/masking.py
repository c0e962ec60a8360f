"""Masking: what the tool shows of people without `--reveal`. Pure.

Only what the function itself reads, and what identifies nobody: types, times, and audiences.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from handler.domain.audience import AudienceUpdate
from handler.domain.message import AudienceMessage, RawProfile, read_message
from handler.domain.stream_record import read_dated_profile
from handler.errors import PermanentError


def masked(text: str) -> str:
    """Return as many dots as there are characters, at most twelve."""
    return "•" * min(len(text), 12)


def masked_entity(entity: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the function would send of a person: audiences shown, other values masked."""
    identifiers = {kind: masked(value) for kind, value in entity["identifiers"].items()}
    attributes = {
        name: value
        if name.startswith("SegmentMembership") or not isinstance(value, str)
        else masked(value)
        for name, value in entity["attributes"].items()
    }
    return {**entity, "identifiers": identifiers, "attributes": attributes}


def summary(body: str, *, now: float, customer_id_type: str) -> dict[str, Any] | str:
    """Return what the function reads in a message, without what identifies anybody.

    `customer_id_type`: which identity is the customer id, by its type in messages.
    """
    try:
        message = read_message(body, now=now)
    except PermanentError as error:
        return f"{len(body)} characters, {_rejected(error)}"
    return {
        "type": message.type.value,
        "id": message.message_id,
        "timestamp_ms": message.sent_at_ms,
        "account_id": message.account_id,
        **_subscription(message.audience),
        "profiles": [_profile(message, raw, now, customer_id_type) for raw in message.profiles],
    }


def _subscription(audience: AudienceUpdate | None) -> dict[str, Any]:
    if audience is None:
        return {}
    said = {
        "audience_id": audience.audience_id,
        "audience_name": audience.name,
        "action": audience.action,
    }
    return {"audience": said}


def _profile(
    message: AudienceMessage, raw: RawProfile, now: float, customer_id_type: str
) -> dict[str, Any] | str:
    try:
        _, profile = read_dated_profile(message, raw, now=now, customer_id_type=customer_id_type)
    except PermanentError as error:
        return _rejected(error)
    values = {"customer id": profile.customer_id, "email": profile.email, "MPID": profile.mpid}
    return {
        "identified by": [name for name, value in values.items() if value is not None],
        "attributes": sorted(profile.attributes),
        "audiences": [
            {
                "audience_id": change.audience_id,
                "audience_name": change.audience_name,
                "action": "add" if change.is_member else "delete",
            }
            for change in profile.changes
        ],
    }


def _rejected(error: PermanentError) -> str:
    return f"rejected ({error.error_type}: {error}); --reveal shows it"

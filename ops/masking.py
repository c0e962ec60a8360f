"""Masking: personal data made unreadable, the rest left to be understood. Pure.

What is known to be no personal data is shown; everything else is not, so that a field that
nobody thought of is masked.
"""

from __future__ import annotations

import json
from typing import Any, Final

_SHOWN: Final = {
    *("type", "Type", "action", "encoding", "timestamp", "timestamp_ms"),
    *("account_id", "audience_id", "audience_name"),
}
_SHOWN_BEGINNING: Final = ("SegmentMembership", "In ")  # attributes of ours that name audiences


def masked(text: str) -> str:
    """Return as many dots as there are characters, up to a dozen."""
    return "•" * min(len(text), 12)


def masked_json(value: Any, *, is_shown: bool = False) -> Any:
    """Return a JSON value with personal data masked."""
    match value:
        case dict():
            return {name: _masked_field(name, inner) for name, inner in value.items()}
        case list():
            return [masked_json(inner, is_shown=is_shown) for inner in value]
        case None | bool():
            return value
        case _:
            return value if is_shown else masked(str(value))


def masked_body(body: str) -> Any:
    """Return a message's body as JSON, masked but for its own id; a text where it is no JSON."""
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return f"{len(body)} characters that are no JSON; --reveal shows them"
    shown = masked_json(content)
    if isinstance(content, dict) and "id" in content:
        shown["id"] = content["id"]
    return shown


def _masked_field(name: str, value: Any) -> Any:
    if name == "Message" and isinstance(value, str):  # of an SNS notification
        return masked_body(value)
    return masked_json(value, is_shown=name in _SHOWN or name.startswith(_SHOWN_BEGINNING))

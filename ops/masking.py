"""Masking: personal data made unreadable, the rest left to be understood. Pure.

What is known to be no personal data is shown: a value that looks as it should, in its place in a
message or an entity. Everything else is not, so that a field that nobody thought of is masked, and
so is a field's name that is no plain word.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

_NUMBER: Final = re.compile(r"-?\d+")
_WORD: Final = re.compile(r"[A-Za-z_]+")
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_NAME: Final = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9_]{1,40}")
_TEXT: Final = re.compile(r".*", re.DOTALL)
_LIST_OF_AUDIENCES: Final = re.compile(r"('-?\d+'(,'-?\d+')*)?")
_NAME_OF_A_LIST: Final = re.compile(r"SegmentMembership( \d+)?")

_NAME_OF_AN_AUDIENCE: Final = re.compile(r"In [\w ()-]+")

_Path = tuple[str, ...]
"""The names on the way to a field; the items of a list stand where the list does."""

_SHOWN: Final[dict[_Path, re.Pattern[str]]] = {
    ("id",): _UUID,
    ("type",): _WORD,
    ("action",): _WORD,
    ("timestamp",): _NUMBER,
    ("timestamp_ms",): _NUMBER,
    ("audience_id",): _NUMBER,
    ("audience_name",): _TEXT,
    ("account", "account_id"): _NUMBER,
    ("user_profiles", "user_identities", "type"): _WORD,
    ("user_profiles", "user_identities", "encoding"): _WORD,
    ("user_profiles", "audiences", "audience_id"): _NUMBER,
    ("user_profiles", "audiences", "audience_name"): _TEXT,
    ("user_profiles", "audiences", "action"): _WORD,
    ("Type",): _WORD,  # of an SNS notification
    ("MessageId",): _UUID,  # likewise
}


def masked(text: str) -> str:
    """Return as many dots as there are characters, up to a dozen."""
    return "•" * min(len(text), 12)


def masked_json(value: Any, path: _Path = ()) -> Any:
    """Return a message or an entity, or the part of it at this path, with personal data masked."""
    match value:
        case dict():
            return _masked_fields(value, path)
        case list():
            return [masked_json(inner, path) for inner in value]
        case None:
            return None
        case str() if path == ("Message",):  # of an SNS notification
            return masked_body(value)
        case _:
            pattern = _shown(path)
            text = str(value)
            return value if pattern and pattern.fullmatch(text) else masked(text)


def _masked_fields(fields: Mapping[str, Any], path: _Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, inner in fields.items():
        shown = name if _is_plain(name, path) else masked(name)
        if shown in found:  # two that look alike now
            shown = f"{shown} ({len(found) + 1})"
        found[shown] = masked_json(inner, (*path, name))
    return found


def _is_plain(name: str, path: _Path) -> bool:
    is_of_audiences = _is_list(name) or _NAME_OF_AN_AUDIENCE.fullmatch(name)
    return bool(_NAME.fullmatch(name) or (path == ("attributes",) and is_of_audiences))


def _is_list(name: str) -> bool:
    return bool(_NAME_OF_A_LIST.fullmatch(name))


def masked_body(body: str) -> Any:
    """Return a message's body as JSON, masked; a text where it is no JSON."""
    try:
        return masked_json(json.loads(body))
    except (ValueError, RecursionError):
        return f"{len(body)} characters that are no JSON; --reveal shows them"


def _shown(path: _Path) -> re.Pattern[str] | None:
    """Return what a value has to look like to be shown; None where none is."""
    match path:
        case ("attributes", name) if _is_list(name):
            return _LIST_OF_AUDIENCES
        case _:
            return _SHOWN.get(path)

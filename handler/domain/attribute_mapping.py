"""Attribute mapping: which shared user attributes go to Customer.io, under which names.

settings.py and credentials.py read a mapping from JSON; update.py applies it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec

MAX_NAME_BYTES: Final = 150
"""Customer.io's limit on an attribute's name (Track API, "Person limits")."""

NAMES: Final = {"$firstname": "first_name", "$lastname": "last_name"}
"""The keys that are always sent, in lower case, with their names in Customer.io."""

ALL_OTHERS: Final = "*"
"""The key for all attributes without an entry of their own."""

# Customer.io's own names (Track API, "identify"), and those that this project writes.
_RESERVED: Final = re.compile(
    r"id|email|unsubscribed|cio_.*|_.*|first_name|last_name|segmentmembership.*|in .*",
    re.IGNORECASE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class AttributeMapping:
    """The name in Customer.io for each key of mParticle; keys are compared exactly.

    `prefix_and_suffix` go around each key that is not in `names`; None: such keys are not sent.
    """

    names: Mapping[str, str] = field(default_factory=dict, hash=False)
    prefix_and_suffix: tuple[str, str] | None = None

    def name(self, key: str) -> str | None:
        """Return the name for a key; None if it is not sent."""
        if key in self.names:
            return self.names[key]
        if self.prefix_and_suffix is None or key.lower() in NAMES:
            return None
        prefix, suffix = self.prefix_and_suffix
        return f"{prefix}{key}{suffix}"


NO_ATTRIBUTES: Final = AttributeMapping()
"""The mapping that sends nothing."""


def is_valid(name: str) -> bool:
    """Tell whether an attribute can have this name. A pattern may make one that is too long."""
    return _name_error(name) is None


def read_mapping(text: str) -> AttributeMapping:
    """Return the mapping in a JSON object: `{"ltv": "lifetime_value", "*": "mp_*"}`.

    An empty text maps nothing. Raises ValueError with the wrong entry and the reason.
    """
    if not text.strip():
        return NO_ATTRIBUTES
    try:
        entries = msgspec.json.decode(text, type=dict[str, object])
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise ValueError(f"expected a JSON object: {error}") from None
    return mapping_of(entries)


def mapping_of(entries: Mapping[str, object]) -> AttributeMapping:
    """Return the mapping with these entries. Raises ValueError as `read_mapping` does."""
    names: dict[str, str] = {}
    pattern = None
    for key, name in entries.items():
        if not isinstance(name, str):
            raise ValueError(f"{key}: expected a text")  # noqa: TRY004 - callers catch ValueError
        if key == ALL_OTHERS:
            pattern = _pattern(name)
        elif key.lower() in NAMES:
            raise ValueError(f"{key}: is always sent as {NAMES[key.lower()]}")
        elif error := _name_error(name):
            raise ValueError(f"{key}: {error}")
        elif name in names.values():
            raise ValueError(f"{key}: another key is mapped to {name}")
        else:
            names[key] = name
    for key, name in names.items():
        if pattern and name.startswith(pattern[0]) and name.endswith(pattern[1]):
            raise ValueError(f"{key}: the name {name} matches the pattern of *")
    return AttributeMapping(names, pattern)


def _pattern(text: str) -> tuple[str, str]:
    prefix, star, suffix = text.partition("*")
    if not star or "*" in suffix or not (prefix or suffix):
        raise ValueError("*: expected a prefix and one *, like mp_*")
    if error := _name_error(f"{prefix}x{suffix}"):
        raise ValueError(f"*: {error}")
    return prefix, suffix


def _name_error(name: str) -> str | None:
    """Return why an attribute cannot have this name; None if it can."""
    if not name.strip():
        return "the name is empty"
    if _RESERVED.fullmatch(name):
        return "the name is reserved"
    if len(name.encode()) > MAX_NAME_BYTES:
        return f"the name has over {MAX_NAME_BYTES} bytes"
    return None

"""Attribute mapping: which of mParticle's shared user attributes go to Customer.io, and as what.

settings.py and credentials.py read a mapping from JSON; update.py follows it.
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
"""The keys, in lower case, that are always sent, and under which name."""

ALL_OTHERS: Final = "*"
"""The key that maps every attribute that has no entry of its own."""

# Customer.io's own names (Track API, "identify"), and those that this project writes.
_RESERVED: Final = re.compile(
    r"id|email|unsubscribed|cio_.*|_.*|first_name|last_name|segmentmembership.*|in .*",
    re.IGNORECASE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class AttributeMapping:
    """The name in Customer.io for each key of mParticle; keys are compared exactly.

    `prefix_and_suffix` enclose the key of every attribute that is not among `names`; None: no
    other attribute is sent.
    """

    names: Mapping[str, str] = field(default_factory=dict, hash=False)
    prefix_and_suffix: tuple[str, str] | None = None

    def name(self, key: str) -> str | None:
        """Return the name for a key; None if it is not to be sent."""
        if key in self.names:
            return self.names[key]
        if self.prefix_and_suffix is None or key.lower() in NAMES:
            return None
        prefix, suffix = self.prefix_and_suffix
        return f"{prefix}{key}{suffix}"


NO_ATTRIBUTES: Final = AttributeMapping()
"""The mapping that sends nothing."""


def is_valid(name: str) -> bool:
    """Tell whether an attribute can have a name. One that a pattern made may be too long."""
    return _objection(name) is None


def read_mapping(text: str) -> AttributeMapping:
    """Return the mapping in a JSON object: `{"ltv": "lifetime_value", "*": "mp_*"}`.

    An empty text maps nothing. Raises ValueError that says which entry is wrong, and why.
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
            raise ValueError(f"{key}: expected a text")  # noqa: TRY004 - whoever wrote it reads it
        if key == ALL_OTHERS:
            pattern = _pattern(name)
        elif key.lower() in NAMES:
            raise ValueError(f"{key}: is always sent as {NAMES[key.lower()]}")
        elif objection := _objection(name):
            raise ValueError(f"{key}: {objection}")
        elif name in names.values():
            raise ValueError(f"{key}: another key is mapped to {name}")
        else:
            names[key] = name
    for key, name in names.items():
        if pattern and name.startswith(pattern[0]) and name.endswith(pattern[1]):
            raise ValueError(f"{key}: the name {name} is like those that * makes")
    return AttributeMapping(names, pattern)


def _pattern(text: str) -> tuple[str, str]:
    prefix, star, suffix = text.partition("*")
    if not star or "*" in suffix or not (prefix or suffix):
        raise ValueError("*: expected a prefix and one *, like mp_*")
    if objection := _objection(f"{prefix}x{suffix}"):
        raise ValueError(f"*: {objection}")
    return prefix, suffix


def _objection(name: str) -> str | None:
    """Return why an attribute cannot have a name; None if it can."""
    if not name.strip():
        return "the name is empty"
    if _RESERVED.fullmatch(name):
        return "the name is reserved"
    if len(name.encode()) > MAX_NAME_BYTES:
        return f"the name has over {MAX_NAME_BYTES} bytes"
    return None

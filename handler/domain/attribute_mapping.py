"""Attribute mapping: which of mParticle's shared user attributes go to Customer.io, and as what.

settings.py and credentials.py read a mapping from JSON; update.py follows it.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Final

import msgspec

MAX_NAME_BYTES: Final = 150
"""Customer.io's limit on an attribute's name (Track API, "Person limits")."""

ALL_OTHERS: Final = "*"
"""The key that maps every attribute that has no entry of its own."""

# Customer.io's own names (Track API, "identify"), and those that this project writes.
_RESERVED: Final = re.compile(
    r"id|email|unsubscribed|cio_.*|_.*|first_name|last_name|segmentmembership.*|in .*",
    re.IGNORECASE | re.DOTALL,
)
# They are always sent, as first_name and last_name.
_NAMES: Final = {"$firstname", "$lastname"}


class AttributeMapping(msgspec.Struct, frozen=True):
    """The name in Customer.io for each key of mParticle; keys are compared exactly.

    `prefix` and `suffix` enclose the key of every other attribute; None: others are not sent.
    """

    names: tuple[tuple[str, str], ...] = ()
    others: tuple[str, str] | None = None

    def name(self, key: str) -> str | None:
        """Return the name for a key; None if it is not to be sent, or has no valid name."""
        for mapped, name in self.names:
            if mapped == key:
                return name
        if self.others is None or key.lower() in _NAMES:
            return None
        prefix, suffix = self.others
        name = f"{prefix}{key}{suffix}"
        return name if _objection(name) is None else None


NO_ATTRIBUTES: Final = AttributeMapping()
"""The mapping that sends nothing."""


def read_mapping(text: str) -> AttributeMapping:
    """Return the mapping in a JSON object: `{"ltv": "lifetime_value", "*": "mp_*"}`.

    An empty text maps nothing. Raises ValueError that says which entry is wrong, and why.
    """
    if not text.strip():
        return NO_ATTRIBUTES
    try:
        entries = msgspec.json.decode(text, type=dict[str, str])
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise ValueError(f"expected an object of texts: {error}") from None
    return mapping_of(entries)


def mapping_of(entries: dict[str, str]) -> AttributeMapping:
    """Return the mapping with these entries. Raises ValueError as `read_mapping` does."""
    pattern = entries.get(ALL_OTHERS)
    names = {key: name for key, name in entries.items() if key != ALL_OTHERS}
    for key, name in names.items():
        if key.lower() in _NAMES:
            raise ValueError(f"{key}: is always sent, and cannot be mapped")
        if objection := _objection(name):
            raise ValueError(f"{key}: {objection}")
    for name, count in Counter(names.values()).items():
        if count > 1:
            raise ValueError(f"{count} keys are mapped to {name}")
    others = _pattern(pattern)
    for key, name in names.items():
        if others and name.startswith(others[0]) and name.endswith(others[1]):
            raise ValueError(f"{key}: the name {name} is like those that * makes")
    return AttributeMapping(tuple(sorted(names.items())), others)


def _pattern(text: str | None) -> tuple[str, str] | None:
    if text is None:
        return None
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

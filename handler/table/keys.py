"""Keys: the keys of all items of the table."""

from __future__ import annotations

import hashlib
import re
from typing import Final

from handler.domain.update import Identifier

_PERSON: Final = re.compile(r".*#[0-9a-f]{64}", re.DOTALL)

IDENTIFIER_INDEX: Final = "by-identifier"
"""The index of people, keys only, by the text of their identifier."""


def account_key(account_id: int) -> str:
    """Return the key of an mParticle account's item; no person has such a key."""
    return f"account#{account_id}"


def catalogue_key(site_id: str) -> str:
    """Return the key of a workspace's catalogue of audiences; no person has such a key."""
    return f"audiences#{site_id}"


def is_person_key(key: str) -> bool:
    """Tell whether an item is a person's, not an account's, a catalogue or an erasure."""
    return _PERSON.fullmatch(key) is not None


def erasure_key(site_id: str, identifier: Identifier) -> str:
    """Return the key of what is known of an erasure; no person has a key with a colon at its end.

    Of the identifier it has only a hash.
    """
    hashed = hashlib.sha256(identifier.value.encode()).hexdigest()
    return f"erased#{site_id}#{identifier.kind}:{hashed}"

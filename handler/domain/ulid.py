"""ULID: identifiers that sort by time, in the form that Customer.io takes."""

from __future__ import annotations

from typing import Final

MAX_TIME_MS: Final = 2**48 - 1
"""The last time that a ULID can hold, in Unix milliseconds: in the year 10889."""

RANDOM_BYTES: Final = 10

_CROCKFORD: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # base 32 without I, L, O and U
_LENGTH: Final = 26


def ulid(at_ms: int, random: bytes) -> str:
    """Return the ULID of a time in Unix milliseconds and 10 bytes (github.com/ulid/spec).

    The same time and bytes always give the same ULID. Raises ValueError if they do not fit.
    """
    if not 0 <= at_ms <= MAX_TIME_MS or len(random) != RANDOM_BYTES:
        message = "a ULID holds 48 bits of milliseconds and 10 bytes"
        raise ValueError(message)
    number = at_ms << 80 | int.from_bytes(random, "big")
    return "".join(_CROCKFORD[number >> 5 * place & 31] for place in reversed(range(_LENGTH)))

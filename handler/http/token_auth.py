"""Token authentication: whether a request over HTTP has the shared secret.

The secret holds one token, or several while it is changed, separated by white space.
"""

from __future__ import annotations

import hmac
import math
from collections.abc import Sequence
from enum import Enum
from typing import Final

from handler.clock import Deadline, Now
from handler.errors import MisconfiguredError
from handler.secret import Secret

SECRET_KEPT_S: Final = 60
"""How long the shared secret is kept, and so a token that was taken out, in seconds."""

SECRET_REST_S: Final = 5
"""Between two reads for a token that is not known, whatever tokens are sent meanwhile."""

MIN_TOKEN_LENGTH: Final = 16


class TokenCheck(Enum):
    """What an Authorization header holds."""

    VALID = "one of the tokens"
    UNKNOWN = "a token, but none of them"
    MISSING = "no token"


class TokenAuth:
    """Compares tokens with those of the shared secret."""

    def __init__(self, secret: Secret, *, now: Now) -> None:
        """Keep where to read; nothing is read yet."""
        self._secret = secret
        self._now = now
        self._refreshed_at = -math.inf

    def check(self, authorization: str, *, deadline: Deadline) -> TokenCheck:
        """Return what an Authorization header holds; tokens are compared in constant time.

        The secret is read again for a token that is not known, but not within `SECRET_REST_S` of
        the last time. Raises UnavailableError, OutOfTimeError, or MisconfiguredError that names
        the secret.
        """
        scheme, _, token = authorization.partition(" ")
        given = token.strip().encode("utf-8", "replace")
        if scheme.lower() != "token" or not given:
            return TokenCheck.MISSING
        if _is_among(self._tokens(deadline), given):
            return TokenCheck.VALID
        if self._now() < self._refreshed_at + SECRET_REST_S:
            return TokenCheck.UNKNOWN
        self._refreshed_at = self._now()
        is_new = _is_among(self._tokens(deadline, refresh=True), given)
        return TokenCheck.VALID if is_new else TokenCheck.UNKNOWN

    def _tokens(self, deadline: Deadline, *, refresh: bool = False) -> Sequence[bytes]:
        tokens = tokens_in(self._secret.text(deadline=deadline, refresh=refresh))
        if not tokens or min(map(len, tokens)) < MIN_TOKEN_LENGTH:
            reason = f"secret {self._secret.name}: every token needs {MIN_TOKEN_LENGTH} characters"
            raise MisconfiguredError(reason)
        return tokens


def tokens_in(text: str) -> list[bytes]:
    """Return the tokens in the shared secret's text."""
    return text.encode("utf-8", "replace").split()


def _is_among(tokens: Sequence[bytes], given: bytes) -> bool:
    return any(hmac.compare_digest(given, token) for token in tokens)

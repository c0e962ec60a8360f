"""Token authentication: whether a request over HTTP has a token of the shared secret.

The secret contains one token, or several during a rotation, separated by white space.
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

SECRET_TTL_S: Final = 60
"""How long the secret is cached, and so how long a removed token still works, in seconds."""

SECRET_REREAD_S: Final = 5
"""The least time between two reads because of unknown tokens, in seconds."""

MIN_TOKEN_LENGTH: Final = 16


class TokenCheck(Enum):
    """What an Authorization header contains."""

    VALID = "one of the tokens"
    UNKNOWN = "a token, but none of them"
    MISSING = "no token"


class TokenAuth:
    """Compares tokens with those of the shared secret."""

    def __init__(self, secret: Secret, *, now: Now) -> None:
        self._secret = secret
        self._now = now
        self._refreshed_at = -math.inf

    def check(self, authorization: str, *, deadline: Deadline) -> TokenCheck:
        """Return what an Authorization header contains; tokens are compared in constant time.

        For an unknown token the secret is read again, unless it was within `SECRET_REREAD_S`.
        Raises UnavailableError, OutOfTimeError, or MisconfiguredError that names the secret.
        """
        scheme, _, text = authorization.partition(" ")
        token = text.strip().encode("utf-8", "replace")
        if scheme.lower() != "token" or not token:
            return TokenCheck.MISSING
        if _is_among(self._tokens(deadline), token):
            return TokenCheck.VALID
        if self._now() < self._refreshed_at + SECRET_REREAD_S:
            return TokenCheck.UNKNOWN
        self._refreshed_at = self._now()
        is_new = _is_among(self._tokens(deadline, refresh=True), token)
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


def _is_among(tokens: Sequence[bytes], token: bytes) -> bool:
    return any(hmac.compare_digest(token, each) for each in tokens)

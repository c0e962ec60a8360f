"""Secret: one secret of Secrets Manager, read if it is needed and cached for a while.

If it cannot be read again, the cached text is used.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Final

from botocore.exceptions import BotoCoreError, ClientError

from handler.clock import AWS_CALL_S, Deadline, Now
from handler.errors import MisconfiguredError, OutOfTimeError, RetryableError, UnavailableError

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

USABLE_S: Final = 12 * 3600
"""How long a cached text is used if it cannot be read again, in seconds: long enough to fix a
permission overnight, too short to use a deleted secret for days."""

RETRY_AFTER_S: Final = 5
"""The least time between a failed read and the next, in seconds."""

_TRIES: Final = 2  # the second may succeed after a throttle or a stale connection
_PERMANENT_CODES: Final = {
    "AccessDeniedException",
    "DecryptionFailure",
    "InvalidRequestException",
    "ResourceNotFoundException",
}

ReadError = MisconfiguredError | UnavailableError


class Secret:
    """A secret's text, for `ttl_s` seconds. `on_failure` gets the error of each failed read.

    Safe to use from threads.
    """

    def __init__(
        self,
        secretsmanager: SecretsManagerClient,
        name: str,
        *,
        ttl_s: float,
        now: Now,
        on_failure: Callable[[ReadError], object] = lambda _: None,
    ) -> None:
        self.name = name
        self._secretsmanager = secretsmanager
        self._ttl_s = ttl_s
        self._now = now
        self._on_failure = on_failure
        self._lock = Lock()
        self._text = ""
        self._read_at = -math.inf
        self._reads_begun = 0
        self._read_number = 0  # of the last successful read
        self._failure: Callable[[], ReadError] | None = None
        self._failed_at = -math.inf

    def text(self, *, deadline: Deadline, refresh: bool = False) -> str:
        """Return the text, read at most `ttl_s` seconds ago; `refresh`: read it now.

        If it cannot be read, return the cached text, for `USABLE_S` at most; a `refresh` raises
        UnavailableError or OutOfTimeError instead. After a failed read, no other begins for
        `RETRY_AFTER_S`. Without a cached text, raises UnavailableError, OutOfTimeError, or
        MisconfiguredError that names the secret.
        """
        begun_before = self._reads_begun
        with self._lock:
            now = self._now()
            # A read that another thread began meanwhile is new enough.
            is_new = not refresh or self._read_number > begun_before
            if is_new and now < self._read_at + self._ttl_s:
                return self._text
            is_usable = now < self._read_at + USABLE_S
            try:
                self._read_again(now, deadline)
            except RetryableError:
                if refresh or not is_usable:
                    raise
            except MisconfiguredError as error:
                if not is_usable:
                    raise
                if refresh:  # a MisconfiguredError would stop the whole batch
                    raise UnavailableError(str(error)) from None
            return self._text

    def _read_again(self, now: float, deadline: Deadline) -> None:
        if self._failure is not None and now < self._failed_at + RETRY_AFTER_S:
            raise self._failure()
        self._reads_begun += 1
        try:
            self._text = self._read(deadline)
        except (MisconfiguredError, UnavailableError) as error:
            # Not the error itself, as its traceback keeps all local variables in memory.
            self._failure, self._failed_at = partial(type(error), str(error)), now
            self._on_failure(error)
            raise
        self._read_at, self._read_number, self._failure = now, self._reads_begun, None

    def _read(self, deadline: Deadline) -> str:
        code = ""
        for _ in range(_TRIES):
            if not deadline.allows(AWS_CALL_S):
                break
            try:
                return self._secretsmanager.get_secret_value(SecretId=self.name)["SecretString"]
            except KeyError:
                raise MisconfiguredError(f"secret {self.name} holds no text") from None
            except BotoCoreError as error:
                code = type(error).__name__
            except ClientError as error:
                code = error.response["Error"]["Code"]
            if code in _PERMANENT_CODES:
                raise MisconfiguredError(f"secret {self.name} cannot be read: {code}")
        if not code:
            raise OutOfTimeError(f"no time left to read secret {self.name}")
        raise UnavailableError(f"secret {self.name} cannot be read: {code}")

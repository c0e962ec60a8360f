"""Secret: one secret of Secrets Manager, read when it is needed and kept for a while."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from botocore.exceptions import BotoCoreError, ClientError

from handler.clock import AWS_CALL_S, Now, TimeLeft
from handler.errors import MisconfiguredError, OutOfTimeError, UnavailableError

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

_TRIES: Final = 2  # a throttle, or a connection that was kept for too long, is gone by the second
_FOR_A_HUMAN: Final = {
    "AccessDeniedException",
    "DecryptionFailure",
    "InvalidRequestException",
    "ResourceNotFoundException",
}


class Secret:
    """A secret's text."""

    def __init__(
        self, secretsmanager: SecretsManagerClient, name: str, *, kept_s: float, now: Now
    ) -> None:
        """Keep where to read; nothing is read yet."""
        self.name = name
        self._secretsmanager = secretsmanager
        self._kept_s = kept_s
        self._now = now
        self._text = ""
        self._kept_until = 0.0

    def text(self, *, time_left: TimeLeft, refresh: bool = False) -> str:
        """Return the text, read at most `kept_s` seconds ago; `refresh`: read now.

        Raises UnavailableError, OutOfTimeError, or MisconfiguredError that names the secret.
        """
        if refresh or self._now() >= self._kept_until:
            self._text = self._read(time_left)
            self._kept_until = self._now() + self._kept_s
        return self._text

    def _read(self, time_left: TimeLeft) -> str:
        code = ""
        for _ in range(_TRIES):
            if time_left() < AWS_CALL_S:
                break
            try:
                return self._secretsmanager.get_secret_value(SecretId=self.name)["SecretString"]
            except KeyError:
                raise MisconfiguredError(f"secret {self.name} holds no text") from None
            except BotoCoreError as error:
                code = type(error).__name__
            except ClientError as error:
                code = error.response["Error"]["Code"]
            if code in _FOR_A_HUMAN:
                raise MisconfiguredError(f"secret {self.name} cannot be read: {code}")
        if not code:
            raise OutOfTimeError(f"no time left to read secret {self.name}")
        raise UnavailableError(f"secret {self.name} cannot be read: {code}")

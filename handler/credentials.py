"""Credentials: the Customer.io workspace of each mParticle account, from Secrets Manager.

The secret is kept for five minutes, and read afresh at once when asked.
"""

from __future__ import annotations

from typing import Annotated, Final, Protocol

import msgspec
from aws_lambda_powertools.utilities.parameters.exceptions import GetParameterError
from botocore.exceptions import ClientError

from handler.clock import AWS_CALL_S, TimeLeft
from handler.domain.workspace import Workspace
from handler.errors import (
    MisconfiguredError,
    OutOfTimeError,
    UnavailableError,
    UnknownAccountError,
)

KEPT_S: Final = 300

_FOR_A_HUMAN: Final = {
    "AccessDeniedException",
    "DecryptionFailure",
    "InvalidRequestException",
    "ResourceNotFoundException",
}


class Secrets(Protocol):
    """Powertools' SecretsProvider, as far as it is used."""

    def get(self, name: str, *, max_age: int, force_fetch: bool) -> object:
        """Return the secret's text."""


_TEXT: Final = r"^[!-~]+$"  # printable ASCII
_SITE_ID: Final = r"^[!-9;-~]+$"  # without the colon, which parts the two in HTTP basic auth


class _Entry(msgspec.Struct):
    site_id: Annotated[str, msgspec.Meta(pattern=_SITE_ID)]
    api_key: Annotated[str, msgspec.Meta(pattern=_TEXT)]
    region: str = "us"


class _Several(msgspec.Struct):
    accounts: dict[str, _Entry] | None = None


class Credentials:
    """The workspaces that the credentials secret names."""

    def __init__(self, secrets: Secrets, secret_name: str) -> None:
        """Keep where to read; nothing is read yet."""
        self._secrets = secrets
        self._name = secret_name

    def workspace(
        self, account_id: int | None, *, time_left: TimeLeft, afresh: bool = False
    ) -> Workspace:
        """Return the workspace of an mParticle account, in a secret at most five minutes old.

        With `afresh` the secret is read again, as it is where it does not know the account.
        Raises UnknownAccountError, UnavailableError, OutOfTimeError, or MisconfiguredError that
        names the secret.
        """
        if afresh:
            return self._find(account_id, time_left, afresh=True)
        try:
            return self._find(account_id, time_left, afresh=False)
        except UnknownAccountError:
            return self._find(account_id, time_left, afresh=True)

    def _find(self, account_id: int | None, time_left: TimeLeft, *, afresh: bool) -> Workspace:
        if time_left() < AWS_CALL_S:
            raise OutOfTimeError("no time left to read the credentials")
        entries = self._read(afresh=afresh)
        entry = entries.get(str(account_id)) or entries.get("default")
        if entry is None:
            raise UnknownAccountError("the credentials secret has no entry for the account")
        match entry.region:
            case "us" | "eu" | "auto":
                return Workspace(entry.site_id, entry.api_key, entry.region)
            case _:
                raise MisconfiguredError(f"secret {self._name}: region: expected us, eu or auto")

    def _read(self, *, afresh: bool) -> dict[str, _Entry]:
        try:
            text = str(self._secrets.get(self._name, max_age=KEPT_S, force_fetch=afresh))
        except GetParameterError as error:
            raise self._reading_failed(error.__context__) from None
        try:
            accounts = msgspec.json.decode(text, type=_Several).accounts
            if accounts is None:
                return {"default": msgspec.json.decode(text, type=_Entry)}
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise MisconfiguredError(f"secret {self._name}: {error}") from None
        return accounts

    def _reading_failed(
        self, cause: BaseException | None
    ) -> MisconfiguredError | UnavailableError:
        code = type(cause).__name__
        if isinstance(cause, ClientError):
            code = cause.response["Error"]["Code"]
        if code in _FOR_A_HUMAN:
            return MisconfiguredError(f"secret {self._name} cannot be read: {code}")
        return UnavailableError(f"Secrets Manager: {code}")

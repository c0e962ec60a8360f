"""Credentials: the Customer.io workspace of each mParticle account, from a secret."""

from __future__ import annotations

from typing import Annotated, Final, Protocol

import msgspec

from handler.clock import TimeLeft
from handler.domain.workspace import Workspace
from handler.errors import MisconfiguredError, UnknownAccountError


class Secret(Protocol):
    """The credentials secret; see secret.py."""

    name: str

    def text(self, *, time_left: TimeLeft, refresh: bool = False) -> str:
        """Return its text; `refresh`: read now."""


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

    def __init__(self, secret: Secret) -> None:
        """Keep where to read; nothing is read yet."""
        self._secret = secret

    def workspace(
        self, account_id: int | None, *, time_left: TimeLeft, afresh: bool = False
    ) -> Workspace:
        """Return the workspace of an mParticle account, as the secret has it.

        With `afresh` the secret is read again, as it is where it does not know the account or
        makes no sense.
        Raises UnknownAccountError, UnavailableError, OutOfTimeError, or MisconfiguredError that
        names the secret.
        """
        text = self._secret.text(time_left=time_left, refresh=afresh)
        try:
            return self._found(text, account_id)
        except (MisconfiguredError, UnknownAccountError):
            if afresh:
                raise
        # It may have been mended meanwhile.
        return self._found(self._secret.text(time_left=time_left, refresh=True), account_id)

    def _found(self, text: str, account_id: int | None) -> Workspace:
        entries = self._entries(text)
        entry = entries.get(str(account_id)) or entries.get("default")
        if entry is None:
            raise UnknownAccountError("the credentials secret has no entry for the account")
        match entry.region:
            case "us" | "eu" | "auto":
                return Workspace(entry.site_id, entry.api_key, entry.region)
            case _:
                reason = f"secret {self._secret.name}: region: expected us, eu or auto"
                raise MisconfiguredError(reason)

    def _entries(self, text: str) -> dict[str, _Entry]:
        try:
            accounts = msgspec.json.decode(text, type=_Several).accounts
            if accounts is None:
                return {"default": msgspec.json.decode(text, type=_Entry)}
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise MisconfiguredError(f"secret {self._secret.name}: {error}") from None
        return accounts

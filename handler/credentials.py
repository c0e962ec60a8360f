"""Credentials: the Customer.io workspace of each mParticle account, from a secret."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Annotated, Final, Protocol

import msgspec

from handler.clock import Deadline
from handler.domain.attribute_mapping import mapping_of
from handler.domain.workspace import Workspace
from handler.errors import MisconfiguredError, UnknownAccountError, UnusableCredentialsError


class Secret(Protocol):
    """The credentials secret; see secret.py."""

    name: str

    def text(self, *, deadline: Deadline, refresh: bool = False) -> str:
        """Return its text; `refresh`: read it again."""


_TEXT: Final = r"^[!-~]+$"  # printable ASCII
_SITE_ID: Final = r"^[!-9;-~]+$"  # no colon: it separates the two in HTTP basic auth


class _Entry(msgspec.Struct):
    site_id: Annotated[str, msgspec.Meta(pattern=_SITE_ID)]
    api_key: Annotated[str, msgspec.Meta(pattern=_TEXT)]
    region: str = "us"
    create_people: bool | None = None
    membership_events: bool | None = None
    attribute_mapping: dict[str, object] | None = None
    on_erasure: str | None = None


class _Accounts(msgspec.Struct):
    accounts: dict[str, msgspec.Raw] | None = None


class Credentials(msgspec.Struct, frozen=True):
    """The workspaces in the credentials secret. Nothing is read before it is needed."""

    secret: Secret

    def workspace(self, account_id: int | None, *, deadline: Deadline) -> Workspace:
        """Return the workspace of an mParticle account.

        If the secret has no usable entry for the account, it is read again: it may have been
        fixed meanwhile.
        Raises UnknownAccountError, UnusableCredentialsError, UnavailableError, OutOfTimeError, or
        MisconfiguredError if the whole secret cannot be used; all but the first name the secret.
        """
        text = self.secret.text(deadline=deadline)
        try:
            return self._find(text, account_id)
        except (MisconfiguredError, UnknownAccountError, UnusableCredentialsError):
            text = self.secret.text(deadline=deadline, refresh=True)
        return self._find(text, account_id)

    def workspace_of_site(self, site_id: str, *, deadline: Deadline) -> Workspace:
        """Return the workspace with this site id, as the first entry that has it describes it.

        If the secret has no usable entry for it, the secret is read again.
        Raises as `workspace` does; UnusableCredentialsError if the entry may be one that cannot be
        read.
        """
        for refresh in (False, True):
            unusable: UnusableCredentialsError | None = None
            for _, each in self._each(self.secret.text(deadline=deadline, refresh=refresh)):
                if isinstance(each, UnusableCredentialsError):
                    unusable = unusable or each
                elif each.site_id == site_id:
                    return each
        raise unusable or UnknownAccountError(
            "the credentials secret has no entry for a workspace"
        )

    def workspaces(self, *, deadline: Deadline) -> dict[str, Workspace | UnusableCredentialsError]:
        """Return each workspace in the secret once, by the name of its first entry.

        Of an entry that cannot be used, even when read afresh, return why. Raises as `workspace`
        does, but for the errors of one account.
        """
        with suppress(MisconfiguredError):
            found = self._once_each(self.secret.text(deadline=deadline))
            if all(isinstance(each, Workspace) for each in found.values()):
                return found
        return self._once_each(self.secret.text(deadline=deadline, refresh=True))

    def refreshed(self, workspace: Workspace, *, deadline: Deadline) -> Workspace | None:
        """Read the secret again, and return new credentials for this site id.

        None if there are none. Raises as `workspace` does, but for UnknownAccountError.
        """
        for _, other in self._each(self.secret.text(deadline=deadline, refresh=True)):
            if isinstance(other, Workspace) and other.site_id == workspace.site_id:
                refreshed = replace(workspace, api_key=other.api_key, region=other.region)
                if refreshed != workspace:
                    return refreshed
        return None

    def _once_each(self, text: str) -> dict[str, Workspace | UnusableCredentialsError]:
        found: dict[str, Workspace | UnusableCredentialsError] = {}
        site_ids: set[str] = set()
        for name, each in self._each(text):
            if isinstance(each, Workspace):
                if each.site_id in site_ids:
                    continue
                site_ids.add(each.site_id)
            found[name] = each
        return found

    def _each(self, text: str) -> Iterator[tuple[str, Workspace | UnusableCredentialsError]]:
        """Yield the name of each entry, with its workspace or why it cannot be used."""
        for name, entry in self._entries(text).items():
            try:
                workspace = self._workspace(name, entry)
            except UnusableCredentialsError as error:
                yield name, error
            else:
                yield name, workspace

    def _find(self, text: str, account_id: int | None) -> Workspace:
        entries = self._entries(text)
        for name in (str(account_id), "default"):
            if name in entries:
                return self._workspace(name, entries[name])
        raise UnknownAccountError("the credentials secret has no entry for the account")

    def _workspace(self, name: str, raw: msgspec.Raw) -> Workspace:
        try:
            return _read(raw)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            reason = f"secret {self.secret.name}: entry {name}: {error}"
            raise UnusableCredentialsError(reason) from None

    def _entries(self, text: str) -> dict[str, msgspec.Raw]:
        try:
            accounts = msgspec.json.decode(text, type=_Accounts).accounts
            if accounts is None:
                # One workspace for all accounts: the whole secret is its entry.
                entry = msgspec.Raw(text.encode())
                self._workspace("default", entry)
                return {"default": entry}
        except UnusableCredentialsError as error:
            raise MisconfiguredError(str(error)) from None
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise MisconfiguredError(f"secret {self.secret.name}: {error}") from None
        return accounts


def _read(raw: msgspec.Raw) -> Workspace:
    entry = msgspec.json.decode(raw, type=_Entry)
    match entry.region:
        case "us" | "eu" | "auto" as region:
            pass
        case _:
            raise ValueError("region: expected us, eu or auto")
    match entry.on_erasure:
        case None | "none" | "delete" | "suppress" as on_erasure:
            pass
        case _:
            raise ValueError("on_erasure: expected none, delete or suppress")
    mapping = None
    if entry.attribute_mapping is not None:
        try:
            mapping = mapping_of(entry.attribute_mapping)
        except ValueError as error:
            raise ValueError(f"attribute_mapping: {error}") from None
    return Workspace(
        entry.site_id,
        entry.api_key,
        region,
        create_people=entry.create_people,
        membership_events=entry.membership_events,
        attribute_mapping=mapping,
        on_erasure=on_erasure,
    )

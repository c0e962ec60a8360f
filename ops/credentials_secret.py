"""Credentials secret: reads it, and writes it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from handler import clock
from handler.clock import Deadline
from handler.credentials import Credentials
from handler.domain.workspace import Workspace
from handler.errors import ForwarderError, UnusableCredentialsError
from handler.secret import Secret
from ops.stack import NO_DEADLINE

if TYPE_CHECKING:
    from ops.stack import Aws

DEFAULT: Final = "default"
ACCOUNT: Final = re.compile(r"default|0|-?[1-9][0-9]*")
"""The name of an entry: an account's number as mParticle writes it, or `default`."""

Content = Mapping[str, Any]


def read(aws: Aws, name: str) -> Content:
    """Return the content of the secret; empty if it is not a JSON object."""
    return _object(aws.secrets.get_secret_value(SecretId=name).get("SecretString", ""))


def _object(text: str) -> Content:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def text(content: Content) -> str:
    """Return the content as the secret's text."""
    return json.dumps(content)


@dataclass(slots=True)
class _Text:
    """A secret whose text is given and not read from AWS."""

    name: str
    content: str

    def text(self, *, deadline: Deadline, refresh: bool = False) -> str:  # noqa: ARG002
        return self.content


def workspaces(aws: Aws, name: str) -> dict[str, Workspace]:
    """Return the workspace of each mParticle account, as the function reads them.

    Raises UnusableCredentialsError for an entry that cannot be used, with its account and the
    reason, MisconfiguredError if the whole secret cannot be used, or UnavailableError.
    """
    text = Secret(aws.secrets, name, ttl_s=0, now=clock.now).text(deadline=NO_DEADLINE)
    return workspaces_in(text, name)


def workspace_of_site(aws: Aws, name: str, site_id: str) -> Workspace | None:
    """Return the workspace with this site id; None if the secret has no entry that can be used."""
    credentials = Credentials(Secret(aws.secrets, name, ttl_s=0, now=clock.now))
    try:
        return credentials.workspace_of_site(site_id, deadline=NO_DEADLINE)
    except ForwarderError:
        return None


def workspaces_in(text: str, name: str) -> dict[str, Workspace]:
    """Return what `workspaces` would return if this was the text of the secret."""
    credentials = Credentials(_Text(name, text))
    accounts = _object(text).get("accounts")
    if not isinstance(accounts, Mapping) or not accounts:
        return {DEFAULT: credentials.workspace(None, deadline=NO_DEADLINE)}
    for account in accounts:
        if not ACCOUNT.fullmatch(account):
            raise UnusableCredentialsError(
                f"secret {name}: entry {account}: neither a number nor default"
            )
    return {
        account: credentials.workspace(
            None if account == DEFAULT else int(account), deadline=NO_DEADLINE
        )
        for account in accounts
    }


def choose(
    workspaces: Mapping[str, Workspace], account: str | None
) -> tuple[int | None, Workspace]:
    """Return the account that messages are to name, if any, and its workspace.

    Without `account`, the default entry of the secret, or its only one. Raises ValueError if that
    does not say which.
    """
    known = ", ".join(workspaces)
    if account is None:
        if DEFAULT in workspaces:
            account = DEFAULT
        elif len(workspaces) == 1:
            (account,) = workspaces
        else:
            raise ValueError(f"name the account, with --account; the secret has: {known}")
    if not ACCOUNT.fullmatch(account):
        raise ValueError(f"--account: neither a number nor {DEFAULT}")
    workspace = workspaces.get(account) or workspaces.get(DEFAULT)
    if workspace is None:
        raise ValueError(f"the secret has no entry of account {account}, only: {known}")
    return None if account == DEFAULT else int(account), workspace


def with_credentials(content: Content, workspace: Workspace, *, account: str | None) -> Content:
    """Return the content with these credentials, and everything else unchanged.

    They replace the entry of `account`, or, if that is None, each entry of their workspace.
    Raises ValueError if there is no such entry.
    """
    new = {
        "site_id": workspace.site_id, "api_key": workspace.api_key, "region": workspace.region,
    }  # fmt: skip
    accounts = content.get("accounts")
    if not isinstance(accounts, Mapping):
        entry = {name: value for name, value in content.items() if name != "accounts"}
        if account is None:
            return entry | new
        return {"accounts": ({DEFAULT: entry} if entry else {}) | {account: new}}
    names = _accounts_of(workspace.site_id, accounts) if account is None else [account]
    return {**content, "accounts": {**accounts, **_updated(accounts, names, new)}}


def _accounts_of(site_id: str, accounts: Content) -> list[str]:
    names = [
        name
        for name, entry in accounts.items()
        if isinstance(entry, Mapping) and entry.get("site_id") == site_id
    ]
    if not names:
        raise ValueError("no account in the secret has this site id: name one with --account")
    return names


def _updated(accounts: Content, names: Iterable[str], new: Content) -> Content:
    before = {name: accounts.get(name) for name in names}
    return {
        name: {**(entry if isinstance(entry, Mapping) else {}), **new}
        for name, entry in before.items()
    }


def without_account(content: Content, account: str) -> Content:
    """Return the content without the entry of an account, and everything else unchanged.

    Raises ValueError if there is no such entry, or no other.
    """
    accounts = content.get("accounts")
    if not isinstance(accounts, Mapping) or account not in accounts:
        raise ValueError(f"the secret has no entry of account {account}")
    others = {name: entry for name, entry in accounts.items() if name != account}
    if not others:
        raise ValueError("it is the only entry: put other credentials in its place")
    return {**content, "accounts": others}


def write(aws: Aws, name: str, content: Content) -> None:
    """Put the content into the secret.

    The function reads it within five minutes, or at once after Customer.io refuses credentials.
    """
    aws.secrets.put_secret_value(SecretId=name, SecretString=text(content))

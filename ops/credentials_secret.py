"""Secret: the Customer.io credentials, read, tried out at Customer.io, and replaced."""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import urllib3
from urllib3.exceptions import HTTPError
from urllib3.util import make_headers

from handler import clock
from handler.clock import Deadline
from handler.credentials import Credentials
from handler.customerio.client import REGION_URLS
from handler.customerio.wire import read_region
from handler.domain.workspace import Workspace
from handler.errors import UnavailableError, UnusableCredentialsError
from handler.secret import Secret
from ops.stack import NO_DEADLINE

if TYPE_CHECKING:
    from ops.stack import Aws

DEFAULT: Final = "default"
ACCOUNT: Final = re.compile(r"default|0|-?[1-9][0-9]*")
"""What the function finds an entry by: the number as mParticle writes it, or `default`."""

_PATIENCE_S: Final = 10.0
_MOST_BYTES: Final = 10_000  # of an answer that is to name a region

Content = Mapping[str, Any]


def read(aws: Aws, name: str) -> Content:
    """Return what the secret holds; nothing of what is no JSON object."""
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
class _Held:
    """A secret's text that is not read from anywhere."""

    name: str
    held: str

    def text(self, *, deadline: Deadline, refresh: bool = False) -> str:  # noqa: ARG002
        return self.held


def workspaces(aws: Aws, name: str) -> dict[str, Workspace]:
    """Return the workspace of each mParticle account, as the function reads them.

    Raises UnusableCredentialsError for an entry that cannot be used, with its account and what is
    wrong with it, MisconfiguredError if the whole secret cannot be used, or UnavailableError.
    """
    text = Secret(aws.secrets, name, kept_s=0, now=clock.now).text(deadline=NO_DEADLINE)
    return understood(name, text)


def understood(name: str, text: str) -> dict[str, Workspace]:
    """Return what `workspaces` would, were this the secret's text."""
    credentials = Credentials(_Held(name, text))
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


def region(workspace: Workspace, *, track_api_url: str) -> Literal["us", "eu"]:
    """Return the region that Customer.io says the workspace is in.

    Raises CredentialsRefusedError where it does not accept the credentials, or another
    RetryableError.
    """
    pool = urllib3.PoolManager(ssl_context=ssl.create_default_context())
    try:
        response = pool.request(
            "GET",
            # Either region knows of all workspaces.
            f"{track_api_url or REGION_URLS['us']}/api/v1/accounts/region",
            headers=make_headers(
                basic_auth=f"{workspace.site_id}:{workspace.api_key}",
                user_agent="audience-forwarder",
            ),
            timeout=_PATIENCE_S,
            retries=False,
            redirect=False,
            preload_content=False,
        )
        return read_region(response.status, response.read(_MOST_BYTES))
    except HTTPError as error:
        raise UnavailableError(f"Customer.io: {type(error).__name__}") from None


def renewed(content: Content, workspace: Workspace, *, account: str | None) -> Content:
    """Return the secret's content with these credentials, and all else in it as it was.

    They go to the account named; without one, to every entry of their workspace. Raises
    ValueError where there is none.
    """
    entry = {
        "site_id": workspace.site_id, "api_key": workspace.api_key, "region": workspace.region,
    }  # fmt: skip
    accounts = content.get("accounts")
    if not isinstance(accounts, Mapping):
        only = {name: value for name, value in content.items() if name != "accounts"}
        if account is None:
            return only | entry
        return {"accounts": ({DEFAULT: only} if only else {}) | {account: entry}}
    names = _of_workspace(accounts, workspace.site_id) if account is None else [account]
    return {**content, "accounts": {**accounts, **_replaced(accounts, names, entry)}}


def _of_workspace(accounts: Content, site_id: str) -> list[str]:
    same = [
        name
        for name, one in accounts.items()
        if isinstance(one, Mapping) and one.get("site_id") == site_id
    ]
    if not same:
        raise ValueError("no account in the secret has this site id: name one with --account")
    return same


def _replaced(accounts: Content, names: Iterable[str], entry: Content) -> Content:
    before = {name: accounts.get(name) for name in names}
    return {
        name: {**(one if isinstance(one, Mapping) else {}), **entry}
        for name, one in before.items()
    }


def without(content: Content, account: str) -> Content:
    """Return the secret's content without the entry of an account, and all else as it was.

    Raises ValueError where there is no such entry, or no other.
    """
    accounts = content.get("accounts")
    if not isinstance(accounts, Mapping) or account not in accounts:
        raise ValueError(f"the secret has no entry of account {account}")
    left = {name: entry for name, entry in accounts.items() if name != account}
    if not left:
        raise ValueError("it is the only entry: put other credentials in its place")
    return {**content, "accounts": left}


def write(aws: Aws, name: str, content: Content) -> None:
    """Put the content into the secret; the function finds it within five minutes, or at once
    after a refusal.
    """
    aws.secrets.put_secret_value(SecretId=name, SecretString=text(content))

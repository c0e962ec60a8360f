"""Credentials: the commands for the Customer.io credentials that the function uses."""

from __future__ import annotations

from typing import Final

import click

from handler.domain.workspace import Region, Workspace
from handler.errors import ForwarderError
from ops import credentials_secret
from ops.commands import options
from ops.commands.context import OK, PROBLEM, Context
from ops.track_api import CustomerIo

_READ: Final = (
    "the function reads it within 5 minutes, or at once after Customer.io refuses credentials."
)
_REMOVE: Final = "`ops credentials remove --account …` removes an entry"


def _account(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    if value is None or credentials_secret.ACCOUNT.fullmatch(value):
        return value
    raise click.BadParameter("neither a number nor `default`", context, parameter)


@click.group()
def credentials() -> None:
    """Put or remove credentials for Customer.io."""


@credentials.command("put")
@click.option("--site-id", required=True, prompt=True, help="The workspace's site id.")
@click.option(
    "--api-key",
    required=True,
    prompt=True,
    hide_input=True,
    envvar="CUSTOMERIO_API_KEY",
    help="The API key. Without it, the command asks, or reads the variable CUSTOMERIO_API_KEY: "
    "so the key stays out of the shell's history.",
)
@click.option(
    "--workspace-region",
    type=click.Choice(["us", "eu", "auto"]),
    help="By default the region that Customer.io names; with --untested, auto.",
)
@click.option(
    "--account",
    callback=_account,
    help="mParticle account, or `default`; without it, all accounts with this site id.",
)
@click.option("--untested", is_flag=True, help="Do not test them at Customer.io first.")
@options.yes
@options.shared
def credentials_put(
    site_id: str,
    api_key: str,
    workspace_region: Region | None,
    account: str | None,
    *,
    untested: bool,
    yes: bool,
) -> int:
    """Put credentials into the secret, once Customer.io has accepted them."""
    context = Context.current()
    name = context.settings.credentials_secret_name
    workspace = Workspace(site_id, api_key, workspace_region or "auto")
    if not untested:
        url = context.settings.track_api_url
        region = CustomerIo(workspace, url).region()
        workspace = Workspace(site_id, api_key, workspace_region or region)
    before = credentials_secret.read(context.aws, name)
    try:
        content = credentials_secret.with_credentials(before, workspace, account=account)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    if reason := _why_unusable(name, content):
        raise click.UsageError(f"the function could not use the new content: {reason}")
    question = f"Replace the credentials of site id {site_id} in the secret {name}?"
    if not before:
        question = (
            f"The secret {name} has no readable content. "
            f"Replace it by the credentials of site id {site_id}?"
        )
    context.confirm(question, yes=yes)
    credentials_secret.write(context.aws, name, content)
    context.output({"secret": name}, f"Put into {name}; {_READ}")
    return OK


@credentials.command("remove")
@click.option("--account", required=True, help="The account, as the secret names it.")
@options.yes
@options.shared
def credentials_remove(account: str, *, yes: bool) -> int:
    """Remove the entry of one account from the secret."""
    context = Context.current()
    name = context.settings.credentials_secret_name
    try:
        content = credentials_secret.without_account(
            credentials_secret.read(context.aws, name), account
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    context.confirm(
        f"Remove account {account} from the secret {name}? The default entry is then used for its "
        "messages; without a default entry they are set aside.",
        yes=yes,
    )
    credentials_secret.write(context.aws, name, content)
    reason = _why_unusable(name, content)
    still = f" The function still cannot use it: {reason}" if reason else ""
    context.output({"secret": name, "unusable": reason}, f"Removed from {name}; {_READ}{still}")
    return PROBLEM if reason else OK


def _why_unusable(name: str, content: credentials_secret.Content) -> str:
    """Return why the function could not use this content, and the fix; empty if it could."""
    try:
        credentials_secret.workspaces_in(credentials_secret.text(content), name)
    except ForwarderError as error:
        return f"{error}; {_REMOVE}" if "accounts" in content else str(error)
    return ""

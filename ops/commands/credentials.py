"""Credentials: the commands for what the function signs in to Customer.io with."""

from __future__ import annotations

from typing import Final

import click

from handler.domain.workspace import Region, Workspace
from handler.errors import ForwarderError
from ops import secret
from ops.commands import options
from ops.commands.context import FINE, TROUBLE, Ops

_FOUND: Final = "the function finds that within 5 minutes, at once after a refusal."
_TAKE_OUT: Final = "`ops credentials remove --account …` takes an entry out"


def _account(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    if value is None or secret.ACCOUNT.fullmatch(value):
        return value
    raise click.BadParameter("it is neither a number nor `default`", context, parameter)


@click.group()
def credentials() -> None:
    """The Customer.io credentials that the function uses."""


@credentials.command("put")
@click.option("--site-id", required=True, prompt=True, help="The workspace's site id.")
@click.option(
    "--api-key",
    required=True,
    prompt=True,
    hide_input=True,
    envvar="CUSTOMERIO_API_KEY",
    help="Asked for; or in the variable CUSTOMERIO_API_KEY, to stay out of the shell's history.",
)
@click.option(
    "--workspace-region",
    type=click.Choice(["us", "eu", "auto"]),
    help="By default the one that Customer.io tells; untried, auto.",
)
@click.option(
    "--account",
    callback=_account,
    help="mParticle account, or `default`; without it, all that have this site id.",
)
@click.option("--untried", is_flag=True, help="Do not try them at Customer.io first.")
@options.yes
@options.shared
def credentials_put(
    site_id: str,
    api_key: str,
    workspace_region: Region | None,
    account: str | None,
    *,
    untried: bool,
    yes: bool,
) -> int:
    """Put credentials into the secret, once Customer.io has accepted them."""
    ops = Ops.current()
    name = ops.settings.credentials_secret_name
    workspace = Workspace(site_id, api_key, workspace_region or "auto")
    if not untried:
        told = secret.region(workspace, track_api_url=ops.settings.track_api_url)
        workspace = Workspace(site_id, api_key, workspace_region or told)
    before = secret.read(ops.aws, name)
    try:
        content = secret.renewed(before, workspace, account=account)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    if wrong := _unusable(name, content):
        raise click.UsageError(f"the function could not use what would be put: {wrong}")
    question = f"Replace the credentials of site id {site_id} in the secret {name}?"
    if not before:
        question = f"The secret {name} cannot be read: replace all of it by site id {site_id}?"
    ops.agree(question, yes=yes)
    secret.write(ops.aws, name, content)
    ops.tell({"secret": name}, f"Put into {name}; {_FOUND}")
    return FINE


@credentials.command("remove")
@click.option("--account", required=True, help="Whose entry: as it is named in the secret.")
@options.yes
@options.shared
def credentials_remove(account: str, *, yes: bool) -> int:
    """Take the entry of one account out of the secret."""
    ops = Ops.current()
    name = ops.settings.credentials_secret_name
    try:
        content = secret.without(secret.read(ops.aws, name), account)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    ops.agree(
        f"Take account {account} out of the secret {name}? "
        "What comes of it is then the default entry's, or set aside where there is none.",
        yes=yes,
    )
    secret.write(ops.aws, name, content)
    wrong = _unusable(name, content)
    still = f"The function still cannot use it: {wrong}" if wrong else ""
    ops.tell({"secret": name, "wrong": wrong}, f"Taken out of {name}; {_FOUND} {still}".rstrip())
    return TROUBLE if wrong else FINE


def _unusable(name: str, content: secret.Content) -> str:
    """Return why the function could not use this content, and the fix; empty if it could."""
    try:
        secret.understood(name, secret.text(content))
    except ForwarderError as error:
        return f"{error}; {_TAKE_OUT}" if "accounts" in content else str(error)
    return ""

"""Credentials: the commands for what the function signs in to Customer.io with."""

from __future__ import annotations

import click

from handler.domain.workspace import Region, Workspace
from ops import secret
from ops.commands import options
from ops.commands.context import FINE, Ops


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
@click.option("--account", help="mParticle account; by default all that have this site id.")
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
    question = f"Replace the credentials of site id {site_id} in the secret {name}?"
    if not before:
        question = f"The secret {name} cannot be read: replace all of it by site id {site_id}?"
    ops.agree(question, yes=yes)
    secret.write(ops.aws, name, content)
    ops.tell(
        {"secret": name},
        f"Put into {name}; the function finds them within 5 minutes, at once after a refusal.",
    )
    return FINE

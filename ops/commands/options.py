"""Options: the options that commands share, and the files that they read."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import click

from ops.commands.context import SharedOptions

Command = TypeVar("Command", bound=Callable[..., Any])
_Content = TypeVar("_Content")

reveal = click.option("--reveal", is_flag=True, help="Show personal data.")
site_id = click.option(
    "--site-id",
    multiple=True,
    help="Workspace; by default all in the secret. Repeat for more.",
)
account = click.option(
    "--account",
    help="mParticle account that the messages name, and so the workspace; by default the "
    "secret's entry `default`, or its only one.",
)
yes = click.option("--yes", is_flag=True, help="Do not ask for confirmation.")


def shared(command: Command) -> Command:
    """Add the options that all commands have."""
    for name, about in (
        ("--json", "Print JSON, for scripts."),
        ("--endpoint-url", "Another address of AWS, for example of an emulator."),
        ("--profile", "AWS profile; by default from the environment."),
        ("--region", "AWS region; by default from the environment."),
        ("--stack-name", "Name of the stack; by default audience-forwarder."),
    ):
        option = click.option(
            name, is_flag=name == "--json", help=about, expose_value=False, callback=_keep
        )
        command = option(command)
    return command


def _keep(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    # These options may stand before or after the name of a command.
    options = context.find_root().ensure_object(SharedOptions)
    if value:
        setattr(options, str(parameter.name), value)


def content(file: Path, read: Callable[[str], _Content]) -> _Content:
    """Return the content of a file; a file that cannot be read is wrong usage."""
    try:
        return read(file.read_text("utf-8-sig"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise click.UsageError(f"{file}: cannot be read: {type(error).__name__}") from error


def moment(text: str) -> float:
    """Return a moment in Unix seconds; it is in UTC if it names no time zone."""
    try:
        named = datetime.fromisoformat(text)
    except ValueError:
        raise click.UsageError(
            f"{text!r} is no time, such as 2026-11-25 or 2026-11-25T13:30"
        ) from None
    return (named if named.tzinfo else named.replace(tzinfo=UTC)).timestamp()

"""Options: those that commands share, and the files that they are given."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from ops.commands.context import Where

Command = TypeVar("Command", bound=Callable[..., Any])
_Content = TypeVar("_Content")

reveal = click.option("--reveal", is_flag=True, help="Show personal data.")
yes = click.option("--yes", is_flag=True, help="Do not ask.")


def shared(command: Command) -> Command:
    """Give a command the options that all have."""
    for name, about in (
        ("--json", "For machines: JSON on standard output."),
        ("--endpoint-url", "Another address of AWS, such as that of an emulator."),
        ("--profile", "AWS profile; the environment's by default."),
        ("--region", "AWS region; the environment's by default."),
        ("--stack-name", "The stack; audience-forwarder by default."),
    ):
        option = click.option(
            name, is_flag=name == "--json", help=about, expose_value=False, callback=_keep
        )
        command = option(command)
    return command


def _keep(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    # The options of all commands stand before or after a command's name.
    where = context.find_root().ensure_object(Where)
    if value:
        setattr(where, str(parameter.name), value)


def content(file: Path, read: Callable[[str], _Content]) -> _Content:
    """Return what a file holds, or refuse it."""
    try:
        return read(file.read_text("utf-8"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise click.UsageError(f"{file}: cannot be read: {type(error).__name__}") from error

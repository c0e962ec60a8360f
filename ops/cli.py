"""Cli: all commands under one name, and the exit status."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import click
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console

from handler.errors import ForwarderError
from ops.commands import (
    audiences,
    credentials,
    dlq,
    exports,
    imports,
    options,
    person,
    reconcile,
    resync,
    smoke,
    stack,
    stream,
    walk,
)
from ops.commands.context import ABORTED, OK, UNREACHABLE
from ops.stack import describe_error

_HELP: Final = """See what is wrong with a deployed audience forwarder, and fix it.

\b
Exit status
  0  done, and everything is in order
  1  done, and something is wrong: a check failed; messages are set aside, were not sent or
     deleted, or are hidden because somebody else has received them; records of the stream cannot
     be read; the person is unknown, or did not get through; people cannot be read, or differ from
     a file; a walk failed or skipped people
  2  wrong usage, or an unusable file; nothing was changed
  3  AWS, Customer.io or the stack cannot be reached, or refused; the command stopped there
  4  you said no, or pressed Ctrl-C

Only `dlq redrive`, `dlq purge`, `send`, `stream replay`, `import`, `reconcile --fix`, `resync`,
`walk stop`, `walk redrive`, `smoke`, `credentials`, `mapping` and `person erase` change anything.
They ask first, unless you add `--yes`.
`export`, `reconcile` and `audiences --sizes` ask before they read the whole table.
docs/operations.md says what to do for each alarm.
"""


@click.group(
    help=_HELP,
    context_settings={"help_option_names": ["-h", "--help"]},
    commands=[
        stack.status,
        stack.check,
        smoke.smoke_command,
        stack.send,
        stack.mapping,
        dlq.dlq,
        stream.stream,
        person.person,
        audiences.audiences_command,
        resync.resync,
        walk.walk,
        imports.import_command,
        reconcile.reconcile_command,
        exports.export_command,
        credentials.credentials,
    ],
)
@options.shared
def cli() -> None:
    """Collect the commands."""


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command, and return its exit status."""
    print_error = Console(stderr=True, highlight=False, soft_wrap=True).print
    try:
        return int(cli.main(arguments, prog_name="ops", standalone_mode=False) or OK)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        print_error("Stopped.")
        return ABORTED
    except (BotoCoreError, ClientError) as error:
        print_error(describe_error(error), markup=False)
    except ForwarderError as error:
        print_error(str(error), markup=False)
    return UNREACHABLE

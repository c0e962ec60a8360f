"""Cli: the commands under one name, and the status that each ends with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import click
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console

from handler.errors import ForwarderError
from ops.checks import told
from ops.commands import credentials, dlq, options, person, stack
from ops.commands.context import FINE, OUT_OF_REACH, STOPPED

_HELP: Final = """See what is wrong with a deployed audience forwarder, and mend it.

\b
Ends with
  0  done, and all is well
  1  done, and something is wrong: a check failed, messages are set aside, were left or are
     hidden by somebody else, nobody was found
  2  wrong usage, or a file that cannot be used; nothing was done
  3  AWS, Customer.io or the stack is out of reach, or refused; nothing more was done
  4  you said no, or pressed Ctrl-C

Everything but `dlq redrive`, `dlq purge`, `send`, `credentials`, `mapping` and `person erase`
only looks; these ask first, unless told `--yes`.
What to do about what you see: docs/operations.md.
"""


@click.group(
    help=_HELP,
    context_settings={"help_option_names": ["-h", "--help"]},
    commands=[
        stack.status,
        stack.check,
        stack.send,
        stack.mapping,
        dlq.dlq,
        person.person,
        credentials.credentials,
    ],
)
@options.shared
def cli() -> None:
    """Collect the commands."""


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command, and return the status to end with."""
    complain = Console(stderr=True, highlight=False, soft_wrap=True).print
    try:
        return int(cli.main(arguments, prog_name="ops", standalone_mode=False) or FINE)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        complain("Stopped.")
        return STOPPED
    except (BotoCoreError, ClientError) as error:
        complain(told(error), markup=False)
    except ForwarderError as error:
        complain(str(error), markup=False)
    return OUT_OF_REACH

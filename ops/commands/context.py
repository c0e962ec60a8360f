"""Context: what a command works with. The stack, how to ask and tell, what to end with."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import click
import msgspec
from rich.console import Console
from rich.progress import Progress
from rich.text import Text

from handler.settings import Settings
from ops import show
from ops import stack as stacks
from ops.dead_letters import DeadLetters

FINE: Final = 0
TROUBLE: Final = 1
USAGE: Final = 2  # click's own
OUT_OF_REACH: Final = 3
STOPPED: Final = 4


@dataclass(slots=True)
class Where:
    """What the options that all commands share say."""

    stack_name: str = "audience-forwarder"
    region: str | None = None
    profile: str | None = None
    endpoint_url: str | None = None
    json: bool = False


class Ops:
    """What the commands share: the stack, and how to tell."""

    def __init__(self, where: Where) -> None:
        self._where = where
        self.console = Console(highlight=False, width=None if os.isatty(1) else 140)
        self.now = time.time()

    @classmethod
    def current(cls) -> Ops:
        """Return what the command that runs works with."""
        return cls(click.get_current_context().find_root().ensure_object(Where))

    @cached_property
    def aws(self) -> stacks.Aws:
        """AWS, where the options say."""
        where = self._where
        return stacks.Aws(
            region=where.region, profile=where.profile, endpoint_url=where.endpoint_url
        )

    @cached_property
    def stack(self) -> stacks.Stack:
        """The stack, as it is deployed."""
        return stacks.find(self.aws, self._where.stack_name)

    @cached_property
    def settings(self) -> Settings:
        """The settings that the deployed function has."""
        found = self.aws.functions.get_function_configuration(
            FunctionName=self.stack.function_name
        )
        return Settings.from_environ(found["Environment"]["Variables"])

    @cached_property
    def letters(self) -> DeadLetters:
        """The stack's dead letters."""
        return DeadLetters(self.aws.sqs, self.stack, sleep=time.sleep)

    def progress(self) -> Progress:
        """Return a bar, for a person at a terminal only."""
        return show.progress(Console(stderr=True))

    def tell(self, data: object, *shown: object) -> None:
        """Tell a machine the data, or a person what is shown."""
        if self._where.json:
            click.echo(msgspec.json.format(msgspec.json.encode(data), indent=2).decode())
        else:
            for one in shown:
                # Texts are to be copied: only the terminal breaks their lines.
                self.console.print(one, soft_wrap=isinstance(one, str | Text))

    def agree(self, question: str, *, yes: bool) -> None:
        """Go on only if the operator agrees."""
        if not (yes or click.confirm(question, err=True)):
            raise click.Abort

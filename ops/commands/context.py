"""Context: the stack that a command works on, its output, its questions, and its exit status."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import click
import msgspec
from rich.console import Console
from rich.progress import Progress
from rich.text import Text

from handler.settings import Settings
from ops import credentials_secret, show
from ops import stack as stacks
from ops.dead_letter_queue import DeadLetterQueue

OK: Final = 0
PROBLEM: Final = 1
USAGE: Final = 2  # click's own
UNREACHABLE: Final = 3
ABORTED: Final = 4


@dataclass(slots=True)
class SharedOptions:
    """The values of the options that all commands share."""

    stack_name: str = "audience-forwarder"
    region: str | None = None
    profile: str | None = None
    endpoint_url: str | None = None
    json: bool = False


class Context:
    """What all commands need."""

    def __init__(self, options: SharedOptions) -> None:
        self._options = options
        self._console = Console(highlight=False, width=None if os.isatty(1) else 140)
        self.now = time.time()

    @classmethod
    def current(cls) -> Context:
        """Return the context of the command that runs."""
        return cls(click.get_current_context().find_root().ensure_object(SharedOptions))

    @cached_property
    def aws(self) -> stacks.Aws:
        """The AWS clients, for the account and region that the options name."""
        options = self._options
        return stacks.Aws(
            region=options.region, profile=options.profile, endpoint_url=options.endpoint_url
        )

    @cached_property
    def stack(self) -> stacks.Stack:
        """The deployed stack."""
        return stacks.find(self.aws, self._options.stack_name)

    @cached_property
    def _environ(self) -> Mapping[str, str]:
        function = self.aws.functions.get_function_configuration(
            FunctionName=self.stack.function_name
        )
        return function["Environment"]["Variables"]

    @cached_property
    def settings(self) -> Settings:
        """The settings of the deployed function."""
        return Settings.from_environ(self._environ)

    @property
    def log_level(self) -> str:
        """The least severe level that the deployed function logs."""
        return self._environ.get("POWERTOOLS_LOG_LEVEL", "INFO")

    @cached_property
    def site_ids(self) -> list[str]:
        """The workspaces in the secret."""
        name = self.settings.credentials_secret_name
        workspaces = credentials_secret.workspaces(self.aws, name).values()
        return list(dict.fromkeys(workspace.site_id for workspace in workspaces))

    @cached_property
    def queue(self) -> DeadLetterQueue:
        """The dead-letter queue of the stack."""
        return DeadLetterQueue(self.aws.sqs, self.stack, sleep=time.sleep)

    def progress(self) -> Progress:
        """Return a progress bar, which is visible only at a terminal."""
        return show.progress(Console(stderr=True))

    def output(self, data: object, *shown: object) -> None:
        """Print `data` as JSON if `--json` is set, or else `shown` for a person."""
        if self._options.json:
            click.echo(msgspec.json.format(msgspec.json.encode(data), indent=2).decode())
        else:
            for each in shown:
                # Texts must stay on one line to be copied: only the terminal may break them.
                self._console.print(each, soft_wrap=isinstance(each, str | Text))

    def tell(self, shown: object) -> None:
        """Print something at once for a person who waits; nothing if `--json` is set."""
        if not self._options.json:
            self._console.print(shown, soft_wrap=True)

    def confirm(self, question: str, *, yes: bool) -> None:
        """Continue only if the operator says yes, or has said `--yes`."""
        if not (yes or click.confirm(question, err=True)):
            raise click.Abort

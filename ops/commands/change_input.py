"""Change input: the file of changes that a command reads, and the options that complete it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from handler.domain.workspace import Workspace
from ops import credentials_secret
from ops.change_files import ChangeFile, Row
from ops.change_rows import OLDEST_JOIN_S, Defaults, RowError, unix_ms
from ops.commands import options
from ops.commands.context import Context
from ops.downloads import FileError

rate_option = click.option(
    "--rate",
    type=click.IntRange(1, 100_000),
    default=1000,
    show_default=True,
    help="Send at most about so many changes a second.",
)


def change_options(command: options.Command) -> options.Command:
    """Add the file of changes, and the options that complete it."""
    for option in (
        click.option(
            "--as-of",
            help="When the file was made, in ISO 8601. By default, mParticle's manifest says it, "
            "or it is when the file was last written.",
        ),
        click.option("--audience-name", default="", help="The audience, if no row names one."),
        click.option("--audience-id", type=int, help="The audience, if no row has one."),
        options.account,
        click.argument("file", type=click.Path(exists=True, path_type=Path, resolve_path=True)),
    ):
        command = option(command)
    return command


@dataclass(frozen=True, slots=True)
class ChangeInput:
    """A file of changes, and what the options say of it. `made_ms`: Unix milliseconds.

    `customer_id_type`: which identity is the customer id, by its type in messages.
    """

    file: Path
    content: ChangeFile
    account_id: int | None
    workspace: Workspace
    audience_id: int | None
    audience_name: str
    as_of: str | None
    customer_id_type: str
    content_hash: str
    made_ms: int
    now_ms: int

    @classmethod
    def of(
        cls,
        context: Context,
        *,
        file: Path,
        account: str | None,
        audience_id: int | None,
        audience_name: str,
        as_of: str | None,
    ) -> ChangeInput:
        """Look at the file and the options; what cannot be used is wrong usage."""
        workspaces = credentials_secret.workspaces(
            context.aws, context.settings.credentials_secret_name
        )
        try:
            account_id, workspace = credentials_secret.choose(workspaces, account)
        except ValueError as error:
            raise click.UsageError(str(error)) from error
        try:
            content = ChangeFile.open(file)
            content_hash = content.fingerprint()  # which reads all of it
        except (OSError, FileError) as error:
            raise click.UsageError(f"{file}: {error}") from error
        now_ms = int(context.now * 1000)
        return cls(
            file,
            content,
            account_id,
            workspace,
            audience_id,
            audience_name,
            as_of,
            context.settings.delivery_options.customer_id_type,
            content_hash,
            made_ms=_made_ms(content, as_of, now_ms),
            now_ms=now_ms,
        )

    def rows(self, as_of_ms: int) -> Iterator[Row]:
        """Yield all rows, with the time of the file; a file that has changed is wrong usage."""
        self.require_unchanged()
        yield from self.content.rows(self._defaults(as_of_ms))
        self.require_unchanged()

    def require_unchanged(self) -> None:
        """Refuse a file that is no longer the one that was looked at."""
        if not self.content.is_unchanged:
            raise click.UsageError(f"{self.file} has changed since the command started")

    def _defaults(self, as_of_ms: int) -> Defaults:
        """Return what holds for rows that do not say it, with the time of the file."""
        return Defaults(
            as_of_ms, self.now_ms, self.audience_id, self.audience_name, self.customer_id_type
        )

    def fingerprint(self, *more: object) -> str:
        """Return a hash of the file and of the options, and of `more` of them."""
        chosen = (
            *(self.account_id, self.audience_id, self.audience_name, self.as_of),
            *(self.customer_id_type, *more),
        )
        return hashlib.sha256(f"{self.content_hash} {chosen}".encode()).hexdigest()


def _made_ms(content: ChangeFile, as_of: str | None, now_ms: int) -> int:
    made_ms = content.made_ms
    if as_of is not None:
        try:
            made_ms = unix_ms(as_of)
        except RowError as error:
            raise click.UsageError("--as-of: expected a time in ISO 8601") from error
        if made_ms > now_ms:
            raise click.UsageError("--as-of: is in the future")
    if made_ms is None:
        raise click.UsageError("--as-of is missing: when was the audience downloaded?")
    if made_ms < now_ms - OLDEST_JOIN_S * 1000:
        raise click.UsageError(
            f"the file is over {OLDEST_JOIN_S // 86_400} days old: the table may have forgotten "
            "who has left since then. Make a new one, or say with --as-of if it is newer"
        )
    # The clock that wrote the file may be ahead.
    return min(made_ms, now_ms)

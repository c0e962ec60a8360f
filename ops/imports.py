"""Imports: a file of changes, counted and checked first, and then put on the queue at a rate.

A progress file beside it says how much of which file was sent, so an import that was stopped goes
on there. What was sent since it was last written is sent again, which does no harm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import uniform
from typing import TYPE_CHECKING, Final

import msgspec

from handler.domain.change_messages import Change, change_messages
from handler.sender import Sender, batch_requests
from ops.change_files import Row, Unaddressed
from ops.change_rows import RowError
from ops.downloads import FileError
from ops.stack import NO_DEADLINE

if TYPE_CHECKING:
    from ops.stack import Aws, Stack

WINDOW: Final = 10_000
"""Changes that are in memory at a time. The last message of each window is not full."""

MOST_SHOWN: Final = 20
"""Bad rows that are kept to be shown."""

_GROUP: Final = "import"
"""The message group, so that an import does not delay the changes of an account."""


class Survey(msgspec.Struct):
    """What is in a file: numbers of rows, of changes and of the messages that they make.

    `unaddressed`: members of a download without an identity that Customer.io knows.
    `unnamed`: changes of people with neither `mpid` nor `person_hash`.
    """

    rows: int = 0
    changes: int = 0
    bad: int = 0
    unaddressed: int = 0
    unnamed: int = 0
    messages: int = 0


class BadRow(msgspec.Struct, frozen=True):
    """Where a row is that is no change, and why; `part` is empty for a single file."""

    part: str
    line: int
    reason: str


def survey(rows: Iterable[Row], *, on_rows: Callable[[int], None]) -> tuple[Survey, list[BadRow]]:
    """Read and check all rows; return the first bad ones too.

    `on_rows` gets the numbers of rows that were read.
    """
    found = Survey()
    bad: list[BadRow] = []

    def counted() -> Iterator[Row]:
        for row in rows:
            found.rows += 1
            match row.content:
                case Unaddressed():
                    found.unaddressed += 1
                case RowError() as error:
                    found.bad += 1
                    if len(bad) < MOST_SHOWN:
                        bad.append(BadRow(row.part, row.line, str(error)))
                case change:
                    found.changes += 1
                    found.unnamed += change.mpid is None and change.person_hash is None
            yield row

    for window in windows(counted()):
        found.messages += count_messages(window.changes)
        on_rows(window.rows)
    return found, bad


@dataclass(frozen=True, slots=True)
class Window:
    """Some consecutive rows: how many, and the changes in them."""

    rows: int
    changes: list[Change]


def windows(rows: Iterable[Row]) -> Iterator[Window]:
    """Yield the rows in windows of at most `WINDOW`."""
    remaining = iter(rows)
    while window := [*islice(remaining, WINDOW)]:
        yield Window(
            len(window), [each.content for each in window if isinstance(each.content, Change)]
        )


def count_messages(changes: Sequence[Change]) -> int:
    """Return how many messages changes make."""
    return sum(1 for _ in change_messages(changes, account_id=None, message_id=""))


class Progress(msgspec.Struct):
    """How much of an import was sent. `as_of_ms`: the time of the file, in Unix milliseconds.

    `fingerprint`: of the file, the stack, and the options that decide what is sent.
    """

    fingerprint: str
    as_of_ms: int
    survey: Survey
    sent_rows: int = 0
    sent_changes: int = 0

    @property
    def message_id(self) -> str:
        """The id of all its messages, which the log names."""
        return f"import-{self.fingerprint[:12]}"

    @property
    def left(self) -> int:
        """How many changes are not sent yet."""
        return self.survey.changes - self.sent_changes

    @property
    def is_done(self) -> bool:
        """Whether everything was sent."""
        return self.sent_rows == self.survey.rows


def progress_path(file: Path) -> Path:
    """Return the path of the progress file, beside the file."""
    return file.with_name(f"{file.name}.progress")


def load(file: Path) -> Progress | None:
    """Return the progress of a file's import; None if it has not begun.

    Raises OSError, or ValueError if the progress file is none.
    """
    try:
        return msgspec.json.decode(progress_path(file).read_bytes(), type=Progress)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise ValueError(f"it is no progress file: {error}") from None


def save(file: Path, progress: Progress) -> None:
    """Write the progress file, whole or not at all. Raises FileError."""
    path = progress_path(file)
    new = path.with_name(f"{path.name}.new")
    try:
        new.write_bytes(msgspec.json.format(msgspec.json.encode(progress)))
        new.replace(path)
    except OSError as error:
        raise FileError(f"{path}: cannot be written: {error.strerror}") from error


@dataclass(slots=True)
class Importer:
    """Puts changes on the queue of a stack, at most `rate` a second, for an mParticle account."""

    aws: Aws
    stack: Stack
    account_id: int | None
    rate: float
    sleep: Callable[[float], None]
    clock: Callable[[], float]
    _next_at: float = 0.0

    def run(
        self,
        file: Path,
        rows: Iterable[Row],
        progress: Progress,
        *,
        check: Callable[[], None],
        on_sent: Callable[[float], None],
    ) -> None:
        """Send what is not sent yet, and keep the progress file up to date.

        `check` raises an error if the file has changed. `on_sent` gets about the number of changes
        sent. Raises a RetryableError if SQS does not take all, and FileError if the progress file
        cannot be written: then, as after a crash, another run goes on.
        """
        for window in windows(islice(rows, progress.sent_rows, None)):
            check()
            for count in self.send(window.changes, message_id=progress.message_id):
                on_sent(count)
            progress.sent_rows += window.rows
            progress.sent_changes += len(window.changes)
            save(file, progress)

    def send_all(self, changes: Iterable[Change], *, message_id: str) -> Iterator[float]:
        """Send any number of changes; yield about how many there were in each request."""
        remaining = iter(changes)
        while window := [*islice(remaining, WINDOW)]:
            yield from self.send(window, message_id=message_id)

    def send(self, changes: Sequence[Change], *, message_id: str) -> Iterator[float]:
        """Send changes; yield about how many there were in each request."""
        messages = change_messages(changes, account_id=self.account_id, message_id=message_id)
        bodies = [body for body, _ in messages]
        with ThreadPoolExecutor(1) as executor:
            sender = Sender(
                self.aws.sqs,
                executor,
                queue_url=self.stack.queue_url,
                draw=uniform,
                sleep=self.sleep,
                group=_GROUP,
            )
            for request in batch_requests(bodies, len):
                self.sleep(max(0.0, self._next_at - self.clock()))
                sender.send(request, account_id=self.account_id, deadline=NO_DEADLINE)
                count = len(changes) * len(request) / len(bodies)
                self._next_at = max(self._next_at, self.clock()) + count / self.rate
                yield count

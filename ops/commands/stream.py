"""Stream: the commands for the audience stream."""

from __future__ import annotations

import random
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import click

from handler.sender import Sender
from ops import show
from ops.commands import options
from ops.commands.context import OK, PROBLEM, Context
from ops.stream_archive import Folder, find
from ops.stream_replay import Replay

_GROUP: Final = "replay"
"""The message group, so that what mParticle sends meanwhile does not wait for a replay."""


@click.group()
def stream() -> None:
    """Send records of the audience stream again."""


@stream.command("replay")
@click.option(
    "--failed/--archive",
    "is_failed",
    default=True,
    show_default=True,
    help="Records that could not be put on the queue, or those that were.",
)
@click.option(
    "--from",
    "first",
    metavar="TIME",
    required=True,
    help="When the first of them arrived, such as 2026-11-25 or 2026-11-25T13:30; in UTC, unless "
    "it names another time zone.",
)
@click.option(
    "--to", "last", metavar="TIME", help="When the last of them arrived; by default now."
)
@click.option("--dry-run", is_flag=True, help="Only read and count.")
@click.option(
    "--rate",
    type=click.IntRange(1, 500),
    default=10,
    show_default=True,
    help="Send at most so many messages a second. Each can hold hundreds of people.",
)
@options.yes
@options.shared
def stream_replay(
    *, is_failed: bool, first: str, last: str | None, dry_run: bool, rate: int, yes: bool
) -> int:
    """Put what the stream's records say on the queue again.

    It reads the records that arrived in a span of time from the stream's bucket. The hour is the
    smallest part that the bucket knows, so it may read some that arrived shortly before or after.
    Records that arrive twice do no harm: if you stop the command, start it again.
    """
    context = Context.current()
    audience_stream = context.stack.stream
    if audience_stream is None:
        raise click.UsageError("the stack has no audience stream")
    start, end = options.moment(first), context.now if last is None else options.moment(last)
    if end < start:
        raise click.UsageError(f"--from is after {'--to' if last else 'now'}")
    folder = Folder.FAILED if is_failed else Folder.RECORDS
    objects = find(context.aws.s3, audience_stream.bucket, folder, start=start, end=end)
    if not dry_run:
        size = sum(stored.size for stored in objects) / 1e6
        which = f"{len(objects)} objects ({size:.1f} MB) of {folder}"
        context.confirm(f"Send the changes in {which} again?", yes=yes)
    replay = Replay(
        context.aws.s3,
        audience_stream.bucket,
        audience_stream.account_id,
        message_id=f"replay-{uuid.uuid4().hex[:12]}",
    )
    with ThreadPoolExecutor() as executor, context.progress() as bar:
        task = bar.add_task("Reading" if dry_run else "Replaying", total=len(objects))
        sender = Sender(
            context.aws.sqs,
            executor,
            queue_url=context.stack.queue_url,
            draw=random.uniform,
            sleep=time.sleep,
            group=_GROUP,
        )
        for _ in replay.run(objects, None if dry_run else sender, rate=rate):
            bar.advance(task)
    context.output(replay.counts, *show.replay(replay.counts, is_dry_run=dry_run))
    return PROBLEM if replay.counts.unreadable else OK

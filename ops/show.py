"""Show: tables and texts for a person at a terminal. commands/ chooses what to show."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from rich import box
from rich.console import Console, Group
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from ops import dead_letters
from ops.audiences import NamedAudience
from ops.check import Check
from ops.queues import Depth
from ops.scan import Estimate
from ops.smoke import Step
from ops.status import Invocations, Status
from ops.stream_replay import Counts

MOST_AUDIENCES: Final = 3
"""Audiences that are shown of a group of dead letters."""


def table(title: str, *columns: str, rows: Iterable[Sequence[object]]) -> Table:
    """Return a table; markup in its cells has no effect."""
    made = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    made.show_header = any(columns)
    for column in columns:
        made.add_column(column, overflow="fold")
    for row in rows:
        made.add_row(*(cell if isinstance(cell, Text) else Text(str(cell)) for cell in row))
    return made


def progress(console: Console) -> Progress:
    """Return a progress bar, which is invisible without a terminal."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        console=console,
        disable=not console.is_terminal,
    )


def mark(*, is_ok: bool, is_warning: bool = False) -> Text:
    """Return a mark that needs no colour to be read."""
    if is_ok and is_warning:
        return Text("!", style="bold yellow")
    return Text("✓", style="green") if is_ok else Text("✗", style="bold red")


def age(seconds: float) -> str:
    """Return an age in its largest unit."""
    for unit, name in ((86_400, "days"), (3_600, "hours"), (60, "minutes")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.0f} {name}"
    whole = round(max(0.0, seconds))
    return f"{whole} second{'' if whole == 1 else 's'}"


def duration(seconds: float) -> str:
    """Return how long something takes, by an estimate."""
    return f"about {age(seconds)}" if round(seconds) > 1 else "a second or less"


def since(moment: float, now: float) -> str:
    """Return a moment in UTC, and how long ago it was; both arguments in Unix seconds."""
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M:%S} UTC ({age(now - moment)} ago)"


def status(current: Status, now: float) -> Group:
    """Return the stack at a glance."""
    parts: list[Any] = [table("Now", "", "", "", rows=_status_rows(current))]
    moment = since(current.logged_since, now)
    if current.errors:
        columns = ("times", "function", "event", "error type", "reason")
        rows = [
            (error.count, error.function, error.event, error.error_type, error.reason)
            for error in current.errors
        ]
        parts.append(table(f"Logged since {moment}", *columns, rows=rows))
    elif current.failed:
        parts.append(Text(f"The log names no error since {moment}."))
    else:
        parts.append(Text(f"No errors since {moment}."))
    if current.is_cut_off:
        parts.append(Text("There are earlier errors, too many to be read here."))
    return Group(*parts, *(Text(f"→ {step}") for step in current.next_steps))


def _status_rows(current: Status) -> list[tuple[Text, str, str]]:
    dead, retries = current.dead_letters, current.retry_queue
    rows = [
        (mark(is_ok=current.is_ready), "stack", current.stack),
        (mark(is_ok=True), "version", current.version),
        (mark(is_ok=True), "queue", depth(current.queue)),
        (mark(is_ok=True, is_warning=retries.count > 0), "retry queue", depth(retries)),
        (mark(is_ok=not dead.count), "dead-letter queue", depth(dead)),
        *(
            (mark(is_ok=state == "Enabled"), f"event source mapping of the {queue}", state)
            for queue, state in current.mappings.items()
        ),
        (
            mark(is_ok=not current.firing_alarms),
            "alarms that fire",
            "\n".join(current.firing_alarms) or "none",
        ),
        _invocations("function", "invocations", current.forwarder),
        _invocations("walker", "steps of walks", current.walker),
    ]
    if current.ingress:
        rows.append(_invocations("ingress", "requests", current.ingress))
    if stream := current.stream:
        failed = f"{stream.state}, objects with failed records in the last day: "
        rows += [
            (
                mark(is_ok=stream.is_active, is_warning=stream.failed_objects > 0),
                "audience stream",
                f"{failed}{stream.failed_objects}",
            ),
            _invocations("function of the stream", "invocations", stream.function),
        ]
    return rows


def _invocations(name: str, what: str, counts: Invocations) -> tuple[Text, str, str]:
    text = f"{counts.count} {what}, {counts.failed} of them failed"
    return mark(is_ok=not counts.failed), name, text


def depth(of: Depth) -> str:
    """Return how many messages are on a queue."""
    hidden = f"{of.hidden} hidden (received, or waiting for the next try)"
    text = f"about {of.waiting} waiting, {hidden}"
    return text if of.oldest_s is None else f"{text}; the oldest is {age(of.oldest_s)} old"


def checks(results: Sequence[Check]) -> Group:
    """Return each check with its mark, and the fixes below."""
    marks = [mark(is_ok=check.is_ok, is_warning=bool(check.fix)) for check in results]
    marked = list(zip(marks, results, strict=True))
    rows = [(each, check.name, check.result) for each, check in marked]
    fixes = [
        Text(f"{each.plain} {check.name}: {check.fix}") for each, check in marked if check.fix
    ]
    return Group(table("Checks", "", "", "result", rows=rows), *fixes)


def replay(counts: Counts, *, is_dry_run: bool) -> Iterator[object]:
    """Yield what a replay has sent, or would send, and what it could not read."""
    sent = "Would send" if is_dry_run else "Sent"
    yield (
        f"{sent} {counts.changes} changes in {counts.messages} messages. "
        f"Read {counts.objects} objects."
    )
    if counts.unreadable:
        title = f"Cannot be read: {counts.unreadable}"
        if counts.unreadable > len(counts.first_unreadable):
            title += f", the first {len(counts.first_unreadable)} of them"
        rows = [(each.object, each.line, each.reason) for each in counts.first_unreadable]
        yield table(title, "object", "line", "reason", rows=rows)


def step(ended: Step) -> Text:
    """Return a step of `ops smoke` in one line."""
    sign = mark(is_ok=ended.is_ok, is_warning=ended.is_warning)
    text = Text(f"{ended.seconds:6.1f} s  ")
    return text.append_text(sign).append(f" {ended.name:25}{ended.result}")


def groups(title: str, letter_groups: Sequence[dead_letters.Group], now: float) -> Table:
    """Return dead letters by error type."""
    rows = [
        (
            group.error_type,
            group.count,
            since(group.oldest_sent_at, now),
            group.reason,
            _audiences_of(group),
            group.source_message_ids[0],
        )
        for group in letter_groups
    ]
    columns = ("error type", "count", "oldest", "its reason", "audiences", "its source message id")
    made = table(title, *columns, rows=rows)
    made.columns[-1].no_wrap = True  # so that it can be copied
    return made


def _audiences_of(group: dead_letters.Group) -> str:
    names = [
        f"{name} ({audience_id})" if name else str(audience_id)
        for audience_id, name in group.audiences.items()
    ]
    more = len(names) - MOST_AUDIENCES
    shown = names[:MOST_AUDIENCES]
    return "\n".join([*shown, f"and {more} more"] if more > 0 else shown)


def dollars(amount: float) -> str:
    """Return an amount of money, to the cent."""
    return f"{amount:.2f} dollars" if amount >= 0.01 else "under 0.01 dollars"


def estimate(of: Estimate) -> str:
    """Return what reading the whole table takes."""
    return (
        f"The table has about {of.items:,} items, {of.bytes / 1e6:,.0f} MB, as DynamoDB counted "
        f"in the last six hours. Reading all of it takes {duration(of.seconds)} and "
        f"{of.read_units:,.0f} read units, {dollars(of.dollars)}."
    )


def audiences(listed: Sequence[NamedAudience], now: float) -> Group | Text:
    """Return audiences by workspace."""
    if not listed:
        return Text("No message has named an audience yet.")
    by_site_id: defaultdict[str, list[NamedAudience]] = defaultdict(list)
    for audience in listed:
        by_site_id[audience.site_id].append(audience)
    members = ("members",) if any(each.members is not None for each in listed) else ()
    columns = ("audience", "name", *members, "former names", "removed by mParticle")
    return Group(
        *(
            table(
                f"Workspace {site_id}",
                *columns,
                rows=[_audience_row(audience, now) for audience in theirs],
            )
            for site_id, theirs in by_site_id.items()
        )
    )


def _audience_row(audience: NamedAudience, now: float) -> tuple[object, ...]:
    former = [f"{each.name}, until {since(each.ended_at, now)}" for each in audience.former_names]
    removed = "" if audience.removed_at is None else since(audience.removed_at, now)
    name = audience.name or "not known"
    members = () if audience.members is None else (f"{audience.members:,}",)
    return audience.audience_id, name, *members, "\n".join(former), removed


def pretty(value: Any) -> Text:
    """Return JSON over several lines, or a text unchanged."""
    text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
    return Text(text)

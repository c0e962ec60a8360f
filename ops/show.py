"""Show: what a person at a terminal sees; commands/ decides what, and what a machine gets."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from rich import box
from rich.console import Console, Group
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from ops import dead_letters
from ops.checks import Check
from ops.status import Depth, Invocations, Status


def table(title: str, *columns: str, rows: Iterable[Sequence[object]]) -> Table:
    """Return a table; texts in it are shown as they are."""
    shown = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    shown.show_header = any(columns)
    for column in columns:
        shown.add_column(column, overflow="fold")
    for row in rows:
        shown.add_row(*(cell if isinstance(cell, Text) else Text(str(cell)) for cell in row))
    return shown


def progress(console: Console) -> Progress:
    """Return a bar that counts up to about as many as there are; none without a terminal."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        console=console,
        disable=not console.is_terminal,
    )


def mark(*, is_ok: bool, is_warning: bool = False) -> Text:
    """Return a mark that is told apart without its colour too."""
    if is_ok and is_warning:
        return Text("!", style="bold yellow")
    return Text("✓", style="green") if is_ok else Text("✗", style="bold red")


def age(seconds: float) -> str:
    """Return an age as a person says it."""
    for unit, name in ((86_400, "days"), (3_600, "hours"), (60, "minutes")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{max(0.0, seconds):.0f} seconds"


def since(moment: float, now: float) -> str:
    """Return when something was, and how long ago; both in Unix seconds."""
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M:%S} UTC ({age(now - moment)} ago)"


def status(found: Status, now: float) -> Group:
    """Return the stack at a glance."""
    dead, retries = found.dead_letters, found.retry_queue
    rows = [
        (mark(is_ok=found.is_ready), "stack", found.stack),
        (mark(is_ok=True), "version", found.version),
        (mark(is_ok=True), "queue", _depth(found.queue)),
        (mark(is_ok=True, is_warning=retries.count > 0), "retry queue", _depth(retries)),
        (mark(is_ok=not dead.count), "dead-letter queue", _depth(dead)),
        *(
            (mark(is_ok=state == "Enabled"), f"event source mapping of the {queue}", state)
            for queue, state in found.mappings.items()
        ),
        (mark(is_ok=not found.ringing), "alarms", "\n".join(found.ringing) or "none rings"),
        _ran("function", "invocations", found.forwarder),
    ]
    if found.ingress:
        rows.append(_ran("ingress", "requests", found.ingress))
    parts: list[Any] = [table("Now", "", "", "", rows=rows)]
    if found.troubles:
        columns = ("times", "function", "event", "error type", "reason")
        seen = [
            (one.count, one.function, one.event, one.error_type, one.reason)
            for one in found.troubles
        ]
        title = f"Logged since {since(found.logged_since, now)}"
        parts.append(table(title, *columns, rows=seen))
    elif found.failed:
        parts.append(Text(f"The log tells of nothing since {since(found.logged_since, now)}."))
    else:
        parts.append(Text(f"Nothing went wrong since {since(found.logged_since, now)}."))
    if found.is_cut_off:
        parts.append(Text("What was logged before that is more than is read here."))
    return Group(*parts, *(Text(f"→ {step}") for step in found.next_steps))


def _ran(name: str, what: str, ran: Invocations) -> tuple[Text, str, str]:
    return mark(is_ok=not ran.failed), name, f"{ran.count} {what}, {ran.failed} of them failed"


def _depth(depth: Depth) -> str:
    hidden = f"{depth.hidden} hidden (received, or waiting for the next try)"
    text = f"about {depth.waiting} waiting, {hidden}"
    return (
        text if depth.oldest_s is None else f"{text}; the oldest waits for {age(depth.oldest_s)}"
    )


def checks(found: Sequence[Check]) -> Group:
    """Return each check with its mark, and the mends below."""
    marks = [mark(is_ok=check.is_ok, is_warning=bool(check.mend)) for check in found]
    rows = [(one, check.name, check.found) for one, check in zip(marks, found, strict=True)]
    mends = [
        Text(f"{one.plain} {check.name}: {check.mend}")
        for one, check in zip(marks, found, strict=True)
        if check.mend
    ]
    return Group(table("Checks", "", "", "found", rows=rows), *mends)


def groups(title: str, found: Sequence[dead_letters.Group], now: float) -> Table:
    """Return letters by error type."""
    rows = [
        (
            group.error_type,
            group.count,
            since(group.oldest_sent_at, now),
            group.reason,
            group.source_message_ids[0],
        )
        for group in found
    ]
    columns = ("error type", "count", "oldest", "its reason", "its source message id")
    shown = table(title, *columns, rows=rows)
    shown.columns[-1].no_wrap = True  # to be copied
    return shown


def pretty(value: Any) -> Text:
    """Return JSON over several lines, or a text as it is."""
    shown = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
    return Text(shown)

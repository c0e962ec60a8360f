"""Results: what `make run` prints of events and of what they did."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from local.events import SampleEvent, SetAside
from local.fake_customerio.people import PersonRecord


@dataclass(frozen=True, slots=True)
class Outcome:
    """The results of one event."""

    name: str
    people: Sequence[PersonRecord]
    set_aside: Sequence[SetAside]
    differences: Sequence[str]
    is_drained: bool


def show_sent(console: Console, name: str, sample: SampleEvent) -> None:
    """Show what an event is for, and what is sent."""
    console.print()
    console.print(Text(name, style="bold"))
    console.print(Text(sample.description))
    if sample.is_request:
        console.print(Text(f"  → to the ingress: {_summary(sample.text)}"), style="cyan")
    if sample.is_for_stream:
        console.print(Text("  → into the audience stream: one record"), style="cyan")
    for record in sample.records:
        console.print(Text(f"  → {_summary(record.body)}"), style="cyan")
    if sample.file:
        console.print(Text(f"  → ops import {sample.file}"), style="cyan")
    if sample.resync:
        deleted, audience_id = sample.resync.deleted_customer_id, sample.resync.audience_id
        console.print(Text(f"  → {deleted} is deleted in Customer.io"), style="cyan")
        console.print(Text(f"  → ops resync --audience {audience_id}"), style="cyan")


def _summary(body: str) -> str:
    """Describe a message in one line."""
    try:
        content = json.loads(body)
        if "Message" in content:
            return f"SNS notification of: {_summary(content['Message'])}"
        if "subject_request_type" in content:
            return f"{content['type']}: {content['subject_request_type']}"
        profiles = content.get("user_profiles") or []
        changes = [
            f"{audience['action']} {audience['audience_id']}"
            for profile in profiles
            for audience in profile["audiences"]
        ]
    except (ValueError, KeyError, TypeError):
        return f"not a message, {len(body)} characters: {body[:60]}"
    shown = ", ".join(changes[:4]) + (f" and {len(changes) - 4} more" if len(changes) > 4 else "")
    return f"{content.get('type')}, profiles: {len(profiles)}{f' ({shown})' if shown else ''}"


def show_outcome(console: Console, outcome: Outcome) -> None:
    """Show what an event did, and how that differs from what its file expects."""
    for person in outcome.people:
        known_as = ", ".join(f"{kind} {value}" for kind, value in person.identifiers.items())
        with_events = f", with events: {len(person.events)}" if person.events else ""
        console.print(Text(f"  ← Customer.io has {known_as}{with_events}"), style="green")
    for message in outcome.set_aside:
        console.print(Text(f"  ← set aside: {message.error_type}"), style="yellow")
    if not (outcome.people or outcome.set_aside):
        console.print("  ← nothing changed", style="green")
    for difference in outcome.differences:
        console.print(Text(f"  ✗ {difference}"), style="bold red")


def show_people(
    console: Console, people: Sequence[PersonRecord], outcomes: Sequence[Outcome]
) -> None:
    """Show people as a table, each with the last event that updated them."""
    sources = {person.cio_id: outcome.name for outcome in outcomes for person in outcome.people}
    table = _table(
        "People, as Customer.io now holds them", "event", "person", "attributes, and events"
    )
    for person in people:
        attributes = "\n".join(
            f"{name} = {_shortened(value if isinstance(value, str) else json.dumps(value))}"
            for name, value in sorted(person.attributes.items())
        )
        happened = "".join(
            f"\n{event.name}: {', '.join(map(str, event.attributes.values()))}"
            for event in person.events
        )
        identifiers = "\n".join(f"{kind} = {value}" for kind, value in person.identifiers.items())
        table.add_row(
            sources.get(person.cio_id, ""), Text(identifiers), Text(attributes + happened)
        )
    console.print()
    console.print(table)


def show_set_aside(console: Console, outcomes: Sequence[Outcome]) -> None:
    """Show all that is in the dead-letter queue."""
    if not any(outcome.set_aside for outcome in outcomes):
        console.print("\nNothing was set aside.")
        return
    table = _table("Set aside, and why", "event", "ErrorType", "ErrorMessage", "SourceMessageId")
    for outcome in outcomes:
        for message in outcome.set_aside:
            table.add_row(
                outcome.name,
                message.error_type or "(moved by SQS)",
                Text(message.error_message),
                message.source_message_id,
            )
    console.print()
    console.print(table)


def show_verdict(console: Console, outcomes: Sequence[Outcome], seconds: float) -> int:
    """Show whether all is as expected; return the exit status."""
    failed = [outcome.name for outcome in outcomes if outcome.differences]
    console.print()
    if failed:
        console.print(Text(f"Not as expected: {', '.join(failed)}"), style="bold red")
    else:
        console.print(Text(f"All {len(outcomes)} as expected"), style="bold green", end=" ")
        console.print(f"after {seconds:.0f} s. Nothing is left running.")
    return 1 if failed else 0


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=box.ROUNDED)
    table.show_lines = True
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _shortened(text: str, length: int = 100) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}… ({len(text)} characters)"

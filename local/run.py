"""Run: `make run`. Sends the sample events through the whole stack, and shows the results.

The exit status is 0 if all results are as the event files expect.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from local import deployment, events
from local.command import run
from local.events import SampleEvent, SetAside
from local.fake_customerio.people import PersonRecord
from local.operations import delete_in_customerio, import_file, resync_audience
from local.stack import Stack

_ALL: Final = [
    *events.all_files(),
    *events.all_requests(),
    *events.all_stream_records(),
    *events.all_imports(),
    *events.all_resyncs(),
]


@dataclass(frozen=True, slots=True)
class _Outcome:
    """The results of one event."""

    name: str
    people: Sequence[PersonRecord]
    set_aside: Sequence[SetAside]
    differences: Sequence[str]
    is_drained: bool


def main() -> int:
    """Run the event files named on the command line, or all; return the exit status."""
    parser = argparse.ArgumentParser(prog="make run", description=__doc__)
    parser.add_argument("files", nargs="*", type=Path, default=_ALL)
    files: list[Path] = parser.parse_args().files
    samples = {_name(file): (file.parent, events.read(file)) for file in files}
    # Without a terminal, the width is fixed.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    started = time.monotonic()
    with console.status("Starting") as status:

        def tell(step: str) -> None:
            status.update(step)
            console.print(f"[dim]{time.monotonic() - started:4.0f} s[/]  {step}")

        with deployment.running(tell) as running:
            tell(f"Sending {len(samples)} sample {'event' if len(samples) == 1 else 'events'}")
            outcomes = []
            for name, (folder, sample) in samples.items():
                status.update(f"Sending {name}")
                _show_sent(console, name, sample)
                outcome = _forward(running, name, sample, folder)
                _show_outcome(console, outcome)
                outcomes.append(outcome)
                if not outcome.is_drained:
                    console.print(
                        "Stopping here: these messages would mix with those of the next event.",
                        style="red",
                    )
                    break
            people = running.customerio.people()
    _show_people(console, people, outcomes)
    _show_set_aside(console, outcomes)
    return _verdict(console, outcomes, time.monotonic() - started)


def _name(file: Path) -> str:
    folder = file.parent.name
    return file.stem if folder == "events" else f"{folder}/{file.stem}"


def _forward(running: Stack, name: str, sample: SampleEvent, folder: Path) -> _Outcome:
    before = running.customerio.people()
    message_ids: list[str] = []
    differences = []
    if sample.is_request:
        succeeded, answer = running.ask(sample.text.encode())
        if not succeeded or answer["type"] != sample.type.replace("_request", "_response"):
            differences.append(f"the ingress answered {answer}")
    elif sample.is_for_stream:
        running.put(sample.text.encode())
    elif sample.file:
        if status := import_file(running, folder / sample.file):
            differences.append(f"ops import ended with {status}")
    else:
        message_ids = running.send([record.body for record in sample.records])
    is_drained = True
    try:
        running.wait_until_drained()
        if sample.resync:
            delete_in_customerio(running, sample.resync.deleted_customer_id)
            if status := resync_audience(running, sample.resync.audience_id):
                differences.append(f"ops resync ended with {status}")
        running.wait_for_walks()
    except TimeoutError as error:
        differences.append(str(error))
        is_drained = False
    people = events.updated(before, running.customerio.people())
    set_aside = running.take_set_aside()
    differences += events.differences(
        sample, people=people, set_aside=set_aside, message_ids=message_ids
    )
    return _Outcome(name, people, set_aside, differences, is_drained)


def _show_sent(console: Console, name: str, sample: SampleEvent) -> None:
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


def _show_outcome(console: Console, outcome: _Outcome) -> None:
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


def _show_people(
    console: Console, people: Sequence[PersonRecord], outcomes: Sequence[_Outcome]
) -> None:
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


def _show_set_aside(console: Console, outcomes: Sequence[_Outcome]) -> None:
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


def _verdict(console: Console, outcomes: Sequence[_Outcome], seconds: float) -> int:
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


if __name__ == "__main__":
    run(main)

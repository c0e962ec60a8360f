"""Run: `make run`. Sends the sample events through the whole stack, and shows the results.

The exit status is 0 if all results are as the event files expect.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Final

from rich.console import Console

from local import deployment, events
from local.command import run
from local.events import SampleEvent
from local.operations import delete_in_customerio, import_file, resync_audience
from local.results import (
    Outcome,
    show_outcome,
    show_people,
    show_sent,
    show_set_aside,
    show_verdict,
)
from local.stack import Stack

_ALL: Final = [
    *events.all_files(),
    *events.all_requests(),
    *events.all_stream_records(),
    *events.all_imports(),
    *events.all_resyncs(),
]


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
                show_sent(console, name, sample)
                outcome = _forward(running, name, sample, folder)
                show_outcome(console, outcome)
                outcomes.append(outcome)
                if not outcome.is_drained:
                    console.print(
                        "Stopping here: these messages would mix with those of the next event.",
                        style="red",
                    )
                    break
            people = running.customerio.people()
    show_people(console, people, outcomes)
    show_set_aside(console, outcomes)
    return show_verdict(console, outcomes, time.monotonic() - started)


def _name(file: Path) -> str:
    folder = file.parent.name
    return file.stem if folder == "events" else f"{folder}/{file.stem}"


def _forward(running: Stack, name: str, sample: SampleEvent, folder: Path) -> Outcome:
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
    return Outcome(name, people, set_aside, differences, is_drained)


if __name__ == "__main__":
    run(main)

"""Invoke: `make invoke EVENT=events/join.json`. Invokes the deployed function with an event file.

A file of events/firehose goes to the ingress, and any other to the forwarder. The command uses the
stack that `make local` runs, or else starts one for this call.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from local import deployment, emulator, events
from local.command import run
from local.serve import running_stack
from local.stack import Stack

_SECONDS_TO_FORWARD: Final = 15.0
"""How long to wait for a request's changes; later ones are still retried."""


def main() -> int:
    """Invoke the function, print its answer, and return 1 if it failed."""
    parser = argparse.ArgumentParser(prog="make invoke EVENT=FILE", description=__doc__)
    parser.add_argument(
        "file", type=Path, help="such as events/join.json, or a request in events/firehose"
    )
    file: Path = parser.parse_args().file
    event = events.as_of(time.time(), events.text_of(file)).encode()
    is_request = file.resolve().parent.name == "firehose"
    # Texts of one line stay on it, to be copied, and brackets in them are no markup.
    console = Console(highlight=False, markup=False, soft_wrap=True)
    emulator.isolate(os.environ)
    if running := running_stack():
        console.print("Invoking the function of the stack that `make local` runs.")
        return _invoke(console, running, event, is_request=is_request)
    with console.status("Starting") as status:

        def tell(step: str) -> None:
            status.update(step)
            console.print(step, style="dim")

        with deployment.running(tell) as running:
            status.stop()
            console.print("`make local` is not running, so this stack is for this call only.")
            return _invoke(console, running, event, is_request=is_request)


def _invoke(console: Console, running: Stack, event: bytes, *, is_request: bool) -> int:
    before = running.customerio.people()
    succeeded, answer = running.ask(event) if is_request else running.invoke(event)
    console.print(f"It {'answered' if succeeded else 'failed with'}:")
    console.print(json.dumps(answer, indent=2))
    if is_request:
        try:
            running.wait_until_drained(_SECONDS_TO_FORWARD)
        except TimeoutError as error:
            console.print(f"{error}; they are retried later")
    for person in events.updated(before, running.customerio.people()):
        console.print(f"Customer.io has {_json(person.identifiers)}: {_json(person.attributes)}")
        for happened in person.events:
            console.print(f"  {happened.name}: {_json(happened.attributes)}")
    if waiting := running.dead_letters():
        console.print(f"Messages in the dead-letter queue: {waiting}")
    return 0 if succeeded else 1


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


if __name__ == "__main__":
    run(main)

"""Serve: `make local`. Runs the whole stack until Ctrl-C, and shows how to use it."""

from __future__ import annotations

import json
import shlex
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec
from rich.console import Console
from rich.text import Text

from local import deployment, emulator, stack
from local.command import run
from local.stack import INGRESS_TOKEN, Address, Stack

_NOTE: Final = Path(__file__).parents[1] / ".tools/local.json"
"""The addresses of the stack that `make local` runs, for `make invoke`."""

_ANOTHER_KEY: Final = "another-key"
"""The API key of the example in which Customer.io refuses the function's key."""


def main() -> int:
    """Start the stack, show how to use it, and wait for Ctrl-C."""
    console = Console(highlight=False)
    with console.status("Starting") as status:

        def tell(step: str) -> None:
            status.update(step)
            console.print(step, style="dim")

        with deployment.running(tell) as running, _noted(running.address):
            status.stop()
            _explain(console, running)
            threading.Event().wait()
    return 0


def running_stack() -> Stack | None:
    """Return the stack that `make local` runs, or None."""
    try:
        address = msgspec.json.decode(_NOTE.read_bytes(), type=Address)
    except (OSError, msgspec.DecodeError):
        return None
    running = emulator.Emulator(address.emulator_url, Path(address.emulator_directory))
    return Stack.at(address) if running.answers() else None


@contextmanager
def _noted(address: Address) -> Iterator[None]:
    note = msgspec.json.encode(address)
    _NOTE.write_bytes(note)
    try:
        yield
    finally:
        # Another `make local` may have replaced it.
        if _NOTE.exists() and _NOTE.read_bytes() == note:
            _NOTE.unlink()


def _explain(console: Console, running: Stack) -> None:
    facts = {
        "Customer.io's page": running.customerio.url,
        "AWS endpoint": running.emulator.url,
        "Queue URL": running.queue_url,
        "Retry queue URL": running.retry_queue_url,
        "DLQ URL": running.dead_letter_queue_url,
        "Function": running.function_name,
        "Ingress": running.ingress_arn,
        "Ingress URL": running.ingress_url,
        "Audience stream": running.stream_name,
        "Log": str(running.emulator.log),
    }
    console.print()
    for name, value in facts.items():
        console.print(f"{name:20}[bold]{value}[/]", soft_wrap=True)
    console.print("\nIn another terminal, set these variables once:\n")
    console.print(Text(_export(running)), soft_wrap=True)
    console.print("\nThen see the status, and send a made-up person through the stack:\n")
    for command in ("status", "smoke"):
        console.print(Text(f".venv/bin/ops {command}"), soft_wrap=True)
    console.print("\nSend a sample event, list what was set aside, and show one of its people:\n")
    for command in (
        "send events/bad_profile.json",
        "dlq list",
        "person explain --id bad-profile-ivo",
        "--help",
    ):
        console.print(Text(f".venv/bin/ops {command}"), soft_wrap=True)
    console.print(
        "\nImport people, compare the file with the table, resync and export everybody:\n"
    )
    for command in _file_commands(running):
        console.print(Text(command), soft_wrap=True)
    console.print("\nSend a message of your own:\n")
    console.print(Text(_send_command(running)), soft_wrap=True)
    console.print("\nOr send one as mParticle does, to the ingress or to its URL:\n")
    console.print("make invoke EVENT=events/firehose/join.json\n")
    console.print(Text(_invoke_command(running)), soft_wrap=True)
    console.print()
    console.print(Text(_post_command(running)), soft_wrap=True)
    console.print("\nOr put a record into the audience stream, as mParticle does:\n")
    console.print(Text(_put_command(running)), soft_wrap=True)
    console.print("\nGive Customer.io another API key, so that it refuses the function's:\n")
    console.print(Text(_rotate_command(running)), soft_wrap=True)
    console.print(f"\nFix it: put that key, `{_ANOTHER_KEY}`, into the secret:\n")
    console.print(Text(f".venv/bin/ops credentials put --site-id {stack.SITE_ID}"), soft_wrap=True)
    console.print("\n`make invoke EVENT=events/join.json` invokes the function of this stack.")
    console.print("Ctrl-C stops everything.")


def _file_commands(running: Stack) -> list[str]:
    # A copy was made now, as an import asks for, and its progress file goes with the stack.
    folder = running.emulator.directory
    people = shlex.quote(str(folder / "people.csv"))
    return [
        f"cp events/import/people.csv {people}",
        f".venv/bin/ops import {people}",
        f".venv/bin/ops reconcile {people}",
        ".venv/bin/ops audiences --sizes",
        ".venv/bin/ops resync",
        f".venv/bin/ops export {shlex.quote(str(folder / 'everybody.jsonl'))}",
    ]


def _invoke_command(running: Stack) -> str:
    # Every version of the AWS CLI passes a file unchanged; version 2 reads a text as base64.
    return (
        f"printf %s {shlex.quote(json.dumps(_example()))} \\\n"
        f"  | aws lambda invoke --function-name {running.ingress_arn} \\\n"
        "      --payload fileb:///dev/stdin /dev/stdout"
    )


def _post_command(running: Stack) -> str:
    return (
        f"curl --cacert {shlex.quote(str(running.emulator.certificate))} \\\n"
        f"  --header 'Authorization: Token {INGRESS_TOKEN}' \\\n"
        "  --header 'Content-Type: application/json' \\\n"
        f"  --data {shlex.quote(json.dumps(_example()))} \\\n"
        f"  {running.ingress_url}"
    )


def _put_command(running: Stack) -> str:
    return (
        f"printf %s {shlex.quote(json.dumps(_record()))} \\\n"
        f"  | aws firehose put-record --delivery-stream-name {running.stream_name} \\\n"
        "      --record Data@=fileb:///dev/stdin"
    )


def _export(running: Stack) -> str:
    variables = {
        **running.emulator.variables,
        "AWS_DEFAULT_REGION": emulator.REGION,
        "AWS_ACCESS_KEY_ID": emulator.ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": emulator.ACCESS_KEY,
    }
    return " \\\n  ".join(
        ["export", *(f"{name}={shlex.quote(value)}" for name, value in variables.items())]
    )


def _send_command(running: Stack) -> str:
    # Version 1 of the AWS CLI ignores the address in the environment for SQS.
    return (
        f"aws sqs send-message --endpoint-url {running.emulator.url} \\\n"
        f"  --queue-url {running.queue_url} \\\n"
        f"  --message-body {shlex.quote(json.dumps(_example()))}"
    )


def _rotate_command(running: Stack) -> str:
    accounts = shlex.quote(json.dumps({stack.SITE_ID: _ANOTHER_KEY}))
    return f"curl -X PUT {running.customerio.url}/control/accounts -d {accounts}"


def _example() -> dict[str, object]:
    return {
        "type": "audience_membership_change_request",
        "id": "by-hand",
        "timestamp_ms": int(time.time() * 1000),
        "account": {"account_id": 1001},
        "user_profiles": [
            {
                "mpid": "4242",
                "user_identities": [
                    {"type": "customer", "encoding": "raw", "value": "by-hand"},
                    {"type": "email", "encoding": "raw", "value": "someone@example.com"},
                ],
                "audiences": [{"audience_id": 11034, "audience_name": "By hand", "action": "add"}],
            }
        ],
    }


def _record() -> dict[str, object]:
    return {
        "MembershipChangedTimestamp": str(int(time.time())),
        "AudienceId": 11034,
        "AudienceName": "By hand",
        "IsMember": True,
        "UserIdentities": {"CustomerId": "by-hand", "Email": "someone@example.com"},
    }


if __name__ == "__main__":
    run(main)

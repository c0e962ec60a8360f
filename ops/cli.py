"""Cli: the commands. The one place that asks, tells, and ends with a status.

What they do is in the other rooms, and what it looks like in show.py.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, Final, TypeVar

import click
import msgspec
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console
from rich.progress import Progress

from handler.domain.membership import is_member
from handler.domain.workspace import Region, Workspace
from handler.errors import ForwarderError
from handler.settings import Settings
from ops import dead_letters, people, secret, show
from ops import mapping as mappings
from ops import stack as stacks
from ops import status as statuses
from ops.checks import Checks, told
from ops.dead_letters import DeadLetter, DeadLetters, Moved, Selection
from ops.masking import masked, masked_body, masked_json

FINE: Final = 0
TROUBLE: Final = 1
USAGE: Final = 2  # click's own
OUT_OF_REACH: Final = 3
STOPPED: Final = 4

_HELP: Final = """See what is wrong with a deployed audience forwarder, and mend it.

\b
Ends with
  0  done, and all is well
  1  done, and something is wrong: a check failed, messages are set aside, were left or are
     hidden by somebody else, nobody was found
  2  wrong usage, or a file that cannot be used; nothing was done
  3  AWS, Customer.io or the stack is out of reach, or refused; nothing more was done
  4  you said no, or pressed Ctrl-C

Everything but `dlq redrive`, `dlq purge`, `send`, `credentials put`, `mapping` and
`person erase` only looks; these ask first, unless told `--yes`.
What to do about what you see: docs/operations.md.
"""

_ERROR_TYPES: Final = (
    f"One of {', '.join(sorted(dead_letters.ERROR_TYPES))}, or of an older version; "
    f"`{dead_letters.MOVED_BY_SQS}`: what SQS moved."
)

_NOBODY: Final = "Nobody is known by that."
_NOT_ERASED: Final = (
    "Customer.io, mParticle, the queues and the table's backups keep what they hold of them: "
    'docs/operations.md, "To erase a person".'
)

_Command = TypeVar("_Command", bound=Callable[..., Any])
_Content = TypeVar("_Content")


@dataclass(slots=True)
class _Where:
    """What the options that all commands share say."""

    stack_name: str = "audience-forwarder"
    region: str | None = None
    profile: str | None = None
    endpoint_url: str | None = None
    json: bool = False


class _Ops:
    """What the commands share: the stack, and how to tell."""

    def __init__(self, where: _Where) -> None:
        self._where = where
        self.console = Console(highlight=False, width=None if os.isatty(1) else 140)
        self.now = time.time()

    @cached_property
    def aws(self) -> stacks.Aws:
        where = self._where
        return stacks.Aws(
            region=where.region, profile=where.profile, endpoint_url=where.endpoint_url
        )

    @cached_property
    def stack(self) -> stacks.Stack:
        return stacks.find(self.aws, self._where.stack_name)

    @cached_property
    def settings(self) -> Settings:
        found = self.aws.functions.get_function_configuration(
            FunctionName=self.stack.function_name
        )
        return Settings.from_environ(found["Environment"]["Variables"])

    @cached_property
    def letters(self) -> DeadLetters:
        return DeadLetters(self.aws.sqs, self.stack, sleep=time.sleep)

    def progress(self) -> Progress:
        """Return a bar, for a person at a terminal only."""
        return show.progress(Console(stderr=True))

    def tell(self, data: object, *shown: object) -> None:
        """Tell a machine the data, or a person what is shown."""
        if self._where.json:
            click.echo(msgspec.json.format(msgspec.json.encode(data), indent=2).decode())
        else:
            self.console.print(*shown, sep="\n")

    def agree(self, question: str, *, yes: bool) -> None:
        """Go on only if the operator agrees."""
        if not (yes or click.confirm(question, err=True)):
            raise click.Abort

    def walk(
        self, doing: str, *, most: int | None = None
    ) -> Generator[list[DeadLetter], None, None]:
        """Go through the letters with a bar; those not deleted are given back at the end."""
        with closing(self.letters.walk(most=most)) as walk, self.progress() as bar:
            about = self.letters.about()
            task = bar.add_task(doing, total=about if most is None else min(about, most))
            for letters in walk:
                bar.advance(task, len(letters))
                yield letters

    def missed(self) -> int:
        """Return about how many letters the last walk did not find, and tell of them."""
        if missed := self.letters.missed:
            click.echo(
                f"About {missed} more are hidden, as somebody else looks at them: "
                f"try again in {dead_letters.HIDDEN_S // 60} minutes.",
                err=True,
            )
        return missed


def _keep(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    # The options of all commands stand before or after a command's name.
    where = context.find_root().ensure_object(_Where)
    if value:
        setattr(where, str(parameter.name), value)


def _shared(command: _Command) -> _Command:
    """Give a command the options that all have."""
    for name, about in (
        ("--json", "For machines: JSON on standard output."),
        ("--endpoint-url", "Another address of AWS, such as that of an emulator."),
        ("--profile", "AWS profile; the environment's by default."),
        ("--region", "AWS region; the environment's by default."),
        ("--stack-name", "The stack; audience-forwarder by default."),
    ):
        option = click.option(
            name, is_flag=name == "--json", help=about, expose_value=False, callback=_keep
        )
        command = option(command)
    return command


def _ops() -> _Ops:
    return _Ops(click.get_current_context().find_root().ensure_object(_Where))


def _selection(command: _Command) -> _Command:
    """Give a command the options that say which letters are meant."""
    for name, about in (
        ("--source-message-id", "Only what came of this message; repeat for more."),
        ("--error-type", f"Only this error type; repeat for more. {_ERROR_TYPES}"),
    ):
        command = click.option(name, multiple=True, help=about)(command)
    return command


def _selected(
    ops: _Ops, error_type: Sequence[str], source_message_id: Sequence[str] = ()
) -> Selection:
    """Return what is meant; refuse an error type that neither the function nor the DLQ knows."""
    if unknown := {*error_type} - dead_letters.ERROR_TYPES:
        found = {one.error_type for ones in ops.walk("Looking") for one in ones}
        if unknown - found:
            raise click.UsageError(
                f"there is no error type {', '.join(sorted(unknown - found))}; "
                f"in the dead-letter queue: {', '.join(sorted(found)) or 'nothing'}; "
                f"known: {', '.join(sorted(dead_letters.ERROR_TYPES))}"
            )
    return Selection(frozenset(error_type), frozenset(source_message_id))


def _read(file: Path, read: Callable[[str], _Content]) -> _Content:
    """Return what a file holds, or refuse it."""
    try:
        return read(file.read_text("utf-8"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise click.UsageError(f"{file}: cannot be read: {type(error).__name__}") from error


_reveal = click.option("--reveal", is_flag=True, help="Show personal data.")
_yes = click.option("--yes", is_flag=True, help="Do not ask.")


@click.group(help=_HELP, context_settings={"help_option_names": ["-h", "--help"]})
@_shared
def cli() -> None:
    """Collect the commands."""


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command, and return the status to end with."""
    complain = Console(stderr=True, highlight=False, soft_wrap=True).print
    try:
        return int(cli.main(arguments, prog_name="ops", standalone_mode=False) or FINE)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        complain("Stopped.")
        return STOPPED
    except (BotoCoreError, ClientError) as error:
        complain(told(error), markup=False)
    except ForwarderError as error:
        complain(str(error), markup=False)
    return OUT_OF_REACH


# --- looking ---


@cli.command()
@click.option(
    "--since",
    type=click.IntRange(1, 14 * 24 * 60),
    default=60,
    show_default=True,
    help="Minutes to look back.",
)
@_shared
def status(since: int) -> int:
    """The stack at a glance: queues, mapping, alarms, and what went wrong lately."""
    ops = _ops()
    with ops.progress() as bar:
        task = bar.add_task("Reading the logs, lines", total=None)
        found = statuses.look(
            ops.aws,
            ops.stack,
            since=timedelta(minutes=since),
            on_lines=lambda count: bar.advance(task, count),
        )
    ops.tell(found, show.status(found, ops.now))
    return FINE if found.is_well else TROUBLE


@cli.command()
@_shared
def check() -> int:
    """Whether a change can get through, and what to mend."""
    ops = _ops()
    found = list(Checks(ops.aws, ops.stack).run())
    ops.tell(found, show.checks(found))
    return FINE if all(one.is_ok for one in found) else TROUBLE


@cli.group()
def person() -> None:
    """What is known of a person."""


def _who(command: _Command) -> _Command:
    """Give a command the options that name a person."""
    for option in (
        click.option(
            "--site-id", multiple=True, help="Workspace; by default those in the secret."
        ),
        click.option("--mpid", type=int, help="mParticle's id."),
        click.option("--email", help="The email, of a person without a customer id."),
        click.option("--id", "customer_id", help="The customer id."),
    ):
        command = option(command)
    return command


def _found(ops: _Ops, sought: people.Sought, site_id: Sequence[str]) -> list[people.Found]:
    if [sought.customer_id, sought.email, sought.mpid].count(None) != 2:
        raise click.UsageError("give one of --id, --email and --mpid")
    if not site_id:
        known = secret.workspaces(ops.aws, ops.settings.credentials_secret_name).values()
        site_id = list(dict.fromkeys(workspace.site_id for workspace in known))
    return people.find(ops.aws, ops.stack, sought, site_id)


@person.command("show")
@_who
@_reveal
@_shared
def person_show(
    customer_id: str | None,
    email: str | None,
    mpid: int | None,
    site_id: Sequence[str],
    *,
    reveal: bool,
) -> int:
    """What the table holds of a person, and what would be sent of them.

    The table keeps neither names nor, of a person with a customer id, the email.
    """
    ops = _ops()
    found = [
        _person(one, reveal=reveal)
        for one in _found(ops, people.Sought(customer_id, email, mpid), site_id)
    ]
    ops.tell(found, *map(show.pretty, found) if found else [_NOBODY])
    return FINE if found else TROUBLE


@person.command("erase")
@_who
@_yes
@_shared
def person_erase(
    customer_id: str | None,
    email: str | None,
    mpid: int | None,
    site_id: Sequence[str],
    *,
    yes: bool,
) -> int:
    """Delete what the table holds of a person, for good.

    It touches nothing else: docs/operations.md, "To erase a person".
    """
    ops = _ops()
    keys = [one.key for one in _found(ops, people.Sought(customer_id, email, mpid), site_id)]
    if keys:
        ops.agree(f"Delete what the table holds of {', '.join(keys)} for good?", yes=yes)
    for key in keys:
        people.erase(ops.aws, ops.stack, key)
    told = [*(f"Erased {key} from the table." for key in keys), _NOT_ERASED] if keys else [_NOBODY]
    ops.tell({"erased": keys}, *told)
    return FINE if keys else TROUBLE


def _person(found: people.Found, *, reveal: bool) -> dict[str, Any]:
    state = found.state
    known_as = state.identifier
    identifier = known_as.value if known_as else ""
    return {
        "key": found.key,
        "known as": {
            known_as.kind if known_as else "": identifier if reveal else masked(identifier)
        },
        "version": state.version,
        "newest timestamp given": show.since(state.timestamp, time.time()),
        "audiences": {
            str(audience): f"{'in' if is_member(word) else 'left'} since {_date(word)}"
            for audience, word in sorted(state.memberships.items())
        },
        "set or cleared": {name: _date(word) for name, word in state.set_at.items()},
        "would be sent": found.entities if reveal else masked_json(list(found.entities)),
    }


def _date(word: int) -> str:
    return show.since((word >> 1) / 1000, time.time())


# --- dead letters ---


@cli.group()
def dlq() -> None:
    """What was set aside: the messages in the dead-letter queue."""


@dlq.command("list")
@_selection
@click.option("--limit", default=1000, show_default=True, help="Most messages to look at.")
@_shared
def dlq_list(error_type: Sequence[str], source_message_id: Sequence[str], limit: int) -> int:
    """Messages by error type: how many, how old, and why."""
    ops = _ops()
    selection = _selected(ops, error_type, source_message_id)
    about = ops.letters.about()
    seen = [one for ones in ops.walk("Looking", most=limit) for one in ones]
    groups = dead_letters.grouped(filter(selection.takes, seen))
    title = f"Looked at {len(seen)} of about {max(about, len(seen))} dead letters"
    ops.tell(groups, show.groups(title, groups, ops.now))
    return TROUBLE if ops.missed() or seen else FINE


@dlq.command("show")
@click.argument("source_message_id", required=False)
@click.option("--error-type", multiple=True, help="The first of this error type.")
@_reveal
@_shared
def dlq_show(source_message_id: str | None, error_type: Sequence[str], *, reveal: bool) -> int:
    """One message; the first that comes where none is named."""
    ops = _ops()
    ids = [source_message_id] if source_message_id else []
    selection = _selected(ops, error_type, ids)
    with closing(ops.walk("Looking")) as walk:
        letter = next((one for ones in walk for one in ones if selection.takes(one)), None)
    if letter is None:
        ops.missed()
        raise click.ClickException("no such message is in the dead-letter queue")
    shown = asdict(letter) | {"body": letter.body if reveal else masked_body(letter.body)}
    rows = [(name, value) for name, value in shown.items() if name not in {"body", "sent_at"}]
    rows.append(("sent_at", show.since(letter.sent_at, ops.now)))
    ops.tell(shown, show.table("Dead letter", "", "", rows=rows), show.pretty(shown["body"]))
    return FINE


@dlq.command("redrive")
@_selection
@click.option("--dry-run", is_flag=True, help="Only tell what would be sent.")
@click.option(
    "--rate",
    type=click.IntRange(1, 500),
    default=50,
    show_default=True,
    help="Most messages a second.",
)
@_yes
@_shared
def dlq_redrive(
    error_type: Sequence[str],
    source_message_id: Sequence[str],
    rate: int,
    *,
    dry_run: bool,
    yes: bool,
) -> int:
    """Send messages to the queue again, once their cause is gone.

    Each is sent first and deleted after: stopped at any point, nothing is lost, and what was sent
    twice does no harm. SQS does it by itself where everything is meant and it offers to.
    """
    ops = _ops()
    selection = _selected(ops, error_type, source_message_id)
    if dry_run:
        chosen = (one for ones in ops.walk("Looking") for one in ones if selection.takes(one))
        groups = dead_letters.grouped(chosen)
        ops.tell(groups, show.groups("Would be sent", groups, ops.now))
        return TROUBLE if ops.missed() else FINE
    which = "all" if selection.is_all else "the chosen ones"
    ops.agree(f"Redrive {which} of about {ops.letters.about()} dead letters?", yes=yes)
    if selection.is_all and ops.letters.start_move(rate=rate):
        return _follow(ops)
    total: Counter[str] = Counter()
    with closing(ops.walk("Redriving")) as walk:
        for letters in walk:
            for moved in ops.letters.redrive([*filter(selection.takes, letters)], rate=rate):
                total.update(asdict(moved))
    done = Moved(total["sent"], total["not_sent"], total["not_deleted"])
    ops.tell(
        done,
        f"Sent {done.sent}. Not sent, and still dead letters: {done.not_sent}. "
        f"Sent but not deleted, to be delivered twice: {done.not_deleted}.",
    )
    return TROUBLE if ops.missed() or done.not_sent or done.not_deleted else FINE


def _follow(ops: _Ops) -> int:
    with ops.progress() as bar:
        task = bar.add_task("SQS redrives, and goes on if you stop watching", total=None)
        for move in ops.letters.follow_move():
            bar.update(task, completed=move.moved, total=move.of)
    ops.tell(move, f"{move.status}: {move.moved} of about {move.of} sent. {move.failure_reason}")
    return FINE if move.status == "COMPLETED" else TROUBLE


@dlq.command("save")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@_selection
@_shared
def dlq_save(file: Path, error_type: Sequence[str], source_message_id: Sequence[str]) -> int:
    """Copy messages to a new file, one a line; `send` takes it. It holds personal data."""
    ops = _ops()
    selection = _selected(ops, error_type, source_message_id)
    count = 0
    try:
        file.touch(mode=0o600, exist_ok=False)
    except OSError as error:
        raise click.UsageError(f"{file}: {error.strerror}") from error
    with file.open("w", encoding="utf-8") as saved, closing(ops.walk("Saving")) as walk:
        for letter in (one for ones in walk for one in ones if selection.takes(one)):
            saved.write(dead_letters.written(letter))
            count += 1
    ops.tell({"saved": count}, f"Saved {count} to {file}, which holds personal data.")
    return TROUBLE if ops.missed() else FINE


@dlq.command("purge")
@click.option("--error-type", multiple=True, required=True, help="Which; repeat for more.")
@click.option(
    "--saved",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Only what is in this file of `dlq save`.",
)
@_yes
@_shared
def dlq_purge(error_type: Sequence[str], saved: Path | None, *, yes: bool) -> int:
    """Delete messages of an error type for good; `dlq save` them first."""
    ops = _ops()
    ids = None if saved is None else _read(saved, dead_letters.saved_ids)
    selection = _selected(ops, error_type)
    ops.agree(f"Delete every dead letter of type {', '.join(error_type)} for good?", yes=yes)
    deleted = failed = 0
    with closing(ops.walk("Deleting")) as walk:
        for letters in walk:
            chosen = [
                letter
                for letter in filter(selection.takes, letters)
                if ids is None or letter.id in ids
            ]
            left = ops.letters.delete(chosen)
            deleted, failed = deleted + len(chosen) - left, failed + left
    ops.tell({"deleted": deleted, "failed": failed}, f"Deleted {deleted}. Failed: {failed}.")
    return TROUBLE if ops.missed() or failed else FINE


# --- mending ---


@cli.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@_yes
@_shared
def send(file: Path, *, yes: bool) -> int:
    """Send the messages of a file to the queue.

    Saved dead letters that you have mended, a sample event of events/, or a message.
    """
    ops = _ops()
    bodies = _read(file, dead_letters.read_bodies)
    ops.agree(f"Send {len(bodies)} messages to {ops.stack.queue_url}?", yes=yes)
    sent = 0
    with ops.progress() as bar:
        task = bar.add_task("Sending", total=len(bodies))
        for places in dead_letters.batches(bodies):
            sent += len(ops.letters.send([bodies[place] for place in places]))
            bar.advance(task, len(places))
    ops.tell({"sent": sent, "of": len(bodies)}, f"Sent {sent} of {len(bodies)}.")
    if sent == len(bodies):
        return FINE
    click.echo("Send the file again: what is sent twice does no harm.", err=True)
    return TROUBLE


@cli.group()
def mapping() -> None:
    """The event source mapping, by which the function gets messages."""


@mapping.command("enable")
@_yes
@_shared
def mapping_enable(*, yes: bool) -> int:
    """Have the function take messages off the queue again."""
    return _switch("Have the function take messages off the queue?", is_enabled=True, yes=yes)


@mapping.command("disable")
@_yes
@_shared
def mapping_disable(*, yes: bool) -> int:
    """Keep the function from taking messages; SQS deletes what has waited for 4 days."""
    question = "Keep the function from taking messages? SQS deletes what has waited for 4 days."
    return _switch(question, is_enabled=False, yes=yes)


def _switch(question: str, *, is_enabled: bool, yes: bool) -> int:
    ops = _ops()
    found = mappings.find(ops.aws, ops.stack)
    if not found:
        raise click.ClickException("the function has no event source mapping; make deploy")
    ops.agree(question, yes=yes)
    done = [mappings.switch(ops.aws, one, is_enabled=is_enabled) for one in found]
    states = ", ".join(one.state for one in done)
    ops.tell(done, f"The mapping is {states}, as `ops status` shows too.")
    return FINE


@cli.group()
def credentials() -> None:
    """The Customer.io credentials that the function uses."""


@credentials.command("put")
@click.option("--site-id", required=True, prompt=True, help="The workspace's site id.")
@click.option(
    "--api-key",
    required=True,
    prompt=True,
    hide_input=True,
    envvar="CUSTOMERIO_API_KEY",
    help="Asked for; or in the variable CUSTOMERIO_API_KEY, to stay out of the shell's history.",
)
@click.option(
    "--workspace-region",
    type=click.Choice(["us", "eu", "auto"]),
    help="By default the one that Customer.io tells; untried, auto.",
)
@click.option("--account", help="mParticle account; by default all that have this site id.")
@click.option("--untried", is_flag=True, help="Do not try them at Customer.io first.")
@_yes
@_shared
def credentials_put(
    site_id: str,
    api_key: str,
    workspace_region: Region | None,
    account: str | None,
    *,
    untried: bool,
    yes: bool,
) -> int:
    """Put credentials into the secret, once Customer.io has accepted them."""
    ops = _ops()
    name = ops.settings.credentials_secret_name
    workspace = Workspace(site_id, api_key, workspace_region or "auto")
    if not untried:
        told = secret.region(workspace, track_api_url=ops.settings.track_api_url)
        workspace = Workspace(site_id, api_key, workspace_region or told)
    before = secret.read(ops.aws, name)
    try:
        content = secret.renewed(before, workspace, account=account)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    question = f"Replace the credentials of site id {site_id} in the secret {name}?"
    if not before:
        question = f"The secret {name} cannot be read: replace all of it by site id {site_id}?"
    ops.agree(question, yes=yes)
    secret.write(ops.aws, name, content)
    ops.tell(
        {"secret": name},
        f"Put into {name}; the function finds them within 5 minutes, at once after a refusal.",
    )
    return FINE

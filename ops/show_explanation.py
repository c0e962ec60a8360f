"""Show explanation: why a person is, or is not, in an audience, on one screen of a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from rich.console import Group
from rich.text import Text

from ops import show
from ops.explanation import RETRIES_S, Explanation, KnownPerson, Letters, Waiting
from ops.memberships import Membership

MOST_AUDIENCES: Final = 15
"""Audiences that are shown if none is asked for."""

_STATES: Final = {True: "in", False: "left", None: "nothing is kept"}
_NOBODY: Final = (
    "Either no message has named them yet, or the table knows them by another identifier (with a "
    "customer id, by that alone), or they were erased, or they left their last audience over 30 "
    "days ago. A message may also be set aside or wait: see below."
)
_NOT_KEPT: Final = (
    "Either mParticle never said that they entered, or they left over 30 days ago, which is "
    "forgotten, or what it said is set aside or waits: see below."
)
_NOT_SEEN: Final = (
    "Cannot be seen: whether a waiting message names this person, as SQS has no search; and "
    "whether the function pauses after an error of Customer.io, which it keeps to itself."
)


def explanation(found: Explanation, now: float) -> Group:
    """Return the whole screen."""
    parts: list[Any] = []
    for person in found.people:
        shown = [*_audiences(person, found, now)]
        # An answer comes first, a table of all audiences after who the person is.
        who = _who(person, now)
        parts += [who, *shown] if found.audience is None else [*shown, who]
    if not found.people:
        parts += [Text("The table has no such person.", style="bold"), Text(_NOBODY), Text()]
    parts += [*_letters(found.letters, now), *_waiting(found.waiting)]
    parts += [_delivery(person, found, now) for person in found.people]
    return Group(*parts, *(Text(f"→ {step}") for step in _next_steps(found)))


def _who(person: KnownPerson, now: float) -> Any:
    values = (f"{name} {show.since(at, now)}" for name, at in person.values.items())
    rows = [
        ("workspace", person.site_id),
        ("hash of the key", person.person),
        ("Customer.io knows them by", person.known_as),
        ("former identifiers", "\n".join(person.former) or "none"),
        ("last written", f"{show.since(person.timestamp, now)}, version {person.version}"),
        ("values last set or cleared", "\n".join(values) or "none"),
    ]
    return show.table("Who", "", "", rows=rows)


def _audiences(person: KnownPerson, found: Explanation, now: float) -> Iterator[Any]:
    if found.audience is not None:
        where = f"Workspace {person.site_id}: " if len(found.people) > 1 else ""
        for each in person.memberships:
            yield Text(where + _answer(each, now), style="bold")
        yield Text()
        return
    shown = person.memberships[:MOST_AUDIENCES]
    yield show.table(
        "Audiences, as mParticle said last",
        *("audience", "name", "the person is", "since, by mParticle's clock", ""),
        rows=[
            (
                each.audience_id,
                each.name or "not known",
                _STATES[each.is_member],
                "" if each.said_at is None else show.since(each.said_at, now),
                _notes(each, now),
            )
            for each in shown
        ],
    )
    if left_out := len(person.memberships) - len(shown):
        yield Text(f"{left_out} more are not shown: ask for one with --audience.")
    yield Text("Of any other audience nothing is kept. An exit is forgotten after 30 days.\n")


def _answer(each: Membership, now: float) -> str:
    audience = f"audience {each.audience_id}" + (f" ({each.name})" if each.name else "")
    said = "" if each.said_at is None else show.since(each.said_at, now)
    answer = {
        True: f"They are in {audience}: mParticle said that they entered, {said}.",
        False: f"They are not in {audience}: mParticle said that they left, {said}.",
        None: f"Nothing is kept of {audience} for them. {_NOT_KEPT}",
    }[each.is_member]
    if not each.name:
        answer += " No message has named this audience: is the id right?"
    notes = _notes(each, now)
    return f"{answer} The audience: {notes}." if notes else answer


def _notes(each: Membership, now: float) -> str:
    notes = [f"formerly {name}" for name in each.former_names]
    if each.removed_at is not None:
        notes.append(f"removed by mParticle {show.since(each.removed_at, now)}")
    return ", ".join(notes)


def _letters(letters: Letters, now: float) -> Iterator[Any]:
    if letters.naming:
        columns = ("error type", "set aside", "reason", "source message id", "account")
        rows = [
            (
                letter.error_type,
                show.since(letter.sent_at, now),
                letter.reason,
                letter.source_message_id,
                "not known" if letter.account_id is None else letter.account_id,
            )
            for letter in letters.naming
        ]
        made = show.table("Dead letters that name this person", *columns, rows=rows)
        made.columns[3].no_wrap = True  # so that it can be copied
        yield made
    named = len(letters.naming)
    notes = [f"Dead letters that name this person: {named}, of {letters.read} that were read."]
    if letters.count > letters.read:
        notes.append(f"There are about {letters.count}.")
    if letters.hidden:
        notes.append(f"About {letters.hidden} are hidden, as somebody else has received them.")
    if letters.unreadable:
        notes.append(f"{letters.unreadable} cannot be read, and may name anybody.")
    yield Text(" ".join(notes) + "\n")


def _waiting(waiting: Waiting) -> Iterator[Any]:
    depths = (waiting.queue, waiting.retry_queue)
    rows = []
    for (queue, state), depth in zip(waiting.mappings.items(), depths, strict=True):
        is_ok = state == "Enabled"
        suffix = "" if is_ok else f"; its event source mapping is {state}"
        mark = show.mark(is_ok=is_ok, is_warning=depth.count > 0)
        rows.append((mark, queue, f"{show.depth(depth)}{suffix}"))
    for account, is_suspended in waiting.suspended.items():
        text = "suspended: mParticle is asked to send nothing" if is_suspended else "not suspended"
        rows.append((show.mark(is_ok=not is_suspended), f"account {account}", text))
    yield show.table("What may be on its way", "", "", "", rows=rows)
    if waiting.retries:
        reasons = (f"{each.reason or each.event} ({each.count} times)" for each in waiting.retries)
        yield Text(f"Retried in the last {RETRIES_S // 60} minutes: {'; '.join(reasons)}.")
    yield Text(f"{_NOT_SEEN}\n")


def _delivery(person: KnownPerson, found: Explanation, now: float) -> Text:
    since = show.since(found.logged_since, now)
    if person.delivery is not None:
        is_newest = person.delivery.sent_timestamp >= person.timestamp
        text = f"{show.since(person.delivery.at, now)}. " + (
            "It was of the newest state." if is_newest else "The state has changed since."
        )
    elif found.log_level == "DEBUG":
        text = (
            f"none since {since}. Only what was delivered while LogLevel was DEBUG, as it is now, "
            "is in the log."
        )
    else:
        text = (
            f"cannot be told, as LogLevel is {found.log_level}: only at DEBUG single people are "
            f"logged. None is in the log since {since}."
        )
    return Text(f"Last delivery to workspace {person.site_id}: {text}\n")


def _next_steps(found: Explanation) -> Iterator[str]:
    letters, waiting = found.letters, found.waiting
    if letters.naming:
        yield "fix the cause, then `ops dlq redrive`; see: Dead letters are waiting"
    if letters.hidden:
        yield "ask again in 2 minutes, when the hidden dead letters are visible"
    if set(waiting.mappings.values()) != {"Enabled"}:
        yield "`ops mapping enable` lets messages in again; see: Changes wait too long"
    if any(waiting.suspended.values()):
        yield "`ops check` tests the credentials; see: Credentials are refused"
    if waiting.retries:
        yield "wait, or fix the cause that the reasons name; see: Changes are retried"
    if waiting.queue.count or waiting.retry_queue.count:
        yield "ask again when the queues are empty"
    if found.log_level != "DEBUG" and any(person.delivery is None for person in found.people):
        yield '`make deploy PARAMETERS="LogLevel=DEBUG"` logs each delivery from then on'
    if found.people:
        yield "`ops person show` has what would be sent, and Customer.io what it holds"

"""Person erase: the command that erases people."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

import click

from ops import erasing, people, show_erasure
from ops.commands import options
from ops.commands.context import OK, PROBLEM, Context
from ops.mentions import Names

_ERASED_WITHIN_S: Final = 60.0
"""How long to wait for the function, in seconds."""


@click.command("erase")
@click.option(
    "--file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="CSV with the columns customer_id, email or both.",
)
@click.option("--mpid", type=int, help="mParticle's id of the person.")
@click.option("--email", help="The email.")
@click.option("--id", "customer_id", help="The customer id.")
@click.option("--letters", "removes_letters", is_flag=True, help="Remove their dead letters, too.")
@options.yes
@options.shared
def person_erase(
    *,
    customer_id: str | None,
    email: str | None,
    mpid: int | None,
    file: Path | None,
    removes_letters: bool,
    yes: bool,
) -> int:
    """Erase a person, or those in a file, as if mParticle had asked for it.

    The function erases them in all workspaces of the secret, and as OnErasure says in Customer.io.
    What it cannot reach is in docs/operations.md, "To erase a person".
    """
    context = Context.current()
    subjects, stored = _subjects(context, customer_id, email, mpid, file)
    if not subjects:
        context.output({"erased": []}, people.NOBODY)
        return PROBLEM
    context.confirm(
        f"Permanently erase {len(subjects)} people, {len(stored)} of them in the table?"
        if file
        else f"Permanently erase this person, known in {len(stored)} places of the table?",
        yes=yes,
    )
    at_ms = erasing.now_ms(context.aws, context.stack)
    customer_id_type = context.settings.delivery_options.customer_id_type
    requests = [
        subject.request(at_ms=at_ms, customer_id_type=customer_id_type) for subject in subjects
    ]
    erasing.send(context.aws, context.stack, requests, sleep=time.sleep)
    waiting = erasing.Wait(
        context.aws, context.stack, context.site_ids, at_ms, time.sleep, time.monotonic
    )
    left = len(subjects)
    with context.progress() as bar:
        task = bar.add_task("Erasing", total=left)
        for left in waiting.until_erased(subjects, seconds=_ERASED_WITHIN_S):
            bar.update(task, completed=len(subjects) - left)
    names = Names.of(
        context.site_ids,
        (person.key for person in stored),
        (each for subject in subjects for each in subject.identifiers),
        customer_id_type,
    )
    letters = erasing.letters_of(context.queue, names, remove=removes_letters)
    context.output(
        {
            "erased": [{"site id": each.site_id, "key": each.key} for each in stored],
            "requests": len(subjects),
            "not erased yet": left,
            "dead letters": [letter.source_message_id for letter in letters.naming],
            "dead letters removed": letters.removed,
            "dead letters that cannot be read": letters.unreadable,
        },
        *show_erasure.erased(stored, letters, left=left),
    )
    are_left = letters.unreadable or len(letters.naming) > letters.removed
    return PROBLEM if left or are_left else OK


def _subjects(
    context: Context,
    customer_id: str | None,
    email: str | None,
    mpid: int | None,
    file: Path | None,
) -> tuple[list[erasing.Subject], list[people.StoredPerson]]:
    """Return whom to erase, and what the table has of them."""
    ways = [bool(customer_id or email), mpid is not None, file is not None]
    if ways.count(True) != 1:
        raise click.UsageError("give --id, --email or both, or --mpid, or --file")
    named: list[erasing.Subject] = []
    if file is not None:
        named = options.content(file, erasing.read_subjects)
    elif mpid is None:
        named = [erasing.Subject(customer_id, email)]
    queries = [query for subject in named for query in subject.queries]
    found = {
        person.key: person
        for query in queries or [people.Query(mpid=mpid)]
        for person in people.find(context.aws, context.stack, query, context.site_ids)
    }
    if not found and file is None and mpid is None:
        # Somebody may still have the identifier as a former one.
        found = {
            person.key: person for query in queries for person in _find_former(context, query)
        }
    known = [subject for subject in map(erasing.subject_of, found.values()) if subject]
    named_texts = {each.text for subject in named for each in subject.identifiers}
    others = [each for each in known if each.identifiers[0].text not in named_texts]
    return [*named, *dict.fromkeys(others)], [*found.values()]


def _find_former(context: Context, query: people.Query) -> list[people.StoredPerson]:
    click.echo(people.READING_ALL, err=True)
    return people.find(context.aws, context.stack, query, context.site_ids, former=True)

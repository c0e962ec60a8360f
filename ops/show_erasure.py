"""Show erasure: what `ops person erase` did, and what it could not, for a person at a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ops.erasing import Letters
from ops.people import StoredPerson


def erased(stored: Sequence[StoredPerson], letters: Letters, *, left: int) -> Iterator[str]:
    """Yield lines about erased people; `left`: how many were not erased in time."""
    for person in stored:
        yield f"In workspace {person.site_id}: {person.key}."
    if left:
        yield (
            f"{left} not erased yet: the requests are on the queue, and `ops status` shows what "
            "holds them up. Run the command again to see the end of it."
        )
    else:
        yield "Erased. The function does it once more within a minute: log event erasure.done."
    for letter in letters.naming:
        yield f"Dead letter {letter.source_message_id}, {letter.error_type}, names them."
    if letters.naming:
        yield (
            f"{letters.removed} of {len(letters.naming)} dead letters removed."
            if letters.removed
            else "Add --letters to remove these dead letters; their redrive brings nobody back."
        )
    if letters.unreadable:
        yield f"{letters.unreadable} dead letters cannot be read, and may name them."
    yield (
        "The backups of the table still hold data, and mParticle may send more: "
        'docs/operations.md, "To erase a person".'
    )

"""Show changes: what files of changes have, and how they differ from the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Group
from rich.table import Table
from rich.text import Text

from handler.domain.change_messages import Change
from ops import show
from ops.comparison import AudienceCounts
from ops.imports import BadRow


def bad_rows(count: int, rows: Sequence[BadRow], *, advice: str) -> Group:
    """Return the first bad rows of a file, and what to do about them."""
    shown = show.table(
        f"Bad rows: {count:,}",
        "line",
        "reason",
        rows=[(f"{row.part} {row.line}".lstrip(), row.reason) for row in rows],
    )
    more = [Text(f"and {count - len(rows):,} more")] if count > len(rows) else []
    return Group(shown, *more, Text(advice))


def comparison(compared: Sequence[AudienceCounts], names: Mapping[int, str]) -> Table:
    """Return how many people differ between a file and the table, by audience."""
    columns = ("audience", "name", "in the file", "in the table", "missing", "extra", "newer")
    rows = [
        (
            *(each.audience_id, names.get(each.audience_id, "")),
            *(f"{each.in_file:,}", f"{each.in_table:,}"),
            *(f"{each.missing:,}", f"{each.extra:,}", f"{each.newer:,}"),
        )
        for each in compared
    ]
    return show.table("The file and the table", *columns, rows=rows)


def changes(listed: Sequence[Change], *, more: int) -> Group:
    """Return changes of people, with their identities."""
    rows = [
        (
            "missing" if each.is_member else "extra",
            each.audience_id,
            ", ".join(each.identities.values()),
            "" if each.mpid is None else each.mpid,
        )
        for each in listed
    ]
    shown = show.table("Who differs", "", "audience", "customer id, email", "MPID", rows=rows)
    return Group(shown, *([Text(f"and {more:,} more")] if more > 0 else []))

"""Change rows: one row of a file as a change of one person, checked by the function's own rules.

Rows come in from change_files.py. Reasons name the column, and never contain a value. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from handler.domain.change_messages import Change
from handler.domain.membership import TOMBSTONE_LIFE_S
from handler.domain.message import MAX_AHEAD_S
from handler.domain.profile import CUSTOMER_ID_TYPES, read_profile
from handler.errors import NoIdentityError, PermanentError

COLUMNS: Final = (
    *("customer_id", "email", "mpid", "person_hash"),
    *("audience_id", "audience_name", "action", "since"),
)
"""What a row may have. An empty value is the same as none."""

HIDDEN_IDENTIFIER: Final = "identified_by"
"""A column that only `ops export` without `--reveal` writes: no identifier, but its kind."""

OLDEST_JOIN_S: Final = TOMBSTONE_LIFE_S - 24 * 3600
"""How old the joins are that are sent at most, in seconds. The function ignores older ones; a day
is left for them to wait on the queue."""

_ACTIONS: Final = {"entered": "add", "left": "delete"}
_MAX_BYTES: Final = 10_000  # so that each message has room for some people
_FIRST_MS: Final = 100_000_000_000
"""Smaller numbers are seconds: in milliseconds they would be in 1973 or earlier."""


class RowError(ValueError):
    """A row that is not a change; the text says why."""


@dataclass(frozen=True, slots=True)
class Defaults:
    """What holds for rows that do not say it themselves.

    `as_of_ms`: the time of the file. `now_ms`: the time of the run. Both in Unix milliseconds.
    `customer_id_type`: which identity is the customer id, by its type in messages.
    """

    as_of_ms: int
    now_ms: int
    audience_id: int | None = None
    audience_name: str = ""
    customer_id_type: str = CUSTOMER_ID_TYPES["CustomerId"]

    @property
    def oldest_join_ms(self) -> int:
        """Return the time of joins that are too old to be sent with their own time."""
        return self.now_ms - OLDEST_JOIN_S * 1000


def read_row(values: Mapping[str, Any], defaults: Defaults) -> Change:
    """Return the change in a row, by the names of its columns. Raises RowError."""
    given = {name: value for name, value in values.items() if value not in (None, "")}
    identities = {
        kind: given[name]
        for kind, name in ((defaults.customer_id_type, "customer_id"), ("email", "email"))
        if name in given
    }
    audience_id = given.get("audience_id", defaults.audience_id)
    if audience_id is None:
        raise RowError("audience_id: missing, and --audience-id is not given")
    action = given.get("action", "entered")
    if not isinstance(action, str) or action not in _ACTIONS:
        raise RowError("action: expected entered or left")
    audience = {
        "audience_id": audience_id,
        "audience_name": given.get("audience_name", defaults.audience_name),
        "action": _ACTIONS[action],
    }
    raw = {name: given[name] for name in ("mpid", "person_hash") if name in given} | {
        "user_identities": [
            {"type": kind, "encoding": "raw", "value": value} for kind, value in identities.items()
        ],
        "audiences": [audience],
    }
    at_ms = _time(given.get("since"), defaults, is_join=action == "entered")
    return _checked(raw, at_ms, defaults.customer_id_type)


def _checked(raw: Mapping[str, Any], at_ms: int, customer_id_type: str) -> Change:
    try:
        text = msgspec.json.encode(raw)
    except UnicodeEncodeError:
        raise RowError("not valid UTF-8") from None
    if len(text) > _MAX_BYTES:
        raise RowError(f"over {_MAX_BYTES} bytes")
    try:
        profile = read_profile(msgspec.Raw(text), customer_id_type=customer_id_type)
    except PermanentError as error:
        raise RowError(_reason(error, raw)) from None
    (change,) = profile.changes
    named = {customer_id_type: profile.customer_id, "email": profile.email}
    return Change(
        at_ms=at_ms,
        audience_id=change.audience_id,
        audience_name=change.audience_name,
        is_member=change.is_member,
        identities={kind: value for kind, value in named.items() if value is not None},
        mpid=profile.mpid,
        person_hash=profile.person_hash,
    )


def _time(since: Any, defaults: Defaults, *, is_join: bool) -> int:
    if since is None:
        return defaults.as_of_ms
    at_ms = unix_ms(since)
    if not 0 < at_ms <= defaults.now_ms + MAX_AHEAD_S * 1000:
        raise RowError("since: must be after 1970 and at most 24 hours in the future")
    return max(at_ms, defaults.oldest_join_ms) if is_join else at_ms


def unix_ms(value: Any) -> int:
    """Return a time in Unix milliseconds, from ISO 8601 or a number; raises RowError.

    Without an offset it is in UTC. A number is in milliseconds, a small one in seconds.
    """
    try:
        if isinstance(value, int) or (value.isascii() and value.isdigit()):
            number = int(value)
            return number * 1000 if number < _FIRST_MS else number
        moment = datetime.fromisoformat(value)
    except (AttributeError, ValueError):
        raise RowError("since: expected ISO 8601, or Unix time in milliseconds") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1000)


_PLACED: Final = re.compile(
    r"(?P<reason>.*) - at `(?P<path>[^`]*)`|(?P<start>\$[^:]*): (?P<rest>.*)"
)
_IDENTITY: Final = re.compile(r"\$\.user_identities\[(\d)\]")


def _reason(error: PermanentError, raw: Mapping[str, Any]) -> str:
    """Return the reason with the name of a column instead of the place in the profile."""
    if isinstance(error, NoIdentityError):
        return "neither customer_id nor email"
    match = _PLACED.fullmatch(str(error))
    path, reason = "", str(error)
    if match:
        path = match["path"] or match["start"]
        reason = match["reason"] or match["rest"]
    identity = _IDENTITY.match(path)
    if identity:
        kind = raw["user_identities"][int(identity[1])]["type"]
        column = kind if kind == "email" else "customer_id"
    else:
        column = path.rpartition(".")[2]
    return f"{column}: {reason}" if column in COLUMNS else reason

"""Stream record: what mParticle writes into a delivery stream, read into changes.

Bytes come in from the stream or from its archive; changes go on to change_messages.py. A record
that cannot be read becomes a dead letter, which is read again after a redrive. Errors say where a
record is wrong, and never contain a value from it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final

import msgspec

from handler.domain.change_messages import Change, profile_json
from handler.domain.dead_letter import NOT_FOR_SQS, text_for_sqs, with_profiles, write_head
from handler.domain.message import (
    MAX_AHEAD_S,
    AudienceMessage,
    MessageFields,
    MessageType,
    RawProfile,
    explain,
    read_fields,
)
from handler.domain.profile import CUSTOMER_ID_TYPES, Profile, read_profile
from handler.errors import MalformedMessageError, PermanentError

MAX_RECORD_CHARS: Final = 100_000
"""Longer JSON objects are not read. In a message a character may take six bytes, and SQS accepts
1 MiB."""

IDENTITY_TYPES: Final[Mapping[str, str]] = {
    **CUSTOMER_ID_TYPES,
    "Email": "email",
}
"""The type in mParticle's Firehose of each identity that is read, by its name in a record."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A JSON object that is not a change, or text that is not a JSON object.

    `line`: the line where it begins, counted from 1. In `text`, a byte that is not UTF-8 is half a
    surrogate pair.
    """

    text: str = field(repr=False)
    line: int
    error: PermanentError


def read_records(data: bytes, *, now: float) -> Iterator[Change | Unreadable]:
    """Yield the change from each JSON object, or why there is none; `now` in Unix seconds.

    Objects follow each other with or without white space in between. Text that is not a JSON
    object goes on to the next line that begins with one.
    """
    text = data.decode(errors="surrogateescape")
    line, counted = 1, 0
    for start, end, parsed in _pieces(text):
        try:
            yield _change(text[start:end], parsed, now)
        except MalformedMessageError as error:
            line, counted = line + text.count("\n", counted, start), start
            yield Unreadable(text[start:end], line, error)


def letter_body(record: Unreadable, *, at_ms: int, account_id: int | None) -> str:
    """Return a dead letter's body: a message with the record as its profile.

    Text that is not a JSON object is returned as it came, except for characters that SQS rejects.
    Bytes that are not UTF-8 stay unreadable in a JSON object, as they may be part of an identity.
    `at_ms`: when the record arrived.
    """
    try:
        read_fields(record.text)
    except MalformedMessageError:
        return NOT_FOR_SQS.sub("?", record.text)
    head = write_head(
        MessageFields(
            type=MessageType.STREAM_RECORD.value,
            timestamp_ms=at_ms,
            account=None if account_id is None else {"account_id": account_id},
        )
    )
    return with_profiles(head, f"[{text_for_sqs(record.text)}]")


def read_dated_profile(
    message: AudienceMessage, raw: RawProfile, *, now: float, customer_id_type: str
) -> tuple[int, Profile]:
    """Return one profile of a message, and its time in Unix milliseconds.

    A record has a time of its own. Raises a PermanentError, as `read_profile` and `read_records`.
    """
    if message.type is not MessageType.STREAM_RECORD:
        return message.sent_at_ms, read_profile(raw, customer_id_type=customer_id_type)
    change = next(read_records(bytes(raw), now=now))
    if isinstance(change, Unreadable):
        raise change.error
    profile = msgspec.Raw(profile_json(change).encode())
    return change.at_ms, read_profile(profile, customer_id_type=customer_id_type)


class _Record(msgspec.Struct, rename="pascal"):
    membership_changed_timestamp: Any
    audience_id: Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
    is_member: bool
    audience_name: str | None = None
    user_identities: dict[str, Any] | None = None


_DECODER: Final = json.JSONDecoder()
_SPACE: Final = re.compile(r"\s*")
_NEXT_OBJECT: Final = re.compile(r"\n(?={)")
_NOT_UTF_8: Final = re.compile("[\udc80-\udcff]")  # what surrogateescape makes of other bytes


def _pieces(text: str) -> Iterator[tuple[int, int, Any]]:
    """Yield where each piece begins and ends, and its JSON object, or a text that says why not."""
    place = _end_of_space(text, 0)
    while place < len(text):
        parsed: Any = "$: expected a JSON object"
        if text[place] == "{":
            try:
                # Not the whole text: each error counts all lines before it.
                parsed, length = _DECODER.raw_decode(text[place : place + MAX_RECORD_CHARS])
                end = place + length
            except RecursionError:
                parsed = "$: nested too deeply"
            except ValueError:  # not JSON, or a number with thousands of digits
                parsed = f"$: not JSON, or over {MAX_RECORD_CHARS} characters"
        if isinstance(parsed, str):
            found = _NEXT_OBJECT.search(text, place)
            end = found.end() if found else len(text)
        yield place, end, parsed
        place = _end_of_space(text, end)


def _end_of_space(text: str, place: int) -> int:
    found = _SPACE.match(text, place)
    return found.end() if found else place


def _change(text: str, parsed: Any, now: float) -> Change:
    if isinstance(parsed, str):
        raise MalformedMessageError(parsed)
    if _NOT_UTF_8.search(text):
        raise MalformedMessageError("$: not valid UTF-8")
    try:
        # Not strict: an id may come as text.
        record = msgspec.convert(parsed, _Record, strict=False)
    except (msgspec.ValidationError, UnicodeError) as error:
        raise MalformedMessageError(explain(error)) from None
    identities = record.user_identities or {}
    return Change(
        at_ms=_at_ms(record.membership_changed_timestamp, now),
        audience_id=record.audience_id,
        audience_name=record.audience_name or "",
        is_member=record.is_member,
        identities=_known(identities),
        mpid=_mpid(identities),
    )


_NUMBER: Final = re.compile(r"\s*[0-9]{1,20}(\.[0-9]{1,20})?\s*", re.ASCII)
_FIRST_IN_MS: Final = 10**11
"""A time as large as this is in milliseconds: as seconds it would be in the year 5138, and as
milliseconds it is in 1973."""


def _at_ms(value: Any, now: float) -> int:
    path = "$.MembershipChangedTimestamp"
    number = float(value) if isinstance(value, str) and _NUMBER.fullmatch(value) else value
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise MalformedMessageError(f"{path}: expected a Unix time")
    at_ms = number if number >= _FIRST_IN_MS else number * 1000
    # NaN, too, is outside of the range.
    if not 0 < at_ms <= (now + MAX_AHEAD_S) * 1000:
        raise MalformedMessageError(f"{path}: must be positive and at most 24 hours in the future")
    return round(at_ms)


def _known(identities: Mapping[str, Any]) -> dict[str, str]:
    """Return the identities that are read, by their type in mParticle's Firehose."""
    known: dict[str, str] = {}
    for name, kind in IDENTITY_TYPES.items():
        value = identities.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise MalformedMessageError(f"$.UserIdentities.{name}: expected text")
        known[kind] = str(value)
    return known


# mParticle lists the MPID among the identities, but its example has none.
_MPID_NAMES: Final = frozenset({"mpid", "mparticleid", "mparticle_id", "mparticle id"})


def _mpid(identities: Mapping[str, Any]) -> int | None:
    """Return the MPID; None if there is none."""
    for name, value in identities.items():
        if name.lower() not in _MPID_NAMES or value is None or value == "":
            continue
        try:
            mpid = msgspec.convert(value, int, strict=False)
        except (msgspec.ValidationError, UnicodeError):
            mpid = 2**64
        if not -(2**63) <= mpid < 2**64:
            raise MalformedMessageError("$.UserIdentities: expected a 64-bit int as the MPID")
        return mpid or None
    return None

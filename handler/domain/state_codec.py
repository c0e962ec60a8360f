"""State codec: a person's state as the compact bytes that the table keeps.

States come in from membership.py and go out to table/people.py. Version, timestamp and identifier
are attributes of the item; the bytes contain the rest.

The first byte identifies the format. Format 1 is a msgpack array, whose first byte is 0x90 to
0x9f. New fields go at its end, and a reader ignores fields that it does not know, so an older
version of this project reads what a newer one wrote. Any other first byte is a future format.
"""

from __future__ import annotations

import struct
from itertools import accumulate, pairwise
from typing import Final

import msgspec

from handler.domain.membership import OWN_VALUES, PersonState, Stamp
from handler.domain.update import Identifier
from handler.errors import UnreadableStateError

_FORMAT_1: Final = range(0x90, 0xA0)
_STAMP: Final = struct.Struct(">HI")  # six bytes: 47 bits of milliseconds reach the year 6429


class _Former(msgspec.Struct, array_like=True):
    """A former identifier. Add new fields at the end."""

    text: str
    set_at_ms: int
    last: int  # the newest timestamp sent with it


class _Packed(msgspec.Struct, array_like=True):
    """A state without version, timestamp and identifier. Add new fields at the end."""

    id_steps: list[int]  # the lowest audience id, then the difference to each next one
    stamps: bytes  # six bytes for each audience
    identified_at_ms: int
    continuations: int
    set_at: list[Stamp]  # for OWN_VALUES, in that order; -1: never set
    former: list[_Former] = []
    mapped_set_at: dict[str, Stamp] = {}  # for all other attributes
    erased_at_ms: int = 0
    outranked: tuple[str, int] | None = None  # the text of an identifier, and when it was set


_DECODER: Final = msgspec.msgpack.Decoder(_Packed)


def pack(state: PersonState) -> bytes:
    """Return a state as bytes: about 9 per audience, at most 12 if the ids are far apart."""
    ids = sorted(state.memberships)
    return msgspec.msgpack.encode(
        _Packed(
            id_steps=[after - before for before, after in pairwise([0, *ids])],
            stamps=b"".join([state.memberships[key].to_bytes(_STAMP.size, "big") for key in ids]),
            identified_at_ms=state.identifier.set_at_ms if state.identifier else 0,
            continuations=state.continuations,
            set_at=[state.set_at.get(name, -1) for name in OWN_VALUES],
            former=[
                _Former(each.text, each.set_at_ms, last) for each, last in state.former.items()
            ],
            mapped_set_at={
                name: newest for name, newest in state.set_at.items() if name not in OWN_VALUES
            },
            erased_at_ms=state.erased_at_ms,
            outranked=(
                (state.outranked.text, state.outranked.set_at_ms) if state.outranked else None
            ),
        )
    )


def unpack(packed: bytes, *, version: int, timestamp: int, identifier: str | None) -> PersonState:
    """Return the state from packed bytes; `identifier` is an `Identifier.text`.

    Raises UnreadableStateError if the format is unknown, the bytes are damaged, or the state lacks
    an identifier and is no tombstone.
    """
    if not packed or packed[0] not in _FORMAT_1:
        raise UnreadableStateError("a state has an unknown format: a newer version wrote it?")
    try:
        fields = _DECODER.decode(packed)
        stamps = [high << 32 | low for high, low in _STAMP.iter_unpack(fields.stamps)]
        memberships = dict(zip(accumulate(fields.id_steps), stamps, strict=True))
    except (msgspec.DecodeError, ValueError, struct.error):
        raise UnreadableStateError("a state cannot be decoded") from None
    if identifier is None and not fields.erased_at_ms:
        raise UnreadableStateError("a state lacks an identifier")
    return PersonState(
        version=version,
        timestamp=timestamp,
        identifier=(
            None
            if identifier is None
            else Identifier.parse(identifier, set_at_ms=fields.identified_at_ms)
        ),
        memberships=memberships,
        # Another version may have written more or fewer stamps: read those that both know.
        set_at={
            name: newest
            for name, newest in zip(OWN_VALUES, fields.set_at, strict=False)
            if newest >= 0
        }
        | fields.mapped_set_at,
        continuations=fields.continuations,
        former={
            Identifier.parse(each.text, set_at_ms=each.set_at_ms): each.last
            for each in fields.former
        },
        erased_at_ms=fields.erased_at_ms,
        outranked=(
            Identifier.parse(fields.outranked[0], set_at_ms=fields.outranked[1])
            if fields.outranked
            else None
        ),
    )

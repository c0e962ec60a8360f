"""State codec: a person's state as the compact bytes that the table keeps.

States come in from membership.py and go out to table/people.py. Version, timestamp and identifier
are attributes of their own there; all else is in the bytes.

The first byte says the format. Format 1 is a msgpack array, whose first byte is 0x90 to 0x9f. It
grows at its end: a reader leaves out what it does not know, so that an older version of this
project reads what a newer one wrote. Any other first byte is a format of the future.
"""

from __future__ import annotations

from itertools import accumulate, pairwise
from typing import Final

import msgspec

from handler.domain.membership import OWN_VALUES, PersonState, Stamp
from handler.domain.update import Identifier
from handler.errors import UnreadableStateError

_FORMAT_1: Final = range(0x90, 0xA0)
_STAMP_BYTES: Final = 6  # 47 bits of milliseconds reach the year 6429


class _Former(msgspec.Struct, array_like=True):
    """A former identifier. New fields go at the end."""

    text: str
    set_at_ms: int
    last: int  # the newest timestamp given under it


class _Packed(msgspec.Struct, array_like=True):
    """A state but for version, timestamp and identifier. New fields go at the end."""

    id_steps: list[int]  # ascending audience ids, each as its distance from the one before
    stamps: bytes  # six bytes for each audience
    identified_at_ms: int
    continuations: int
    set_at: list[Stamp]  # of OWN_VALUES, in their order; -1: it never came
    former: list[_Former] = []
    mapped_set_at: dict[str, Stamp] = {}  # of all other attributes


_DECODER: Final = msgspec.msgpack.Decoder(_Packed)


def pack(state: PersonState) -> bytes:
    """Return a state as bytes: about 9 an audience, at most 12 if their ids are far apart."""
    ids = sorted(state.memberships)
    return msgspec.msgpack.encode(
        _Packed(
            id_steps=[*ids[:1], *(after - before for before, after in pairwise(ids))],
            stamps=b"".join([state.memberships[key].to_bytes(_STAMP_BYTES, "big") for key in ids]),
            identified_at_ms=state.identifier.set_at_ms if state.identifier else 0,
            continuations=state.continuations,
            set_at=[state.set_at.get(name, -1) for name in OWN_VALUES],
            former=[
                _Former(each.text, each.set_at_ms, last) for each, last in state.former.items()
            ],
            mapped_set_at={
                name: newest for name, newest in state.set_at.items() if name not in OWN_VALUES
            },
        )
    )


def unpack(packed: bytes, *, version: int, timestamp: int, identifier: str) -> PersonState:
    """Return the state that `pack` was given; `identifier` is the text of one.

    Raises UnreadableStateError for bytes that no version up to this one wrote.
    """
    if not packed or packed[0] not in _FORMAT_1:
        raise UnreadableStateError("a state of an unknown format: a newer version wrote it?")
    try:
        fields = _DECODER.decode(packed)
        stamps = [
            int.from_bytes(fields.stamps[place : place + _STAMP_BYTES], "big")
            for place in range(0, len(fields.stamps), _STAMP_BYTES)
        ]
        memberships = dict(zip(accumulate(fields.id_steps), stamps, strict=True))
    except (msgspec.DecodeError, ValueError):
        raise UnreadableStateError("a state that cannot be read") from None
    return PersonState(
        version=version,
        timestamp=timestamp,
        identifier=Identifier.parse(identifier, set_at_ms=fields.identified_at_ms),
        memberships=memberships,
        # A longer or shorter list is one of another version: what both know counts.
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
    )

"""Audience: a workspace's audiences, with current and former names, and which are removed.

Updates come from messages. audience_attributes.py names attributes by the catalogue.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from itertools import islice
from typing import Annotated, Final, Literal

import msgspec

from handler.errors import UnreadableStateError

MAX_FORMER_NAMES: Final = 5
"""Former names kept for an audience: the latest ones."""

MAX_NAME_BYTES: Final = 1000
"""A longer name is cut, so that one message cannot fill a catalogue."""

RENEWED_AFTER_MS: Final = 24 * 3600 * 1000
"""How old the time of a name is before a repeated name updates it, in milliseconds. Until then, a
rename and its reversal in the wrong order may end with the wrong name."""

_FORMAT_1: Final = range(0x90, 0xA0)


AudienceAction = Literal["add", "update", "remove"]
"""What mParticle did to an audience, in mParticle's words."""


class AudienceUpdate(msgspec.Struct, frozen=True):
    """What a message says about an audience; `name` is empty if it has none."""

    audience_id: Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
    at_ms: int
    name: str
    action: AudienceAction = "update"


class Audience(msgspec.Struct, frozen=True, array_like=True):
    """One audience; all times are mParticle's, in Unix milliseconds.

    `former`: earlier names, each with the time when it ended. `removed_at_ms`, `added_at_ms`: when
    mParticle last removed and added the audience; 0: never.
    """

    # The table keeps these fields in this order: add new ones at the end, with a default.
    name: str = ""
    named_at_ms: int = 0
    former: Mapping[str, int] = {}
    removed_at_ms: int = 0
    added_at_ms: int = 0

    @property
    def is_removed(self) -> bool:
        """Whether mParticle removed it and has not added it again."""
        return self.removed_at_ms > 0 and self.removed_at_ms >= self.added_at_ms

    def learn(self, update: AudienceUpdate) -> Audience:
        """Return the audience with what is new, or itself if nothing is. The newest name wins."""
        known = self
        if name := update.name.encode()[:MAX_NAME_BYTES].decode(errors="ignore"):
            known = known._named(name, update.at_ms)
        if update.action == "add" and update.at_ms > known.added_at_ms:
            known = msgspec.structs.replace(known, added_at_ms=update.at_ms)
        # A later change of a removed audience shows that it is there again.
        if update.action == "update" and known.is_removed and update.at_ms > known.removed_at_ms:
            known = msgspec.structs.replace(known, added_at_ms=update.at_ms)
        if update.action == "remove" and update.at_ms > known.removed_at_ms:
            known = msgspec.structs.replace(known, removed_at_ms=update.at_ms)
        return known

    def _named(self, name: str, at_ms: int) -> Audience:
        if name == self.name:
            if at_ms <= self.named_at_ms + RENEWED_AFTER_MS:
                return self
            return msgspec.structs.replace(self, named_at_ms=at_ms)
        if (at_ms, name) > (self.named_at_ms, self.name):
            ended = {self.name: at_ms} if self.name else {}
            before = {known: end for known, end in self.former.items() if known != name}
            former = _newest(before | ended)
            return msgspec.structs.replace(self, name=name, named_at_ms=at_ms, former=former)
        if name in self.former:
            return self
        former = _newest({**self.former, name: self.named_at_ms})
        return self if former == self.former else msgspec.structs.replace(self, former=former)


def _newest(former: Mapping[str, int]) -> Mapping[str, int]:
    newest_first = sorted(former.items(), key=lambda each: (-each[1], each[0]))
    return dict(islice(newest_first, MAX_FORMER_NAMES))


class Catalogue(msgspec.Struct, frozen=True, dict=True):
    """The audiences of a workspace that messages named. `version` 0: it is not stored yet."""

    version: int = 0
    audiences: Mapping[int, Audience] = {}

    @cached_property
    def ever_removed(self) -> Mapping[int, Audience]:
        """The audiences that mParticle ever removed, by id, also those that it added again."""
        return {key: each for key, each in self.audiences.items() if each.removed_at_ms}

    def learn(self, updates: Iterable[AudienceUpdate]) -> Catalogue:
        """Return the next version with what is new, or the catalogue itself if nothing is."""
        learned: dict[int, Audience] = {}
        for update in updates:
            known = learned.get(update.audience_id) or self.audiences.get(update.audience_id)
            newer = (known or Audience()).learn(update)
            if newer is not known and newer != Audience():
                learned[update.audience_id] = newer
        if not learned:
            return self
        return Catalogue(self.version + 1, {**self.audiences, **learned})


class _Packed(msgspec.Struct, array_like=True):
    audiences: Mapping[int, Audience]


_DECODER: Final = msgspec.msgpack.Decoder(_Packed)


def pack_catalogue(catalogue: Catalogue) -> bytes:
    """Return a catalogue without its version as bytes: about 20 per audience, plus its names.

    The first byte identifies the format, as in state_codec.py.
    """
    return msgspec.msgpack.encode(_Packed(catalogue.audiences))


def unpack_catalogue(packed: bytes, *, version: int) -> Catalogue:
    """Return the catalogue from packed bytes.

    Raises UnreadableStateError if the format is unknown or the bytes are damaged.
    """
    if not packed or packed[0] not in _FORMAT_1:
        raise UnreadableStateError("a catalogue has an unknown format: a newer version wrote it?")
    try:
        return Catalogue(version, _DECODER.decode(packed).audiences)
    except (msgspec.DecodeError, ValueError):
        raise UnreadableStateError("a catalogue cannot be decoded") from None

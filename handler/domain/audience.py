"""Audience: the names of a workspace's audiences, now and before, and which were removed.

Messages teach a catalogue; attributes.py names attributes by it, and clears those of former names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Annotated, Final, Literal

import msgspec

from handler.errors import UnreadableStateError

MAX_FORMER_NAMES: Final = 5
"""Former names that are remembered of an audience: those that ended last."""

MAX_NAME_BYTES: Final = 1000
"""A longer name is cut, so that one message cannot fill a catalogue."""

RENEWED_AFTER_MS: Final = 24 * 3600 * 1000
"""A name that is said again counts as news if it was learned so long ago, in milliseconds. Until
then a rename and its reversal that arrive in the wrong order may end with the wrong name."""

_FORMAT_1: Final = range(0x90, 0xA0)


AudienceAction = Literal["add", "update", "remove"]
"""What mParticle did to an audience, by its name for it."""


class AudienceNews(msgspec.Struct, frozen=True):
    """What a message says of an audience; `name` is empty if it says none."""

    audience_id: Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
    at_ms: int
    name: str
    action: AudienceAction = "update"


class Audience(msgspec.Struct, frozen=True, array_like=True):
    """One audience; all times are mParticle's, in Unix milliseconds.

    `former` has the names before this one, each with the time when it ended. mParticle removed
    the audience last at `removed_at_ms`, and added it last at `added_at_ms`; 0: never.
    """

    # The table keeps these fields in this order: new ones go at the end, with a default.
    name: str = ""
    named_at_ms: int = 0
    former: Mapping[str, int] = {}
    removed_at_ms: int = 0
    added_at_ms: int = 0

    @property
    def is_removed(self) -> bool:
        """Whether mParticle removed it, and has not added it again."""
        return self.removed_at_ms > 0 and self.removed_at_ms >= self.added_at_ms

    def learn(self, news: AudienceNews) -> Audience:
        """Return the audience with what is new; itself if nothing is. The newest name counts."""
        known = self
        if name := _bounded(news.name):
            known = known._named(name, news.at_ms)
        if news.action == "add" and news.at_ms > known.added_at_ms:
            known = msgspec.structs.replace(known, added_at_ms=news.at_ms)
        if news.action == "remove" and news.at_ms > known.removed_at_ms:
            known = msgspec.structs.replace(known, removed_at_ms=news.at_ms)
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


def _bounded(name: str) -> str:
    # Half a surrogate pair, which JSON may hold, is left out as well.
    return name.encode(errors="ignore")[:MAX_NAME_BYTES].decode(errors="ignore")


def _newest(former: Mapping[str, int]) -> Mapping[str, int]:
    newest_first = sorted(former.items(), key=lambda each: (-each[1], each[0]))
    return dict(islice(newest_first, MAX_FORMER_NAMES))


class Catalogue(msgspec.Struct, frozen=True):
    """The audiences of a workspace that were ever named. `version` 0: nothing is kept yet."""

    version: int = 0
    audiences: Mapping[int, Audience] = {}

    def learn(self, news: Iterable[AudienceNews]) -> Catalogue:
        """Return the next version, with what is new; the catalogue itself if nothing is."""
        learned: dict[int, Audience] = {}
        for each in news:
            known = learned.get(each.audience_id) or self.audiences.get(each.audience_id)
            newer = (known or Audience()).learn(each)
            if newer is not known and newer != Audience():
                learned[each.audience_id] = newer
        if not learned:
            return self
        return Catalogue(self.version + 1, {**self.audiences, **learned})


class _Packed(msgspec.Struct, array_like=True):
    audiences: Mapping[int, Audience]


_DECODER: Final = msgspec.msgpack.Decoder(_Packed)


def pack_catalogue(catalogue: Catalogue) -> bytes:
    """Return a catalogue as bytes, but for its version: about 20 an audience, and its names.

    The first byte says the format, as in state_codec.py.
    """
    return msgspec.msgpack.encode(_Packed(catalogue.audiences))


def unpack_catalogue(packed: bytes, *, version: int) -> Catalogue:
    """Return the catalogue that `pack_catalogue` was given.

    Raises UnreadableStateError for bytes that no version up to this one wrote.
    """
    if not packed or packed[0] not in _FORMAT_1:
        raise UnreadableStateError("a catalogue of an unknown format: a newer version wrote it?")
    try:
        return Catalogue(version, _DECODER.decode(packed).audiences)
    except (msgspec.DecodeError, ValueError):
        raise UnreadableStateError("a catalogue that cannot be read") from None

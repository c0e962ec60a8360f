"""Audience attributes: the attributes `In <audience name>`, named by a workspace's catalogue.

attributes.py asks for those of each person. One object serves many people of a workspace.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Final

import msgspec

from handler.domain.attribute_mapping import MAX_NAME_BYTES
from handler.domain.audience import Audience, Catalogue
from handler.domain.membership import Memberships, is_member
from handler.domain.options import DeliveryOptions
from handler.domain.profile import MembershipChange


class AudienceAttributes(msgspec.Struct, frozen=True, dict=True):
    """The attributes of a workspace's audiences."""

    catalogue: Catalogue
    options: DeliveryOptions

    def of(
        self, memberships: Memberships, changes: Iterable[MembershipChange]
    ) -> dict[str, bool | None]:
        """Return the attributes of the audiences in these changes; None clears an attribute.

        The attributes of former names are cleared. If another audience has a former name now, the
        attribute says whether the person is in that audience.
        """
        attributes: dict[str, bool | None] = {}
        for change in changes:
            name = self.name(change)
            # If audiences share a name, the person has to be in only one of them.
            others = self._sharing(name)
            if attributes.get(name) is not True:
                is_gone = not others and self._is_cleared(change.audience_id)
                attributes[name] = _value(
                    memberships,
                    {change.audience_id, *others},
                    clears=is_gone or self.options.clear_on_exit,
                )
            for former in self._former(change.audience_id):
                known = [each for each in self._sharing(former) if each in memberships]
                clears = not known or self.options.clear_on_exit
                attributes.setdefault(former, _value(memberships, known, clears=clears))
        return attributes

    def name(self, change: MembershipChange) -> str:
        """Return the name of the attribute for the audience in a change."""
        known = self._current.get(change.audience_id)
        return known or self._attribute(change.audience_name, change.audience_id)

    def named(self, memberships: Memberships) -> Iterator[MembershipChange]:
        """Yield memberships in audiences that have a name, as changes."""
        for audience_id, newest in memberships.items():
            name = self._audience(audience_id).name
            if name:
                yield MembershipChange(audience_id, name, is_member(newest))

    def all_names(self, audience_id: int) -> Iterator[str]:
        """Yield the attributes of all known names of an audience, current and former."""
        if audience_id in self._current:
            yield self._current[audience_id]
        yield from self._former(audience_id)

    def _former(self, audience_id: int) -> Iterator[str]:
        for name in self._audience(audience_id).former:
            yield self._attribute(name, audience_id)

    def _is_cleared(self, audience_id: int) -> bool:
        """Tell whether an audience is removed, and its attribute with it."""
        return self.options.clear_removed_audiences and self._audience(audience_id).is_removed

    def _audience(self, audience_id: int) -> Audience:
        return self.catalogue.audiences.get(audience_id, _UNKNOWN)

    def _sharing(self, attribute: str) -> Sequence[int]:
        return self._by_attribute.get(attribute, ())

    @cached_property
    def _current(self) -> Mapping[int, str]:
        """The attribute of each audience that has a name."""
        return {
            audience_id: self._attribute(audience.name, audience_id)
            for audience_id, audience in self.catalogue.audiences.items()
            if audience.name
        }

    @cached_property
    def _by_attribute(self) -> Mapping[str, list[int]]:
        """The audiences that are not removed, by their attribute."""
        by_attribute: defaultdict[str, list[int]] = defaultdict(list)
        for audience_id, attribute in self._current.items():
            if not self._audience(audience_id).is_removed:
                by_attribute[attribute].append(audience_id)
        return by_attribute

    def _attribute(self, name: str, audience_id: int) -> str:
        shown = name or str(audience_id)
        if self.options.dot_replacement is not None:
            shown = shown.replace(".", self.options.dot_replacement)
        return attribute_name(f"In {shown}", audience_id)


def _value(memberships: Memberships, audience_ids: Iterable[int], *, clears: bool) -> bool | None:
    """Tell whether a person is in one of the audiences; if not, None clears the attribute."""
    for audience_id in audience_ids:
        newest = memberships.get(audience_id)
        if newest is not None and is_member(newest):
            return True
    return None if clears else False


_UNKNOWN: Final = Audience()


def attribute_name(name: str, audience_id: int) -> str:
    """Return a name within Customer.io's limit: a longer one is cut and ends in the audience's id.

    The cut is between characters. The id keeps the name unique and stable.
    """
    encoded = name.encode()
    if len(encoded) <= MAX_NAME_BYTES:
        return name
    ending = f" ({audience_id})"
    return encoded[: MAX_NAME_BYTES - len(ending)].decode(errors="ignore") + ending

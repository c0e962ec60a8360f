"""Options: how people are delivered, as the stack and the workspace set it.

settings.py reads what the stack says, credentials.py what a workspace says; attributes.py and
events.py follow them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar

from handler.domain.attribute_mapping import NO_ATTRIBUTES, AttributeMapping
from handler.domain.workspace import Workspace

_Option = TypeVar("_Option")


@dataclass(frozen=True, slots=True)
class DeliveryOptions:
    """How people are delivered.

    `clear_on_exit`: an attribute of an audience that the person is not in is removed, instead of
    set to false. `dot_replacement`: text for each dot in an audience's name; None keeps dots,
    which Customer.io may read as nesting. `create_people`: Customer.io gets people that it does
    not have yet. `membership_events`: each change is sent as an event, too. `attribute_mapping`:
    the user attributes that are sent.
    """

    clear_on_exit: bool = False
    dot_replacement: str | None = None
    create_people: bool = True
    membership_events: bool = False
    attribute_mapping: AttributeMapping = NO_ATTRIBUTES

    def of(self, workspace: Workspace) -> DeliveryOptions:
        """Return the options for a workspace: its own where it has any, else these."""
        return replace(
            self,
            create_people=_own(workspace.create_people, self.create_people),
            membership_events=_own(workspace.membership_events, self.membership_events),
            attribute_mapping=_own(workspace.attribute_mapping, self.attribute_mapping),
        )

    @property
    def sends_events(self) -> bool:
        """Whether changes are sent as events: an event would create a person who must not be."""
        return self.membership_events and self.create_people


def _own(value: _Option | None, stack: _Option) -> _Option:
    return stack if value is None else value

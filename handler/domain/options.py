"""Options: how people are delivered, by stack and by workspace.

settings.py reads those of the stack, credentials.py those of a workspace; attributes.py and
jobs/deliver.py apply them.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from handler.domain.attribute_mapping import NO_ATTRIBUTES, AttributeMapping
from handler.domain.profile import CUSTOMER_ID_TYPES
from handler.domain.workspace import OnErasure, Workspace

_Option = TypeVar("_Option")


class DeliveryOptions(msgspec.Struct, frozen=True):
    """How people are delivered.

    `one_attribute_per_audience`: also send an attribute for each audience, if a message does not
    say otherwise. `clear_on_exit`: remove the attribute of an audience that the person is not in,
    instead of setting it to false. `dot_replacement`: text for each dot in an audience's name;
    None keeps dots, which Customer.io may read as nesting. `create_people`: create people whom
    Customer.io does not have. `clear_removed_audiences`: everybody leaves an audience that
    mParticle removes, and its attribute is removed. `membership_events`: also send each change as
    an event. `attribute_mapping`: the user attributes to send. `on_erasure`: what an erasure does
    in Customer.io. `customer_id_type`: which identity is the customer id, by its type in messages.
    """

    one_attribute_per_audience: bool = False
    clear_on_exit: bool = False
    dot_replacement: str | None = None
    create_people: bool = True
    clear_removed_audiences: bool = False
    membership_events: bool = False
    attribute_mapping: AttributeMapping = NO_ATTRIBUTES
    customer_id_type: str = CUSTOMER_ID_TYPES["CustomerId"]
    on_erasure: OnErasure = "none"

    def of(self, workspace: Workspace) -> DeliveryOptions:
        """Return the options for a workspace: its own if it has any, else these."""
        own = (
            workspace.create_people,
            workspace.membership_events,
            workspace.attribute_mapping,
            workspace.on_erasure,
        )
        if own == (None, None, None, None):
            return self  # a copy for each message would cost 3 µs
        return msgspec.structs.replace(
            self,
            create_people=_own(workspace.create_people, self.create_people),
            membership_events=_own(workspace.membership_events, self.membership_events),
            attribute_mapping=_own(workspace.attribute_mapping, self.attribute_mapping),
            on_erasure=_own(workspace.on_erasure, self.on_erasure),
        )

    @property
    def sends_events(self) -> bool:
        """Whether changes are sent as events: not if an event must not create its person."""
        return self.membership_events and self.create_people


def _own(value: _Option | None, stack: _Option) -> _Option:
    return stack if value is None else value

"""Workspace: one Customer.io workspace and its credentials."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

from handler.domain.attribute_mapping import AttributeMapping

MAX_WORKSPACES: Final = 1000
"""Most workspaces that are kept in memory; a credentials secret of 64 KB has fewer."""

Region = Literal["us", "eu", "auto"]

OnErasure = Literal["none", "delete", "suppress"]
"""What an erasure does in Customer.io."""


@dataclass(frozen=True, slots=True)
class Workspace:
    """A workspace by its site id. No `repr` shows the API key.

    None: the stack's option applies; see options.py.
    """

    site_id: str
    api_key: str = field(repr=False)
    region: Region = "us"
    create_people: bool | None = None
    membership_events: bool | None = None
    attribute_mapping: AttributeMapping | None = None
    on_erasure: OnErasure | None = None

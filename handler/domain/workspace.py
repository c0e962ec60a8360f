"""Workspace: one Customer.io workspace and the credentials that open it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Region = Literal["us", "eu", "auto"]


@dataclass(frozen=True, slots=True)
class Workspace:
    """A workspace by its site id. The API key is kept out of every `repr`."""

    site_id: str
    api_key: str = field(repr=False)
    region: Region = "us"

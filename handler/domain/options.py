"""Options: how attributes are written, as the stack sets it.

Settings.py reads them; attributes.py follows them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AttributeOptions:
    """How one attribute per audience is sent.

    `clear_on_exit`: an attribute of an audience that the person is not in is removed, instead of
    set to false. `dot_replacement`: text for each dot in an audience's name; None keeps dots,
    which Customer.io may read as nesting.
    """

    clear_on_exit: bool = False
    dot_replacement: str | None = None

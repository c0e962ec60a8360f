"""Subject request: what somebody asks of the data about them, as mParticle forwards it.

message.py reads it, erasure.py carries it on, dead_letter.py writes it.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

ERASURE: Final = "erasure"
"""The type of request that is carried out."""

CUSTOMER_ID: Final = "controller_customer_id"
"""The customer id, in mParticle's word for it in these requests."""

IDENTITIES: Final = (CUSTOMER_ID, "other", *(f"other{n}" for n in range(2, 11)), "email")
"""The identities that may be read: the customer id, whichever it is, and the email."""


class SubjectRequest(msgspec.Struct, frozen=True):
    """The fields of a request that are read, unchecked; `identities` are those of the subject."""

    id: Any
    type: Any
    identities: Any

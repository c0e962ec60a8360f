"""Update: all that one source says about one person at one time.

Profiles come in from profile.py; updates go on to membership.py, which merges them, and to
attributes.py, which sends the values.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Literal

import msgspec

from handler.domain.attribute_mapping import NAMES, NO_ATTRIBUTES, AttributeMapping, is_valid
from handler.domain.profile import AttributeValue, MembershipChange, Profile


class Identifier(msgspec.Struct, frozen=True, order=True, gc=False):
    """What Customer.io knows a person by: `id`, or `email` if there is no id."""

    # Identifiers are compared field by field, in this order: an id outranks an email, and of two
    # ids or emails the newer one outranks the older.
    is_id: bool
    set_at_ms: int
    value: str

    @property
    def kind(self) -> Literal["id", "email"]:
        """The name of the identifier in the Track API."""
        return "id" if self.is_id else "email"

    @property
    def text(self) -> str:
        """The identifier in the table's index: `id:42` or `email:ann@example.com`."""
        return f"{self.kind}:{self.value}"

    def names_the_same(self, other: Identifier) -> bool:
        """Tell whether both name one person in Customer.io, whenever they were set."""
        return self.value == other.value and self.is_id == other.is_id

    @classmethod
    def parse(cls, text: str, *, set_at_ms: int) -> Identifier:
        """Return the identifier whose `text` this is."""
        kind, _, value = text.partition(":")
        return cls(is_id=kind == "id", set_at_ms=set_at_ms, value=value)


SiteIdentifier = tuple[str, Identifier]
"""An identifier in a workspace, with the site id of that."""


class Update(msgspec.Struct, frozen=True):
    """What is new about one person: memberships, values, and perhaps an identifier.

    `values`: email, first and last name, and mapped attributes, by their name in Customer.io; None
    clears one. `left_out`: how many mapped attributes have a name that Customer.io cannot hold.
    """

    at_ms: int
    changes: tuple[MembershipChange, ...]
    values: Mapping[str, AttributeValue | None]
    identifier: Identifier | None
    one_attribute_per_audience: bool = False
    left_out: int = 0

    @classmethod
    def of(
        cls,
        profile: Profile,
        *,
        at_ms: int,
        one_attribute_per_audience: bool,
        mapping: AttributeMapping = NO_ATTRIBUTES,
    ) -> Update:
        """Return the update from a profile, at its message's time.

        A first or last name that is not text is ignored.
        """
        values: dict[str, AttributeValue | None] = {}
        left_out = 0
        for key, value in profile.attributes.items():
            if own := NAMES.get(key.lower()):
                if isinstance(value, str | None):
                    values[own] = value
            elif (name := mapping.name(key)) is not None:
                if is_valid(name):
                    values[name] = value
                else:
                    left_out += 1
        if profile.email is not None:
            values["email"] = profile.email
        return cls(
            at_ms=at_ms,
            changes=profile.changes,
            values=values,
            identifier=_identifier(profile, at_ms),
            one_attribute_per_audience=one_attribute_per_audience,
            left_out=left_out,
        )


def _identifier(profile: Profile, at_ms: int) -> Identifier | None:
    if profile.customer_id is not None:
        return Identifier(is_id=True, set_at_ms=at_ms, value=profile.customer_id)
    if profile.email is not None:
        # Customer.io ignores the case of emails, so use one form.
        return Identifier(is_id=False, set_at_ms=at_ms, value=profile.email.lower())
    return None


def site_id_in(key: str) -> str:
    """Return the site id of the workspace in the key of a person's item."""
    return key.rpartition("#")[0]


def hash_in(key: str) -> str:
    """Return the hash in the key of a person's item."""
    return key.rpartition("#")[2]


def person_key(site_id: str, profile: Profile) -> str:
    """Return the key of a person's item: the workspace, and a hash of the MPID, id or email.

    Without an MPID the customer id names the person, else the email in lower case. A profile may
    have the hash itself.
    """
    if profile.person_hash is not None:
        return f"{site_id}#{profile.person_hash}"
    if profile.mpid is not None:
        name = f"mpid:{profile.mpid}"
    elif profile.customer_id is not None:
        name = f"id:{profile.customer_id}"
    else:
        name = f"email:{(profile.email or '').lower()}"
    return f"{site_id}#{hashlib.sha256(name.encode()).hexdigest()}"

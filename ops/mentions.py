"""Mentions: whether a message names a person. Pure.

It reads less than the function does, so that it recognizes a person also in a profile that the
function refuses.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from handler.domain.erasure import customer_id_kind
from handler.domain.firehose import account_id
from handler.domain.message import MessageType, RawProfile, read_fields
from handler.domain.profile import Profile
from handler.domain.update import Identifier, person_key
from handler.errors import MalformedMessageError


@dataclass(frozen=True, slots=True)
class Names:
    """What a message may name a person by.

    `keys` are those of the person's items: they stand for an MPID that only its hash is known of.
    `customer_id_type`: which identity is the customer id, by its type in messages.
    """

    site_ids: frozenset[str]
    keys: frozenset[str]
    identifiers: frozenset[str]
    """The texts of identifiers in Customer.io, as `Identifier.text` has them."""
    customer_id_type: str

    @classmethod
    def of(
        cls,
        site_ids: Iterable[str],
        keys: Iterable[str],
        identifiers: Iterable[Identifier],
        customer_id_type: str,
    ) -> Names:
        """Return the names of a person."""
        texts = frozenset(identifier.text for identifier in identifiers)
        return cls(frozenset(site_ids), frozenset(keys), texts, customer_id_type)

    def are_in(self, body: str) -> bool | None:
        """Tell whether a message names the person; None if not all of it can be read."""
        try:
            fields = read_fields(body)
        except MalformedMessageError:
            return None
        profiles = fields.user_profiles or ()
        is_record = fields.type == MessageType.STREAM_RECORD.value
        if is_record or isinstance(profiles, msgspec.Raw):
            return None
        answers = {self._are_of(raw) for raw in profiles}
        answers.add(self._identify(self._subject(fields.subject_identities)))
        return True if True in answers else None if None in answers else False

    def _are_of(self, raw: RawProfile) -> bool | None:
        try:
            profile = _profile(json.loads(bytes(raw)), self.customer_id_type)
            if any(person_key(site_id, profile) in self.keys for site_id in self.site_ids):
                return True
        except (ValueError, RecursionError):
            return None
        return self._identify(profile)

    def _identify(self, profile: Profile) -> bool:
        texts = set()
        if profile.customer_id is not None:
            texts.add(f"id:{profile.customer_id}")
        if profile.email is not None:
            texts.add(f"email:{profile.email.lower()}")
        return not texts.isdisjoint(self.identifiers)

    def _subject(self, identities: Any) -> Profile:
        """Return as much of a data subject as says who it is."""
        named = identities if isinstance(identities, dict) else {}
        types = {customer_id_kind(self.customer_id_type): self.customer_id_type, "email": "email"}
        listed = [
            {**named[kind], "type": name}
            for kind, name in types.items()
            if isinstance(named.get(kind), dict)
        ]
        return _profile({"user_identities": listed}, self.customer_id_type)


def account_of(body: str) -> int | None:
    """Return the mParticle account that a message is of; None if it cannot be read."""
    try:
        return account_id({"account": read_fields(body).account})
    except MalformedMessageError:
        return None


def _profile(content: Any, customer_id_type: str) -> Profile:
    """Return as much of a profile as says who it is."""
    fields = content if isinstance(content, dict) else {}
    identities = fields.get("user_identities")
    named = identities if isinstance(identities, list) else []
    return Profile(
        mpid=_mpid(fields.get("mpid")),
        customer_id=_identity(named, customer_id_type),
        email=_identity(named, "email"),
        changes=(),
        attributes={},
        person_hash=_person_hash(fields.get("person_hash")),
    )


def _identity(identities: Iterable[Any], kind: str) -> str | None:
    for each in identities:
        if isinstance(each, dict) and (each.get("type"), each.get("encoding")) == (kind, "raw"):
            value = each.get("value")
            if isinstance(value, str | int) and str(value).strip():
                return str(value).strip()
    return None


def _person_hash(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _mpid(value: Any) -> int | None:
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return int(value) or None
    return value or None if isinstance(value, int) else None


_NUMBER: Final = re.compile(r"-?[0-9]{1,20}")

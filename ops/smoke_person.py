"""Smoke person: the made-up person of `ops smoke`, and what shows that they arrived. Pure."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from handler.domain.dead_letter import ONE_ATTRIBUTE_SETTING
from handler.domain.message import MessageType
from handler.domain.profile import CUSTOMER_ID_TYPES, Profile
from handler.domain.update import hash_in, person_key

AUDIENCE_ID: Final = -1
"""No audience of mParticle has such an id. The message gives it no name, so that the table's
catalogue of audiences does not learn it."""


@dataclass(frozen=True, slots=True)
class SmokePerson:
    """The person. `nonce` is a random text that makes them unmistakable.

    `customer_id_type`: which identity is the customer id, by its type in messages.
    """

    site_id: str
    account_id: int | None
    nonce: str
    customer_id_type: str

    @property
    def customer_id(self) -> str:
        """The person's id in Customer.io."""
        return f"audience-forwarder-smoke-{self.nonce}"

    @property
    def email(self) -> str:
        """The person's email, at a domain that takes no mail."""
        return f"{self.customer_id}@example.com"

    @property
    def message_id(self) -> str:
        """The id of the message that brings them, which the log names."""
        return f"smoke-{self.nonce}"

    @property
    def key(self) -> str:
        """The key of their item in the table."""
        return person_key(self.site_id, Profile(None, self.customer_id, self.email, (), {}))

    @property
    def hash(self) -> str:
        """The hash in the key, which the log names."""
        return hash_in(self.key)

    def message(self, *, at_ms: int) -> str:
        """Return a message that they have entered the audience, as mParticle writes it."""
        account: dict[str, Any] = {"account_settings": {ONE_ATTRIBUTE_SETTING: False}}
        if self.account_id is not None:
            account["account_id"] = self.account_id
        identities = [(self.customer_id_type, self.customer_id), ("email", self.email)]
        profile = {
            "user_identities": [
                {"type": kind, "encoding": "raw", "value": value} for kind, value in identities
            ],
            "audiences": [{"audience_id": AUDIENCE_ID, "action": "add"}],
        }
        return json.dumps(
            {
                "type": MessageType.MEMBERSHIP_CHANGE.value,
                "id": self.message_id,
                "timestamp_ms": at_ms,
                "account": account,
                "user_profiles": [profile],
            }
        )

    def record(self, *, at_ms: int) -> str:
        """Return the same as mParticle writes it into a stream."""
        names = {kind: name for name, kind in CUSTOMER_ID_TYPES.items()}
        return json.dumps(
            {
                "MembershipChangedTimestamp": at_ms,
                "AudienceId": AUDIENCE_ID,
                "IsMember": True,
                "UserIdentities": {
                    names[self.customer_id_type]: self.customer_id,
                    "Email": self.email,
                },
            }
        )


@dataclass(frozen=True, slots=True)
class Evidence:
    """What shows that a step is done, and whether it leaves no doubt."""

    text: str
    is_certain: bool = True


@dataclass(frozen=True, slots=True)
class Progress:
    """What the log says of the person's message; `taken` shows that Customer.io took them."""

    taken: Evidence | None
    retries: tuple[str, ...]
    is_set_aside: bool


_NAMED: Final = Evidence("the log names the person as delivered")
_NOT_NAMED: Final = Evidence(
    "most likely: an invocation that delivered people has ended, and the message was not retried "
    "since; only at LogLevel DEBUG the log names single people",
    is_certain=False,
)


def progress(
    lines: Iterable[Mapping[str, Any]], person: SmokePerson, *, message_id: str | None
) -> Progress:
    """Read lines of ours, all from the time of the sending on.

    `message_id` is the one that brings the person. If it is None, it is not known, and failures of
    any message may be theirs.
    """
    by_event: defaultdict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for line in lines:
        named = line.get("mparticle_message_id")
        is_of_another = None not in {named, message_id} and named != message_id
        if line and not is_of_another:
            by_event[line["message"]].append(line)
    retried, set_aside = by_event["message.retried"], by_event["message.set_aside"]
    failed = [*retried, *set_aside]
    last_failure = max((line["at"] for line in failed), default=0.0)
    failing = {line["function_request_id"] for line in failed}
    taken = None
    if any(
        line["at"] > last_failure
        and line["delivered"] > 0
        and line["function_request_id"] not in failing
        for line in by_event["batch.done"]
    ):
        taken = _NOT_NAMED
    if any(line["person"] == person.hash for line in by_event["person.delivered"]):
        taken = _NAMED
    reasons = (f"{line['error_type']}: {line['reason']}" for line in retried)
    return Progress(taken, tuple(dict.fromkeys(reasons)), is_set_aside=bool(set_aside))

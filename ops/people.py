"""People: what the table holds of a person, what would be sent of them now, and erasing it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from handler.customerio import wire
from handler.domain.attributes import AttributeOptions, build_person
from handler.domain.membership import Identifier, PersonState, identifier_text, person_key
from handler.domain.message import Profile
from handler.errors import ForwarderError
from handler.store import Store

if TYPE_CHECKING:
    from ops.stack import Aws, Stack


@dataclass(frozen=True, slots=True)
class Found:
    """A person's item, and the entities that would be posted of them."""

    key: str
    state: PersonState
    entities: Sequence[Any]

    @property
    def site_id(self) -> str:
        """The Customer.io workspace that the item belongs to."""
        return _site_id(self.key)


@dataclass(frozen=True, slots=True)
class Sought:
    """Who is looked for: one of the three is given."""

    customer_id: str | None = None
    email: str | None = None
    mpid: int | None = None

    def keys(self, site_ids: Iterable[str]) -> list[str]:
        """Return the keys that their item would have in each workspace."""
        profile = Profile(self.mpid, self.customer_id, self.email, changes=(), names={})
        return [person_key(site_id, profile) for site_id in site_ids]

    @property
    def identifier(self) -> str | None:
        """What the index knows them by; None for an MPID, which it does not know."""
        if self.customer_id is not None:
            known = Identifier(is_id=True, set_at_ms=0, value=self.customer_id)
        elif self.email is not None:
            known = Identifier(is_id=False, set_at_ms=0, value=self.email.lower())
        else:
            return None
        return identifier_text(known)


def find(aws: Aws, stack: Stack, sought: Sought, site_ids: Iterable[str]) -> list[Found]:
    """Return every item that is this person's in these workspaces, and in no other."""
    wanted = set(site_ids)
    # The index covers the whole table: one customer id can be known in several workspaces.
    indexed = [key for key in _indexed(aws, stack, sought) if _site_id(key) in wanted]
    keys = dict.fromkeys([*sought.keys(sorted(wanted)), *indexed])
    if not keys:
        return []
    with ThreadPoolExecutor(1) as executor:
        store = Store(
            aws.dynamodb, stack.table_name, executor, backoff=lambda _: 1.0, sleep=time.sleep
        )
        states = store.load(list(keys), consistent=True, time_left=lambda: 60.0)
    found = []
    for key, state in states.items():
        if isinstance(state, ForwarderError):
            raise state
        if state.version:
            found.append(Found(key, state, would_be_sent(state)))
    return found


def erase(aws: Aws, stack: Stack, key: str) -> None:
    """Delete a person's item, as it is by now; the next message of them makes a new one."""
    aws.dynamodb.delete_item(TableName=stack.table_name, Key={"pk": {"S": key}})


def would_be_sent(state: PersonState) -> list[Any]:
    """Return the entities that the function would post, were the person named by a message that
    says nothing new. Values that the table does not keep, email and names, are not among them;
    where the state is over a minute old, the timestamp would be the time of the post.
    """
    # Options are about what a message names, and there is no message.
    person = build_person(state, [], timestamp=state.timestamp, options=AttributeOptions())
    return [msgspec.json.decode(entity) for entity in wire.entities(person)]


def _site_id(key: str) -> str:
    return key.rpartition("#")[0]


def _indexed(aws: Aws, stack: Stack, sought: Sought) -> Iterable[str]:
    if sought.identifier is None:
        return []
    answer = aws.dynamodb.query(
        TableName=stack.table_name,
        IndexName="by-identifier",
        KeyConditionExpression="identifier = :identifier",
        ExpressionAttributeValues={":identifier": {"S": sought.identifier}},
    )
    return [item["pk"]["S"] for item in answer["Items"]]

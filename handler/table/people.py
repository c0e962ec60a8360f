"""People: each person's state in DynamoDB, read and written in batches, by compare-and-set.

Keys and states come in from jobs. Results are by key: a state, or a RetryableError, so that one
throttled or unreadable item does not fail the others.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from handler.clock import Deadline
from handler.domain.membership import (
    TOMBSTONE_LIFE_S,
    PersonState,
    is_member,
    newest_change_ms,
)
from handler.domain.state_codec import pack, unpack
from handler.domain.update import Identifier, SiteIdentifier, site_id_in
from handler.errors import RetryableError
from handler.table.audiences import Audiences
from handler.table.items import Item, Items, parsed
from handler.table.keys import IDENTIFIER_INDEX, catalogue_key, is_person_key


class Page(msgspec.Struct, frozen=True):
    """The people on one page of a scan, by key; `scanned` counts the items of any kind.

    The next page begins after `last_key`; None: this is the last page.
    """

    people: Mapping[str, PersonState | RetryableError]
    scanned: int
    last_key: str | None


class People(msgspec.Struct, frozen=True):
    """The people in the table. Safe to use from several threads.

    The catalogues of `audiences` are read together with people.
    """

    items: Items
    audiences: Audiences

    def load(
        self, keys: Sequence[str], *, consistent: bool, deadline: Deadline
    ) -> dict[str, PersonState | RetryableError]:
        """Return the state of each person; version 0 if there is none yet.

        The catalogues of their workspaces are read too if they are outdated.
        """
        catalogues = self.audiences.outdated({site_id_in(key) for key in keys})
        items = self.items.read([*keys, *catalogues], deadline=deadline, ConsistentRead=consistent)
        for key, site_id in catalogues.items():
            self.audiences.remember(site_id, items[key])
        return {key: parsed(_state, items[key]) for key in keys}

    def versions(
        self, keys: Sequence[str], *, catalogues_of: Collection[str] = (), deadline: Deadline
    ) -> dict[str, int | RetryableError]:
        """Return the version of each person's item, read consistently; 0 if there is none.

        If the catalogue of one of these workspaces has changed, it is read again.
        """
        catalogues = {catalogue_key(site_id): site_id for site_id in catalogues_of}
        items = self.items.read(
            [*keys, *catalogues],
            deadline=deadline,
            ConsistentRead=True,
            ProjectionExpression="pk, #version",
            ExpressionAttributeNames={"#version": "version"},
        )
        versions = {key: parsed(_version, item) for key, item in items.items()}
        for key, site_id in catalogues.items():
            self.audiences.refresh(site_id, versions.pop(key), deadline=deadline)
        return versions

    def save(
        self, states: Mapping[str, PersonState], *, now: float, deadline: Deadline
    ) -> dict[str, RetryableError]:
        """Write states, each as the next version; return why some were not written.

        VersionConflictError: another invocation wrote that version first. `now`: Unix seconds.
        """
        statements = {key: self._statement(key, state, now) for key, state in states.items()}
        return self.items.write(statements, deadline=deadline)

    def known_as(
        self, identifiers: Sequence[SiteIdentifier], *, deadline: Deadline
    ) -> dict[SiteIdentifier, list[str] | RetryableError]:
        """Return the keys of the people whose current identifier each is.

        The index lags behind the table, mostly by some milliseconds.
        """

        def query(single: Sequence[SiteIdentifier]) -> dict[SiteIdentifier, list[str]]:
            ((site_id, identifier),) = single
            answer = self.items.dynamodb.query(
                TableName=self.items.table_name,
                IndexName=IDENTIFIER_INDEX,
                KeyConditionExpression="identifier = :identifier",
                ExpressionAttributeValues={":identifier": {"S": identifier.text}},
            )
            keys = [item["pk"]["S"] for item in answer["Items"]]
            return {single[0]: [key for key in keys if site_id_in(key) == site_id]}

        return self.items.ask(query, identifiers, size=1, deadline=deadline, to="look for people")

    def pages(
        self,
        segment: int,
        total: int,
        *,
        after: str | None = None,
        at_most: int | None = None,
        consistent: bool = False,
        deadline: Deadline,
    ) -> Iterator[Page]:
        """Yield one of `total` segments of the table, from 0, page by page.

        `after` is the `last_key` of a page, to go on from there. A page has 1 MB, or `at_most` so
        many items. Raises RetryableError.
        """

        def scan(starts: Sequence[str | None]) -> dict[str | None, Page]:
            (start,) = starts
            options: Any = {} if start is None else {"ExclusiveStartKey": {"pk": {"S": start}}}
            if at_most is not None:
                options["Limit"] = at_most
            answer = self.items.dynamodb.scan(
                TableName=self.items.table_name,
                Segment=segment,
                TotalSegments=total,
                ConsistentRead=consistent,
                **options,
            )
            return {start: _page(answer)}

        while True:
            answers = self.items.ask(scan, [after], size=1, deadline=deadline, to="scan the table")
            read = answers[after]
            if isinstance(read, RetryableError):
                raise read
            yield read
            after = read.last_key
            if after is None:
                return

    def formerly_known_as(self, identifier: Identifier, *, deadline: Deadline) -> Iterator[str]:
        """Yield the keys of people whose states keep a former identifier.

        Reads the whole table, as no index has former identifiers. Raises RetryableError.
        """
        for page in self.pages(0, 1, deadline=deadline):
            for key, state in page.people.items():
                if isinstance(state, PersonState) and identifier.text in {
                    former.text for former in state.former
                }:
                    yield key

    def delete(self, key: str) -> None:
        """Delete the item of a made-up person. Raises botocore's errors."""
        self.items.dynamodb.delete_item(TableName=self.items.table_name, Key={"pk": {"S": key}})

    def _statement(self, key: str, state: PersonState, now: float) -> Any:
        attributes: dict[str, dict[str, Any]] = {
            "timestamp": {"N": str(state.timestamp)},
            "memberships": {"B": pack(state)},
            "expires_at": _expiry(state, now),
        }
        if state.identifier is not None:
            attributes["identifier"] = {"S": state.identifier.text}
            return self.items.statement(key, state.version, attributes)
        if state.version == 1:
            message = "a new person without an identifier cannot be kept"
            raise ValueError(message)
        # Without the attribute, the item leaves the index.
        return self.items.statement(key, state.version, attributes, removed=("identifier",))


def _page(answer: Mapping[str, Any]) -> Page:
    last: Item | None = answer.get("LastEvaluatedKey")
    people: dict[str, PersonState | RetryableError] = {}
    # A filter would not make the scan cheaper.
    for item in answer["Items"]:
        key = item["pk"]["S"]
        if is_person_key(key):
            state = parsed(_state, item)
            is_tombstone = isinstance(state, PersonState) and state.identifier is None
            if not is_tombstone:
                people[key] = state
    return Page(people, answer["ScannedCount"], last["pk"]["S"] if last else None)


def _expiry(state: PersonState, now: float) -> dict[str, Any]:
    # DynamoDB's TTL ignores an item whose attribute is not a number.
    if any(map(is_member, state.memberships.values())):
        return {"NULL": True}
    # From the newest change on: a state that is only delivered again expires no later for it.
    changed_at = min(now, newest_change_ms(state) / 1000)
    return {"N": str(int(changed_at + TOMBSTONE_LIFE_S))}


def _state(item: Item | None) -> PersonState:
    if item is None:
        return PersonState()
    return unpack(
        item["memberships"]["B"],
        version=int(item["version"]["N"]),
        timestamp=int(item["timestamp"]["N"]),
        identifier=item["identifier"]["S"] if "identifier" in item else None,
    )


def _version(item: Item | None) -> int:
    return 0 if item is None else int(item["version"]["N"])

"""Change messages: membership changes as few messages, which message.py can read.

Changes come in from sources that are not mParticle's Firehose. firehose.py cuts large requests
with `cut`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final

import msgspec

from handler.domain.dead_letter import to_json, with_profiles, write_head
from handler.domain.message import MessageFields, MessageType
from handler.domain.packing import packed

MAX_PART_BYTES: Final = 60_000
"""The size of messages with several profiles. SQS charges by 64 KiB, so smaller messages cost
more. In larger ones, more profiles are retried because of another."""


class Change(msgspec.Struct, frozen=True):
    """One person entering or leaving one audience.

    `at_ms`: Unix milliseconds. `identities`: raw values by mParticle's type, such as `customer`.
    `person_hash`: the hash in the key of the person's item, if the MPID is not known.
    """

    at_ms: int
    audience_id: int
    audience_name: str
    is_member: bool
    identities: Mapping[str, str]
    mpid: int | None = None
    person_hash: str | None = None


def change_messages(
    changes: Sequence[Change], *, account_id: int | None, message_id: str
) -> Iterator[tuple[str, list[int]]]:
    """Yield the changes as messages, each with the places in `changes` of those that it has.

    Changes with the same time share messages. Each has `message_id`, which appears in the log.
    """
    by_time: defaultdict[int, list[int]] = defaultdict(list)
    for place, change in enumerate(changes):
        by_time[change.at_ms].append(place)
    for at_ms, places in by_time.items():
        head = write_head(
            MessageFields(
                type=MessageType.MEMBERSHIP_CHANGE.value,
                id=message_id,
                timestamp_ms=at_ms,
                account=None if account_id is None else {"account_id": account_id},
            )
        )
        left = iter(places)
        for body, count in cut(head, (profile_json(changes[place]) for place in places)):
            yield body, [*islice(left, count)]


def cut(head: str, profiles: Iterable[str]) -> Iterator[tuple[str, int]]:
    """Yield messages from the result of `write_head` and the JSON of each profile, in ASCII.

    Each comes with the number of its profiles. Together they have all, in their order. A message
    is larger than `MAX_PART_BYTES` only if a single profile is.
    """
    # Each profile has a comma before it, except for the first.
    room = MAX_PART_BYTES - len(with_profiles(head, "[]")) + 1
    for group in packed(profiles, lambda text: len(text) + 1, max_size=room):
        yield with_profiles(head, f"[{','.join(group)}]"), len(group)


def profile_json(change: Change) -> str:
    """Return the profile of a message that says the change, as JSON in ASCII."""
    named = {"mpid": change.mpid, "person_hash": change.person_hash}
    known = {name: value for name, value in named.items() if value is not None}
    profile: dict[str, Any] = known | {
        "user_identities": [
            {"type": kind, "encoding": "raw", "value": value}
            for kind, value in change.identities.items()
        ],
        "audiences": [
            {
                "audience_id": change.audience_id,
                "audience_name": change.audience_name,
                "action": "add" if change.is_member else "delete",
            }
        ],
    }
    return to_json(profile)

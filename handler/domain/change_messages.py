"""Change messages: membership changes as few messages, which message.py can read.

Changes come in from sources that are not mParticle's Firehose. firehose.py cuts large requests
with `cut`.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec

from handler.domain.dead_letter import with_profiles, write_head
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
    changes: Iterable[Change], *, account_id: int | None, message_id: str
) -> Iterator[str]:
    """Yield the changes as messages; those with the same time share messages.

    Each message has `message_id`, which appears in the log.
    """
    by_time: defaultdict[int, list[Change]] = defaultdict(list)
    for change in changes:
        by_time[change.at_ms].append(change)
    for at_ms, group in by_time.items():
        head = write_head(
            MessageFields(
                type=MessageType.MEMBERSHIP_CHANGE.value,
                id=message_id,
                timestamp_ms=at_ms,
                account=None if account_id is None else {"account_id": account_id},
            )
        )
        yield from cut(head, [to_json(_profile(change)) for change in group])


def cut(head: str, profiles: Iterable[str]) -> Iterator[str]:
    """Yield messages from the result of `write_head` and the JSON of each profile, in ASCII.

    Together they have all profiles, in their order. A message is larger than `MAX_PART_BYTES` only
    if a single profile is.
    """
    room = MAX_PART_BYTES - len(with_profiles(head, "[]"))
    # A comma goes before each text but the first.
    for group in packed(profiles, lambda text: len(text) + 1, max_size=room + 1):
        yield with_profiles(head, f"[{','.join(group)}]")


def _profile(change: Change) -> dict[str, Any]:
    named = {"mpid": change.mpid, "person_hash": change.person_hash}
    return {name: value for name, value in named.items() if value is not None} | {
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


# It escapes all but ASCII, so SQS accepts the text and half a surrogate pair is preserved. NaN and
# Infinity are preserved too; the forwarder rejects the profiles that contain them.
to_json: Final = json.JSONEncoder(separators=(",", ":")).encode

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from handler.domain.change_messages import MAX_PART_BYTES, Change, change_messages
from handler.domain.message import read_message
from handler.domain.profile import MembershipChange, read_profile
from tests.builders import NOW, NOW_MS

IDENTITIES = st.fixed_dictionaries(
    {"customer": st.text(st.characters(codec="utf-8"), min_size=1, max_size=30).map("c{}".format)}
)
CHANGES = st.lists(
    st.builds(
        Change,
        at_ms=st.sampled_from([NOW_MS, NOW_MS - 1000, NOW_MS - 2000]),
        audience_id=st.integers(-(2**63), 2**63 - 1),
        audience_name=st.sampled_from(["", "VIP", "Kävijät"]),
        is_member=st.booleans(),
        identities=IDENTITIES,
        mpid=st.none() | st.integers(1, 2**64 - 1),
        person_hash=st.none() | st.just("0a" * 32),
    )
)


def read(body: str) -> Counter[tuple[object, ...]]:
    message = read_message(body, now=NOW)
    assert (message.account_id, message.message_id) == (1001, "some-id")
    profiles = [read_profile(raw) for raw in message.profiles]
    return Counter(
        (
            message.sent_at_ms,
            profile.mpid,
            profile.person_hash,
            profile.customer_id,
            *profile.changes,
        )
        for profile in profiles
    )


def messages(changes: list[Change]) -> list[str]:
    """Return the bodies of all messages."""
    written = change_messages(changes, account_id=1001, message_id="some-id")
    return [body for body, _ in written]


@given(CHANGES)
def test_any_changes_are_read_back_from_their_messages(changes: list[Change]) -> None:
    profiles = sum(map(read, messages(changes)), Counter())

    assert sorted(map(str, profiles.elements())) == sorted(
        str(
            (
                change.at_ms,
                change.mpid,
                change.person_hash,
                change.identities["customer"].strip(),
                _as_read(change),
            )
        )
        for change in changes
    )


def _as_read(change: Change) -> object:
    return MembershipChange(change.audience_id, change.audience_name, change.is_member)


def test_people_of_one_time_share_messages_of_at_most_60_kb() -> None:
    changes = [
        Change(NOW_MS, 11, "VIP", is_member=True, identities={"customer": str(place)}, mpid=place)
        for place in range(1, 10_001)
    ]

    bodies = messages(changes)

    assert len(bodies) < 30
    assert max(map(len, bodies)) <= MAX_PART_BYTES


def test_changes_of_two_times_travel_apart() -> None:
    changes = [
        Change(NOW_MS - place, 11, "VIP", is_member=True, identities={"customer": "42"})
        for place in (0, 1, 0)
    ]

    assert [read(body).total() for body in messages(changes)] == [2, 1]

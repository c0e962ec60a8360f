"""A person's state as bytes."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.domain.membership import PersonState, merge, stamp
from handler.domain.state_codec import pack, unpack
from handler.domain.update import Identifier
from handler.errors import UnreadableStateError
from tests.builders import NOW, NOW_MS, state

AUDIENCE_IDS = st.integers(-(2**63), 2**63 - 1)
IDENTIFIERS = st.builds(
    Identifier, is_id=st.booleans(), set_at_ms=st.integers(0, 2**47), value=st.text()
)


@given(
    st.dictionaries(AUDIENCE_IDS, st.integers(0, 2**48 - 1), max_size=50),
    st.dictionaries(
        st.sampled_from(["email", "first_name", "last_name"]) | st.text(), st.integers(0, 2**48)
    ),
    st.integers(0, 9),
    st.text(),
    st.dictionaries(IDENTIFIERS, st.integers(0, 2**31), max_size=8),
)
def test_unpacking_gives_what_was_packed(
    memberships, set_at, continuations, value, former
) -> None:
    kept = PersonState(
        version=3,
        timestamp=int(NOW),
        identifier=Identifier(is_id=True, set_at_ms=NOW_MS, value=value),
        memberships=memberships,
        set_at=set_at,
        continuations=continuations,
        former=former,
    )

    read = unpack(pack(kept), version=3, timestamp=int(NOW), identifier=f"id:{value}")

    assert read == kept


def test_an_audience_costs_at_most_twelve_bytes() -> None:
    def size(count: int) -> int:
        return len(pack(state(*range(1_000_000, 1_000_000 + 997 * count, 997))))

    assert (size(180) - size(80)) / 100 <= 12


FORMAT_1 = bytes.fromhex(
    "9593fb10cd2b0fc41203179fcad0000341116b440003414d060ef7cf000001a0c44129c00193cf000003418882"
    "5380ffcf00000341116b4401"
)
"""What the first version of this project wrote: it must be read for ever."""


def test_what_the_first_version_wrote_is_read() -> None:
    read = unpack(FORMAT_1, version=3, timestamp=1_790_000_000, identifier="id:42")

    assert read == PersonState(
        version=3,
        timestamp=1_790_000_000,
        identifier=Identifier(is_id=True, set_at_ms=1_789_999_000_000, value="42"),
        memberships={
            -5: stamp(1_700_000_000_000, removed=False),
            11: stamp(1_789_000_000_000, removed=False),
            11034: stamp(1_789_500_000_123, removed=True),
        },
        set_at={
            "email": stamp(1_789_999_000_000, removed=False),
            "last_name": stamp(1_789_000_000_000, removed=True),
        },
        continuations=1,
    )


def test_a_field_of_a_newer_version_at_the_end_is_passed_over() -> None:
    fields = msgspec.msgpack.decode(pack(state(11)))
    newer = msgspec.msgpack.encode([*fields, "new"])

    assert unpack(newer, version=1, timestamp=1, identifier="id:42").memberships == (
        state(11).memberships
    )


def test_a_value_that_a_newer_version_tracks_is_passed_over() -> None:
    fields = msgspec.msgpack.decode(pack(state(11)))
    fields[4].append(7)

    newer = msgspec.msgpack.encode(fields)

    assert unpack(newer, version=1, timestamp=1, identifier="id:42").set_at == {}


VERSION_1_0_0 = bytes.fromhex(
    "96910bc4060341116b4400cf000001a0c44129c00093cf0000034188825380ffff9193b5656d61696c3a616e6e"
    "406578616d706c652e636f6dcf000001a088b5a200ce6ab13b76"
)
"""What version 1.0.0 wrote, which knew no mapped attributes."""

AS_OF_1_0_0 = PersonState(
    version=3,
    timestamp=1_790_000_000,
    identifier=Identifier(is_id=True, set_at_ms=1_789_999_000_000, value="42"),
    memberships={11: stamp(1_789_000_000_000, removed=False)},
    set_at={"email": stamp(1_789_999_000_000, removed=False)},
    former={
        Identifier(
            is_id=False, set_at_ms=1_789_000_000_000, value="ann@example.com"
        ): 1_789_999_990
    },
)


def test_what_version_1_0_0_wrote_is_read() -> None:
    read = unpack(VERSION_1_0_0, version=3, timestamp=1_790_000_000, identifier="id:42")

    assert read == AS_OF_1_0_0


def test_version_1_0_0_reads_all_that_it_knows_of_a_state_with_mapped_attributes() -> None:
    class Packed(msgspec.Struct, array_like=True):
        id_steps: list[int]
        stamps: bytes
        identified_at_ms: int
        continuations: int
        set_at: list[int]
        former: list[tuple[str, int, int]] = []

    mapped = {**AS_OF_1_0_0.set_at, "lifetime_value": 5}
    packed = pack(msgspec.structs.replace(AS_OF_1_0_0, set_at=mapped))

    assert msgspec.msgpack.decode(packed, type=Packed) == msgspec.msgpack.decode(
        VERSION_1_0_0, type=Packed
    )


def test_a_mapped_attribute_costs_its_name_and_ten_bytes() -> None:
    def size(*names: str) -> int:
        set_at = dict.fromkeys(names, stamp(NOW_MS, removed=False))
        return len(pack(state(11, set_at=set_at)))

    assert size("lifetime_value") - size() == len("lifetime_value") + 10
    assert size(*(f"mp_attribute_{number}" for number in range(10, 20))) - size() == 250


def test_whoever_was_never_erased_costs_three_bytes_more_than_in_version_1_0_0() -> None:
    assert len(pack(AS_OF_1_0_0)) - len(VERSION_1_0_0) == 3


VERSION_1_1_0 = bytes.fromhex(
    "97910bc4060341116b4400cf000001a0c44129c00093cf0000034188825380ffff9193b5656d61696c3a616e6e"
    "406578616d706c652e636f6dcf000001a088b5a200ce6ab13b7680"
)
"""What the version wrote that knew no erasures."""


def test_what_was_written_before_there_were_erasures_is_read() -> None:
    read = unpack(VERSION_1_1_0, version=3, timestamp=1_790_000_000, identifier="id:42")

    assert read == AS_OF_1_0_0


def test_a_tombstone_keeps_the_time_of_the_erasure_and_nothing_of_the_person() -> None:
    erased = merge(AS_OF_1_0_0, (), now=NOW, erased_at_ms=NOW_MS)

    read = unpack(pack(erased), version=4, timestamp=erased.timestamp, identifier=None)

    assert read == erased
    assert read.erased_at_ms == NOW_MS
    assert b"ann" not in pack(erased)
    assert b"42" not in pack(erased)


def test_an_email_that_an_older_id_outranks_is_kept() -> None:
    email = Identifier(is_id=False, set_at_ms=NOW_MS, value="ann@example.com")
    kept = state(11, outranked=email)

    assert unpack(pack(kept), version=1, timestamp=kept.timestamp, identifier="id:42") == kept


def test_a_state_without_an_identifier_that_is_no_tombstone_is_unreadable() -> None:
    with pytest.raises(UnreadableStateError):
        unpack(pack(state(11)), version=1, timestamp=1, identifier=None)


@pytest.mark.parametrize(
    "packed", [b"", b"\x02new", b"\x92\x90", b"\x95\x91\x01\xc4\x00\x00\x00\x90"]
)
def test_bytes_that_no_version_wrote_are_unreadable(packed) -> None:
    with pytest.raises(UnreadableStateError):
        unpack(packed, version=1, timestamp=1, identifier="id:42")

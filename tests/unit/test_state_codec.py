"""A person's state as bytes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from handler.domain.membership import PersonState
from handler.domain.state_codec import pack, unpack
from handler.domain.update import Identifier
from tests.builders import NOW, NOW_MS, state

AUDIENCE_IDS = st.integers(-(2**63), 2**63 - 1)
IDENTIFIERS = st.builds(
    Identifier, is_id=st.booleans(), set_at_ms=st.integers(0, 2**47), value=st.text()
)


@given(
    st.dictionaries(AUDIENCE_IDS, st.integers(0, 2**48 - 1), max_size=50),
    st.dictionaries(st.sampled_from(["email", "first_name", "last_name"]), st.integers(0, 2**48)),
    st.integers(0, 9),
    st.text(),
)
def test_unpacking_gives_what_was_packed(memberships, set_at, continuations, value) -> None:
    kept = PersonState(
        version=3,
        timestamp=int(NOW),
        identifier=Identifier(is_id=True, set_at_ms=NOW_MS, value=value),
        memberships=memberships,
        set_at=set_at,
        continuations=continuations,
    )

    read = unpack(pack(kept), version=3, timestamp=int(NOW), identifier=f"id:{value}")

    assert read == kept


def test_an_audience_costs_at_most_twelve_bytes() -> None:
    def size(count: int) -> int:
        return len(pack(state(*range(1_000_000, 1_000_000 + 997 * count, 997))))

    assert (size(180) - size(80)) / 100 <= 12

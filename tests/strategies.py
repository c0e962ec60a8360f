"""Hypothesis strategies that several tests share."""

from __future__ import annotations

from hypothesis import strategies as st

from handler.domain.attribute_mapping import mapping_of
from tests.builders import NOW_MS, change, update

FIELDS = [
    "Message",
    "Type",
    "account",
    "action",
    "audience_id",
    "audiences",
    "mpid",
    "timestamp_ms",
    "type",
    "user_identities",
    "user_profiles",
    "value",
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(FIELDS) | st.text(),
            inner,
            max_size=6,
        )
    ),
    max_leaves=20,
)
"""Any value that JSON knows, NaN and half surrogate pairs included, often with our field names."""

RECENT = st.integers(NOW_MS - 20 * 86_400_000, NOW_MS)
CHANGES = st.builds(change, st.integers(1, 5), joined=st.booleans())
SHARED = st.dictionaries(
    st.sampled_from(["$FirstName", "$LastName", "ltv", "city"]),
    st.sampled_from(["Ann", "7", 7, True, ["a"], None]),
)
ALL = mapping_of({"ltv": "lifetime_value", "*": "mp_*"})
UPDATES = st.builds(
    lambda changes, **fields: update(*changes, **fields),
    st.lists(CHANGES, max_size=3, unique_by=lambda c: c.audience_id),
    at_ms=RECENT | st.sampled_from([NOW_MS, NOW_MS - 1]),
    customer_id=st.sampled_from(["42", "43", None]),
    email=st.sampled_from(["ann@example.com", "BO@example.com"]),
    shared=SHARED,
    mapping=st.just(ALL),
)
"""What messages of the last days say about one person, by one of several identifiers."""

"""Hypothesis strategies that several tests share."""

from __future__ import annotations

from hypothesis import strategies as st

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

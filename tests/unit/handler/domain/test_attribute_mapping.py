from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.domain.attribute_mapping import (
    AttributeMapping,
    is_valid,
    mapping_of,
    read_mapping,
)

RESERVED = ["id", "Email", "cio_id", "CIO_x", "unsubscribed", "_update", "first_name"]
OURS = ["SegmentMembership", "SegmentMembership 2", "In Big spenders"]


@pytest.mark.parametrize("text", ["", "  ", "{}"])
def test_an_empty_mapping_sends_nothing(text):
    assert read_mapping(text).name("ltv") is None


def test_a_key_is_sent_under_its_name_and_no_other_key_is():
    mapping = read_mapping('{"ltv": "lifetime_value"}')

    assert mapping.name("ltv") == "lifetime_value"
    assert mapping.name("LTV") is None
    assert mapping.name("city") is None


def test_all_others_are_sent_under_a_prefix():
    mapping = read_mapping('{"ltv": "lifetime_value", "*": "mp_*"}')

    assert mapping.name("ltv") == "lifetime_value"
    assert mapping.name("$Age") == "mp_$Age"


@pytest.mark.parametrize("key", ["$FirstName", "$lastname"])
def test_the_persons_names_are_not_for_the_mapping(key):
    assert read_mapping('{"*": "mp_*"}').name(key) is None
    with pytest.raises(ValueError, match=r"is always sent as (first|last)_name$"):
        mapping_of({key: "given_name"})


@pytest.mark.parametrize("name", [*RESERVED, *OURS])
def test_a_reserved_name_is_refused(name):
    with pytest.raises(ValueError, match=r"^ltv: the name is reserved$"):
        mapping_of({"ltv": name})


@pytest.mark.parametrize("pattern", ["cio_*", "_*", "In *", "SegmentMembership*"])
def test_a_pattern_of_reserved_names_is_refused(pattern):
    with pytest.raises(ValueError, match=r"^\*: the name is reserved$"):
        mapping_of({"*": pattern})


@pytest.mark.parametrize(
    ("name", "valid"),
    [("mp_" + "x" * 147, True), ("mp_" + "x" * 148, False), ("cio_id", False), ("ltv", True)],
)
def test_a_name_that_is_reserved_or_over_150_bytes_is_not_valid(name, valid):
    assert is_valid(name) is valid


def test_a_mapping_can_be_part_of_a_key_and_differs_by_its_names():
    one, other = mapping_of({"ltv": "a"}), mapping_of({"ltv": "b"})

    assert len({one, other, mapping_of({"ltv": "a"})}) == 2


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("ltv", "expected a JSON object"),
        ("[]", "expected a JSON object"),
        ('{"ltv": 3}', "^ltv: expected a text$"),
        ('{"*": null}', r"^\*: expected a text$"),
        ('{"ltv": ""}', "ltv: the name is empty"),
        (json.dumps({"ltv": "é" * 76}), "ltv: the name has over 150 bytes"),
        ('{"a": "x", "b": "x"}', "^b: another key is mapped to x$"),
        ('{"*": "mp_"}', r"\*: expected a prefix and one \*"),
        ('{"*": "*"}', r"\*: expected a prefix and one \*"),
        ('{"*": "a*b*"}', r"\*: expected a prefix and one \*"),
        ('{"ltv": "mp_ltv", "*": "mp_*"}', r"ltv: the name mp_ltv matches the pattern of \*"),
    ],
)
def test_a_mapping_that_cannot_be_followed_is_refused_with_the_reason(text, reason):
    with pytest.raises(ValueError, match=reason):
        read_mapping(text)


@given(st.dictionaries(st.text(max_size=9), st.text(max_size=9)), st.sets(st.text(max_size=9)))
def test_any_two_keys_have_different_names(entries, keys):
    try:
        mapping = mapping_of(entries)
    except ValueError:
        mapping = AttributeMapping()

    names = [name for name in map(mapping.name, keys | entries.keys()) if name is not None]

    assert len(names) == len(set(names))

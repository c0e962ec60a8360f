"""Erasures as they are read from data subject requests."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given

from handler.domain.dead_letter import parts_of, whole_body
from handler.domain.erasure import Erasure, erased_until, read_erasure
from handler.domain.membership import PersonState
from handler.domain.message import read_message
from handler.domain.update import Identifier, Update
from handler.errors import MalformedMessageError
from tests.builders import NOW, NOW_MS, body, erasure
from tests.strategies import JSON

EMAIL = "ann@example.com"


def read(text: str) -> Erasure | None:
    return read_erasure(read_message(text, now=NOW))


def identifiers(**fields: Any) -> list[str]:
    known = read(erasure(**fields))
    assert known is not None
    return [identifier.text for identifier in known.identifiers]


def test_an_erasure_has_the_id_of_the_request_the_time_of_the_message_and_identifiers() -> None:
    assert read(erasure(email=" Ann@Example.com ", submitted_time=1.0)) == Erasure(
        request_id="5ff2b1c8-0000-4000-8000-000000000003",
        at_ms=NOW_MS,
        identifiers=(
            Identifier(is_id=True, set_at_ms=NOW_MS, value="42"),
            Identifier(is_id=False, set_at_ms=NOW_MS, value=EMAIL),
        ),
    )


def test_an_id_that_is_a_number_is_read_as_text() -> None:
    assert identifiers(customer_id=42) == ["id:42"]


def test_another_identity_may_be_the_customer_id() -> None:
    text = erasure(
        customer_id=None,
        subject_identities={
            "controller_customer_id": {"encoding": "raw", "value": "42"},
            "other3": {"encoding": "raw", "value": "43"},
        },
    )
    letter = whole_body(text)

    for each in (text, letter):
        asked = read_erasure(read_message(each, now=NOW), customer_id_type="other3")
        assert asked is not None
        assert [identifier.text for identifier in asked.identifiers] == ["id:43"]


@pytest.mark.parametrize("value", ["", "  ", "é" * 76, None])
def test_a_value_that_nobody_can_be_known_by_is_left_out(value) -> None:
    assert identifiers(customer_id=value, email=EMAIL) == [f"email:{EMAIL}"]


@pytest.mark.parametrize(
    "identities",
    [
        None,
        {},
        {"android_advertising_id": {"encoding": "raw", "value": "84aae47d"}},
        {"email": {"encoding": "sha256", "value": "0" * 64}},
        {"email": {"encoding": "raw"}},
        {"email": None, "mpid": 7},
    ],
)
def test_identities_that_are_not_looked_up_are_left_out(identities) -> None:
    assert identifiers(subject_identities=identities) == []


@pytest.mark.parametrize("kind", ["access", "portability", "Erasure", "", None, 7, ["erasure"]])
def test_another_request_is_no_erasure(kind) -> None:
    assert read(erasure(subject_request_type=kind, subject_identities=7)) is None


def test_a_message_of_another_type_is_no_erasure() -> None:
    assert read(body()) is None


@pytest.mark.parametrize(
    ("identities", "path"),
    [
        ([], r"\$.subject_identities: expected an object"),
        ("x", r"\$.subject_identities: expected an object"),
        ({"email": "ann"}, r"\$.subject_identities.email: expected an object"),
        ({"email": {"encoding": "raw", "value": True}}, r"email.value: expected str"),
        ({"email": {"encoding": "raw", "value": ["ann"]}}, r"email.value: expected str"),
        ({"email": {"encoding": "raw", "value": "\ud83d"}}, r"email.value: not valid Unicode"),
    ],
)
def test_what_cannot_be_read_is_malformed_and_set_aside_as_it_is(identities, path) -> None:
    came = erasure(subject_identities=identities)

    for text in (came, *parts_of(came, [[]]), whole_body(came)):
        with pytest.raises(MalformedMessageError, match=path) as malformed:
            read(text)
        assert "ann" not in str(malformed.value)


def test_an_erasure_far_in_the_future_is_malformed() -> None:
    with pytest.raises(MalformedMessageError):
        read(erasure(at_ms=NOW_MS + 25 * 3600 * 1000))


@given(JSON)
def test_any_erasure_is_read_the_same_when_it_comes_back(value) -> None:
    for text in (
        erasure(customer_id=value, email=value),
        erasure(subject_identities={"email": value}),
        erasure(subject_identities=value),
        erasure(subject_request_type=value, subject_request_id=value),
    ):
        for again in (*parts_of(text, [[]]), whole_body(text)):
            assert verdict(again) == verdict(text)


def verdict(text: str) -> Any:
    with suppress(MalformedMessageError):
        return read(text)
    return "malformed"


def test_a_letter_has_no_identities_but_those_that_are_read() -> None:
    identities = {
        "ios_advertising_id": {"encoding": "raw", "value": "planted"},
        "email": {"encoding": "raw", "value": EMAIL, "extra": "planted"},
    }
    text = erasure(subject_identities=identities, extensions={"x": "planted"}, api_version="3.0")

    for again in (whole_body(text), *parts_of(text, [[]])):
        assert "planted" not in again
        assert json.loads(again)["subject_identities"] == {
            "email": {"encoding": "raw", "value": EMAIL}
        }


ERASED_AT = 100


def known_as(value: str, at_ms: int) -> Identifier:
    return Identifier(is_id=not value.islower(), set_at_ms=at_ms, value=value)


@pytest.mark.parametrize(
    ("current", "named", "is_of_person"),
    [
        (None, [known_as("A", 50)], True),
        (None, [known_as("A", 150)], True),
        (known_as("B", 40), [known_as("A", 50)], True),
        (known_as("B", 150), [known_as("A", 50)], True),
        (known_as("B", 70), [known_as("A", 50)], False),
        (known_as("B", 70), [known_as("A", 150)], False),
        (known_as("B", 120), [known_as("A", 150)], False),
        (None, [known_as("A", 50), known_as("B", 70)], False),
        (known_as("B", 40), [known_as("a", 50)], False),
        (known_as("B", 40), [known_as("A", 50), known_as("B", 60)], False),
    ],
)
def test_an_erasure_is_of_whoever_had_the_identifier_then(current, named, is_of_person) -> None:
    known = PersonState(version=1 if current else 0, identifier=current)
    times = {each: ERASED_AT if each.value in "Aa" else 0 for each in named}

    updates = [Update(each.set_at_ms, (), {}, each) for each in named]

    assert erased_until(known, updates, times) == (ERASED_AT if is_of_person else 0)

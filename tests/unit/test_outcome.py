"""What becomes of a message, profile by profile."""

from __future__ import annotations

import json

import pytest

from handler.domain.message import read_message
from handler.domain.outcome import MessageOutcome
from handler.errors import (
    MalformedMessageError,
    NoIdentityError,
    PersonRejectedError,
    UnavailableError,
    UnknownAccountError,
)
from tests.builders import NOW, body, message, profile


@pytest.fixture
def outcome():
    text = body(*(profile(customer_id=str(n)) for n in range(4)))
    return MessageOutcome(message(text), read_message(text, now=NOW))


def customers(letter) -> list[str]:
    profiles = json.loads(letter.body)["user_profiles"]
    return [one["user_identities"][0]["value"] for one in profiles]


def test_nothing_wrong_is_no_letter(outcome) -> None:
    assert outcome.letters() == []


def test_profiles_refused_for_one_reason_share_a_letter_in_their_order(outcome) -> None:
    outcome.fail_profile(3, NoIdentityError("none"))
    outcome.fail_profile(0, PersonRejectedError("too long"))
    outcome.fail_profile(1, NoIdentityError("none"))

    assert [(str(one.error), customers(one)) for one in outcome.letters()] == [
        ("too long", ["0"]),
        ("none", ["1", "3"]),
    ]


def test_a_whole_message_refused_is_one_letter_of_all_profiles(outcome) -> None:
    outcome.fail(UnknownAccountError("no entry"))

    (letter,) = outcome.letters()
    assert (letter.profiles, customers(letter)) == (4, ["0", "1", "2", "3"])


def test_nothing_is_set_aside_while_something_is_to_be_retried(outcome) -> None:
    outcome.fail_profile(0, NoIdentityError("none"))
    outcome.fail_profile(1, UnavailableError("503"))

    assert outcome.letters() == []
    assert isinstance(outcome.retry, UnavailableError)


def test_a_body_that_cannot_be_read_is_set_aside_as_it_came_but_for_secrets() -> None:
    outcome = MessageOutcome(message('{"apiKey": "s3cret", '))
    outcome.fail(MalformedMessageError("$: no"))

    (letter,) = outcome.letters()
    assert letter.body == '{"apiKey": "", '
    assert letter.source_message_id == "m-1"

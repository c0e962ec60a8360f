"""What becomes of a message, profile by profile."""

from __future__ import annotations

import json
from contextlib import suppress
from unittest.mock import Mock

import pytest

from handler.domain.message import read_fields, read_message
from handler.domain.outcome import DeadLetter, MessageOutcome
from handler.domain.profile import read_profile
from handler.errors import (
    MalformedMessageError,
    NoIdentityError,
    PermanentError,
    PersonRejectedError,
    UnavailableError,
    UnknownAccountError,
)
from tests.builders import NOW, NOW_MS, body, identity, message, profile


@pytest.fixture
def outcome():
    text = body(*(profile(customer_id=str(n)) for n in range(4)))
    return MessageOutcome(message(text), read_message(text, now=NOW))


def customers(letter) -> list[str]:
    profiles = json.loads(letter.body)["user_profiles"]
    return [one["user_identities"][0]["value"] for one in profiles]


def test_an_outcome_without_errors_has_no_letter(outcome) -> None:
    assert list(outcome.letters()) == []


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

    assert list(outcome.letters()) == []
    assert isinstance(outcome.retry, UnavailableError)


def test_a_body_that_is_no_json_object_is_set_aside_as_it_came() -> None:
    outcome = MessageOutcome(message('{"apiKey": "k", '))
    outcome.fail(MalformedMessageError("$: no"))

    (letter,) = outcome.letters()
    assert letter.body == '{"apiKey": "k", '
    assert letter.outcome.message.source_id == "m-1"


@pytest.mark.parametrize("at_ms", [-1, NOW_MS])
def test_only_fields_that_are_read_are_kept(at_ms) -> None:
    account = {"account_id": 1, "accountSettings": "s3cret", "account_settings": {"x": "s3cret"}}
    text = body(profile(), at_ms=at_ms, account=account, key="s3cret", user="s3cret\\")

    (letter,) = letters_of(text, MalformedMessageError("$: no"))

    assert "s3cret" not in letter.body
    assert len(json.loads(letter.body)["user_profiles"]) == 1


def test_a_crafted_message_makes_few_letters_no_larger_together_than_twice_the_message() -> None:
    # The place in the reason makes each of them another one.
    bad = [profile(user_identities=[None] * n + [identity("email", [])]) for n in range(500)]
    text = body(*bad, x="x" * 300_000)
    opened = read_message(text, now=NOW)
    outcome = MessageOutcome(message(text), opened)
    for place, raw in enumerate(opened.profiles):
        with pytest.raises(PermanentError) as refused:
            read_profile(raw)
        outcome.fail_profile(place, refused.value)

    letters = list(outcome.letters())

    assert len(letters) == 21
    assert sum(letter.profiles for letter in letters) == len(opened.profiles)
    assert sum(len(letter.body) for letter in letters) < 2 * len(text)
    together = [raw for letter in letters for raw in json.loads(letter.body)["user_profiles"]]
    assert together == bad
    assert str(letters[-1].error).startswith("$.user_identities[20].value")
    assert str(letters[-1].error).endswith("and 479 other reasons")


def test_a_message_is_read_once_for_all_its_letters(outcome, monkeypatch) -> None:
    read = Mock(wraps=read_fields)
    monkeypatch.setattr("handler.domain.dead_letter.read_fields", read)
    for place in range(4):
        outcome.fail_profile(place, NoIdentityError(f"reason {place}"))

    assert len(outcome.letters()) == 4
    read.assert_called_once_with(outcome.message.body)


def letters_of(text: str, error: PermanentError) -> list[DeadLetter]:
    """Return what is set aside of a message that is refused as a whole."""
    outcome = MessageOutcome(message(text))
    with suppress(MalformedMessageError):
        outcome.opened = read_message(text, now=NOW)
    outcome.fail(error)
    return list(outcome.letters())


def test_what_fails_as_a_whole_after_a_profile_of_it_is_set_aside_as_a_whole() -> None:
    text = body(*(profile(customer_id=str(n)) for n in range(4)))
    received = message(text, retried_since=NOW - 100)
    outcome = MessageOutcome(received, read_message(text, now=NOW))
    outcome.fail_profile(0, UnavailableError("one"))
    outcome.fail(UnavailableError("all"))

    outcome.stop_retrying(now=NOW, after_s=100)

    (letter,) = outcome.letters()
    assert customers(letter) == ["0", "1", "2", "3"]

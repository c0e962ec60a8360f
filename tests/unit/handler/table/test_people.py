"""What the emulator never does and DynamoDB does: unprocessed keys, throttled statements."""

from __future__ import annotations

from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectTimeoutError

from handler.clock import Sleep
from handler.domain.state_codec import pack
from handler.errors import (
    OutOfTimeError,
    RetryableError,
    UnavailableError,
    VersionConflictError,
)
from handler.table.people import People
from handler.table.table import open_table
from tests.builders import NOW, deadline, state
from tests.stand_ins.dynamodb import (
    Answer,
    ScriptedDynamoDb,
    all_read,
    answers,
    failing,
    first_left_unread,
    keys_of,
    nothing_read,
)


def people(dynamodb: Any, executor: Executor, sleep: Sleep) -> People:
    """People whose catalogue was read just now."""
    table = open_table(dynamodb, "people", executor, backoff=float, now=lambda: NOW, sleep=sleep)
    table.audiences.remember("", None)
    return table.people


class Tried:
    """A store in front of a script, with a clock of its own."""

    def __init__(self, *script: Answer) -> None:
        self.dynamodb = ScriptedDynamoDb(*script)
        self.slept: list[float] = []
        self.seconds = 60.0
        self._executor = ThreadPoolExecutor(1)
        self._people = people(self.dynamodb, self._executor, self.slept.append)

    def load(self, *keys: str):
        with self._executor:
            return self._people.load(keys, consistent=False, deadline=deadline(self.seconds))

    def save(self, *keys: str):
        states = {key: state(11) for key in keys}
        with self._executor:
            return self._people.save(states, now=NOW, deadline=deadline(self.seconds))


def test_keys_left_unread_are_asked_for_again() -> None:
    tried = Tried(first_left_unread, all_read)

    read = tried.load("a", "b")

    assert {key: kept.version for key, kept in read.items()} == {"a": 0, "b": 0}
    assert [len(call["Keys"]) for call in tried.dynamodb.calls] == [2, 1]
    assert tried.slept == [1.0]


@pytest.mark.parametrize("unreadable", [b"\x02a newer format", b"", b"\x93\x91\x01\xc4\x01"])
def test_an_item_that_cannot_be_read_fails_its_person_alone(unreadable) -> None:
    def items(request: dict[str, Any]) -> dict[str, Any]:
        good = state(11)
        found = [
            {
                "pk": {"S": key},
                "version": {"N": "1"},
                "timestamp": {"N": "1"},
                "identifier": {"S": "id:42"},
                "memberships": {"B": pack(good) if key == "good" else unreadable},
            }
            for key in keys_of(request)
        ]
        return {"Responses": {"people": found}, "UnprocessedKeys": {}}

    read = Tried(items).load("good", "bad")

    assert read["good"].memberships == state(11).memberships
    assert isinstance(read["bad"], RetryableError)


def test_keys_left_unread_again_and_again_are_retryable() -> None:
    tried = Tried(*[nothing_read] * 6)

    read = tried.load("a")

    assert isinstance(read["a"], UnavailableError)
    assert tried.slept == [1.0, 2.0, 3.0, 4.0, 5.0]


@pytest.mark.parametrize(
    "code",
    [
        "ThrottlingError",
        "ProvisionedThroughputExceeded",
        "RequestLimitExceeded",
        "InternalServerError",
        "TransactionConflict",
    ],
)
def test_a_statement_that_was_throttled_is_sent_again_alone(code) -> None:
    tried = Tried(answers(None, code, "ConditionalCheckFailed"), answers(None))

    failures = tried.save("a", "b", "c")

    assert list(failures) == ["c"]
    assert isinstance(failures["c"], VersionConflictError)
    assert [len(call) for call in tried.dynamodb.calls] == [3, 1]


def test_a_statement_throttled_again_and_again_is_retryable() -> None:
    tried = Tried(*[answers("ThrottlingError")] * 6)

    assert isinstance(tried.save("a")["a"], UnavailableError)


def test_a_duplicate_item_is_a_conflict() -> None:
    assert isinstance(Tried(answers("DuplicateItem")).save("a")["a"], VersionConflictError)


def test_a_statement_refused_otherwise_is_retryable_and_named() -> None:
    failures = Tried(answers("ItemCollectionSizeLimitExceeded")).save("a")

    assert "ItemCollectionSizeLimitExceeded" in str(failures["a"])


@pytest.mark.parametrize(
    "error",
    [
        ClientError({"Error": {"Code": "AccessDenied", "Message": "s3cret"}}, "x"),
        ConnectTimeoutError(endpoint_url="https://s3cret"),
    ],
)
def test_a_call_that_fails_is_retryable_for_all_its_keys_and_quotes_nothing(error) -> None:
    read = Tried(*[failing(error)] * 6).load("a", "b")
    written = Tried(*[failing(error)] * 6).save("a", "b")

    for outcome in (*read.values(), *written.values()):
        assert isinstance(outcome, UnavailableError)
        assert "s3cret" not in str(outcome)


@pytest.mark.parametrize(
    "error",
    [
        ClientError({"Error": {"Code": "ThrottlingException"}}, "x"),
        ClientError({"Error": {"Code": "ProvisionedThroughputExceededException"}}, "x"),
        ClientError({"Error": {"Code": "InternalServerError"}}, "x"),
        ConnectTimeoutError(endpoint_url="https://"),
    ],
)
def test_a_call_that_may_work_in_a_moment_is_made_again(error) -> None:
    assert Tried(failing(error), all_read).load("a")["a"].version == 0
    assert Tried(failing(error), answers(None)).save("a") == {}


def test_a_call_that_cannot_work_is_made_once() -> None:
    tried = Tried(failing(ClientError({"Error": {"Code": "AccessDeniedException"}}, "x")))

    assert isinstance(tried.load("a")["a"], UnavailableError)


def test_no_wait_outlasts_the_time_left() -> None:
    tried = Tried(*[nothing_read] * 6)
    tried.seconds = 6.5

    assert isinstance(tried.load("a")["a"], UnavailableError)
    assert tried.slept == [1.0, 2.0]


def test_no_call_starts_without_time() -> None:
    tried = Tried()
    tried.seconds = 1.0

    assert isinstance(tried.load("a")["a"], OutOfTimeError)
    assert isinstance(Tried.save(expired(), "a")["a"], OutOfTimeError)
    assert tried.dynamodb.calls == []


def expired() -> Tried:
    tried = Tried()
    tried.seconds = 1.0
    return tried


def test_two_statements_of_a_call_never_touch_one_item_and_calls_are_full() -> None:
    keys = [f"k{n}" for n in range(60)]
    tried = Tried(answers(*[None] * 25), answers(*[None] * 25), answers(*[None] * 10))

    assert tried.save(*keys) == {}

    touched = [[one["Parameters"][0]["S"] for one in call] for call in tried.dynamodb.calls]
    assert [key for call in touched for key in call] == keys


def test_a_new_person_without_an_identifier_cannot_be_kept() -> None:
    with ThreadPoolExecutor(1) as executor:
        table = people(ScriptedDynamoDb(), executor, sleep=lambda _: None)

        with pytest.raises(ValueError, match="without an identifier"):
            table.save({"a": state(11, identifier=None)}, now=NOW, deadline=deadline())

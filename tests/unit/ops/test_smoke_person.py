"""The made-up person, and what the log says of them."""

import json

import pytest

from handler.domain.membership import PersonState, is_member, merge
from handler.domain.message import read_message
from handler.domain.profile import read_profile
from handler.domain.update import Update, person_key
from ops.smoke_person import AUDIENCE_ID, SmokePerson, progress
from tests.builders import NOW, NOW_MS

PERSON = SmokePerson("site-a", 1001, "abc", "customer")


@pytest.mark.parametrize("account_id", [1001, None])
def test_the_message_is_one_that_the_function_reads(account_id) -> None:
    person = SmokePerson("site-a", account_id, "abc", "customer")

    message = read_message(person.message(at_ms=NOW_MS), now=NOW)
    (raw,) = message.profiles
    profile = read_profile(raw)
    update = Update.of(profile, at_ms=message.sent_at_ms, one_attribute_per_audience=False)
    state = merge(PersonState(), [update], now=NOW)

    assert (message.account_id, message.message_id) == (account_id, person.message_id)
    assert message.one_attribute_per_audience is False
    assert person_key("site-a", profile) == person.key
    assert {key: is_member(stamp) for key, stamp in state.memberships.items()} == {
        AUDIENCE_ID: True
    }
    assert profile.email == person.email
    assert [change.audience_name for change in profile.changes] == [""]  # nothing to be learned


@pytest.mark.parametrize(("kind", "name"), [("customer", "CustomerId"), ("other2", "Other2")])
def test_their_id_is_in_the_identity_that_the_stack_reads(kind, name) -> None:
    person = SmokePerson("site-a", 1001, "abc", kind)

    (raw,) = read_message(person.message(at_ms=NOW_MS), now=NOW).profiles
    record = json.loads(person.record(at_ms=NOW_MS))

    assert read_profile(raw, customer_id_type=kind).customer_id == person.customer_id
    assert record["UserIdentities"][name] == person.customer_id


def line(message, at=1.0, request="r-1", **fields):
    return {"message": message, "at": at, "function_request_id": request, **fields}


def failed(event="message.retried", at=1.0, request="r-1", message_id=PERSON.message_id):
    why = {"error_type": "UnavailableError", "reason": "503"}
    return line(event, at, request, mparticle_message_id=message_id, **why)


def test_the_log_names_the_person_only_at_debug() -> None:
    done = line("batch.done", delivered=1)
    delivered = line("person.delivered", person=PERSON.hash)

    by_name = progress([done, delivered], PERSON, message_id=PERSON.message_id).taken
    unnamed = progress(
        [done, line("person.delivered", person="other")], PERSON, message_id=PERSON.message_id
    ).taken

    assert by_name is not None
    assert by_name.is_certain
    assert unnamed is not None
    assert not unnamed.is_certain


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [{}],
        [line("batch.done", delivered=0)],
        [failed(), line("batch.done", at=1.1, delivered=1)],
        [failed("message.set_aside"), line("batch.done", at=1.1, delivered=1)],
        [line("batch.done", request="r-0", delivered=1), failed(at=1.1)],
    ],
    ids=["no line", "no line of ours", "of nobody", "retried in it", "set aside in it", "before"],
)
def test_an_invocation_that_did_not_take_the_message_shows_nothing(lines) -> None:
    assert progress(lines, PERSON, message_id=PERSON.message_id).taken is None


def test_a_message_that_was_retried_may_be_taken_later() -> None:
    lines = [failed(), failed(at=2), line("batch.done", 3, "r-2", delivered=1)]

    found = progress(lines, PERSON, message_id=PERSON.message_id)

    assert found.taken
    assert found.retries == ("UnavailableError: 503",)


def test_the_failures_of_other_messages_do_not_count() -> None:
    lines = [failed(message_id="another"), line("batch.done", 3, delivered=1)]

    found = progress(lines, PERSON, message_id=PERSON.message_id)

    assert found.taken
    assert (found.retries, found.is_set_aside) == ((), False)


def test_the_failures_of_any_message_count_if_that_of_the_person_is_not_known() -> None:
    lines = [line("batch.done", delivered=1), failed(at=2, message_id="any")]

    found = progress(lines, PERSON, message_id=None)

    assert found.taken is None
    assert found.retries == ("UnavailableError: 503",)


def test_a_message_that_was_set_aside_is_known_by_its_id() -> None:
    assert progress(
        [failed("message.set_aside")], PERSON, message_id=PERSON.message_id
    ).is_set_aside

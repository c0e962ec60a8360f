"""Whether a message names a person."""

import json

import pytest

from handler.domain.update import Identifier
from ops.mentions import Names, account_of
from ops.people import Query
from tests.builders import audience, body, erasure, identity, profile

SITES = ("site-a", "site-b")


def names(query, *identifiers):
    asked = [*identifiers, *filter(None, [query.identifier])]
    return Names.of(SITES, query.keys(SITES), asked, "customer")


BY_ID, BY_EMAIL, BY_MPID = Query("42"), Query(email="Ann@Example.com"), Query(mpid=-7)


@pytest.mark.parametrize(
    ("query", "text", "is_named"),
    [
        (BY_ID, body(profile(customer_id="42")), True),
        (BY_ID, body(profile(customer_id=" 42 ")), True),
        (BY_ID, body(profile(customer_id="43"), profile(customer_id=42)), True),
        (BY_ID, body(profile(customer_id="43", mpid="42", email="42")), False),
        (BY_EMAIL, body(profile(customer_id="43", email="ANN@example.com")), True),
        (BY_EMAIL, body(profile(customer_id="ann@example.com")), False),
        (BY_MPID, body(profile(customer_id="43", mpid="-7")), True),
        (BY_MPID, body(profile(customer_id="43", mpid=-7)), True),
        (BY_MPID, body(profile(customer_id="43", mpid="--7")), False),
        (BY_ID, body(), False),
        (Query("None"), body(profile(customer_id=None, email="x@example.com")), False),
        (BY_ID, erasure(customer_id=42), True),
        (BY_ID, erasure(customer_id="43", email="42"), False),
        (BY_EMAIL, erasure(customer_id=None, email="ANN@example.com"), True),
        (BY_EMAIL, erasure(subject_identities=["ann@example.com"]), False),
    ],
)
def test_a_message_names_a_person_by_id_email_or_mpid(query, text, is_named) -> None:
    assert names(query).are_in(text) is is_named
    envelope = json.dumps({"Type": "Notification", "Message": text})
    assert names(query).are_in(envelope) is is_named


def test_a_person_is_named_also_by_a_former_identifier() -> None:
    former = Identifier(is_id=False, set_at_ms=1, value="old@example.com")
    text = body(profile(customer_id=None, mpid=None, email="Old@example.com"))

    assert names(BY_ID, former).are_in(text)
    assert not names(BY_ID).are_in(text)


def test_a_person_is_named_by_an_mpid_that_only_the_key_is_known_of() -> None:
    known = Names.of(SITES, Query(mpid=77).keys(["site-b"]), [], "customer")

    assert known.are_in(body(profile(mpid="77", customer_id="43")))
    assert not known.are_in(body(profile(mpid="78", customer_id="43")))


def test_a_person_is_named_by_the_hash_in_the_key() -> None:
    known = Names.of(SITES, ["site-b#" + "0a" * 32], [], "customer")

    assert known.are_in(body(profile(customer_id="43", person_hash="0a" * 32)))
    assert not known.are_in(body(profile(customer_id="43", person_hash="0b" * 32)))
    assert not known.are_in(body(profile(customer_id="43", person_hash=["0a" * 32])))


@pytest.mark.parametrize(
    ("refused", "query"),
    [
        (profile(audience(11, "unknown action"), customer_id="42"), BY_ID),
        ({"mpid": -7, "user_identities": [identity("email", "a" * 64, "sha256")]}, BY_MPID),
        ({"mpid": "-7", "user_identities": None}, BY_MPID),
        ({"user_identities": [None, 1, {"type": ["x"]}, identity("customer", 42)]}, BY_ID),
    ],
    ids=["malformed", "no identity", "nothing else", "odd identities"],
)
def test_a_profile_that_the_function_refuses_names_a_person_too(refused, query) -> None:
    assert names(query).are_in(body(refused, 7))


@pytest.mark.parametrize(
    "text",
    [
        "no json",
        "[1]",
        body(user_profiles={"mpid": 1}),
        body({"user_identities": [identity("customer", "\ud800")]}),
    ],
)
def test_what_cannot_be_read_may_name_anybody(text) -> None:
    assert names(BY_ID).are_in(text) is None


def test_a_message_has_an_account_if_it_can_be_read() -> None:
    assert account_of(body(account_id="77")) == 77
    assert account_of(body(account_id=None)) is None
    assert account_of("no json") is None


def test_a_person_is_found_beside_a_profile_that_cannot_be_read() -> None:
    unreadable = {"user_identities": [identity("customer", "\ud800")]}

    assert names(BY_ID).are_in(body(unreadable, profile(customer_id="42")))


def test_the_customer_id_is_the_identity_that_the_stack_says() -> None:
    query = Query(customer_id="42")
    known = Names.of(SITES, query.keys(SITES), filter(None, [query.identifier]), "other")
    sent = profile(mpid=None, customer_id="7")
    named = sent | {"user_identities": [identity("customer", "7"), identity("other", "42")]}

    assert known.are_in(body(named)) is True
    assert known.are_in(body(sent)) is False


def test_a_record_of_the_stream_cannot_be_read() -> None:
    known = Names.of(SITES, [], [], "customer")

    assert known.are_in(body({"AudienceId": 11}, type="audience_stream_record")) is None

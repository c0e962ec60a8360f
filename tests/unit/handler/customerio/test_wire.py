"""Packing people into requests, and reading the answers."""

from __future__ import annotations

import json
import re
from itertools import combinations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.customerio.wire import (
    MAX_BODY_BYTES,
    MAX_ENTITY_BYTES,
    Chunk,
    Entity,
    Refused,
    chunks,
    entities,
    read_answer,
    read_region,
)
from handler.domain.attributes import Person
from handler.domain.erasure import Deletion
from handler.domain.events import MAX_NAME_BYTES, Event
from handler.domain.profile import MAX_IDENTIFIER_BYTES
from handler.domain.update import Identifier
from handler.errors import (
    CredentialsRefusedError,
    ThrottledError,
    UnavailableError,
    WrongAddressError,
)


def someone(attributes, *, value="42", is_id=True, **fields) -> Person:
    identifier = Identifier(is_id=is_id, set_at_ms=1, value=value)
    return Person(identifier, 1_790_000_000, attributes, **fields)


def test_a_person_is_one_identify_entity() -> None:
    (entity,) = entities(someone({"SegmentMembership": "'11'", "In X": True, "email": None}))

    assert json.loads(entity.body) == {
        "type": "person",
        "action": "identify",
        "identifiers": {"id": "42"},
        "timestamp": 1_790_000_000,
        "attributes": {"SegmentMembership": "'11'", "In X": True, "email": None},
    }


@pytest.mark.parametrize("action", ["delete", "suppress"])
def test_a_deletion_is_one_entity_without_attributes_and_timestamp(action) -> None:
    email = Identifier(is_id=False, set_at_ms=1, value="ann@example.com")

    (entity,) = entities(Deletion(email, action))

    assert json.loads(entity.body) == {
        "type": "person",
        "action": action,
        "identifiers": {"email": "ann@example.com"},
    }


def test_an_email_identifies_where_there_is_no_id() -> None:
    (entity,) = entities(someone({"a": "b"}, value="ann@example.com", is_id=False))

    assert json.loads(entity.body)["identifiers"] == {"email": "ann@example.com"}


@given(
    st.dictionaries(
        st.text(max_size=40), st.text(max_size=400) | st.booleans() | st.none(), max_size=30
    ),
    st.integers(1, 30),
)
def test_attributes_spread_over_entities_within_the_limits_and_none_is_lost(some, times) -> None:
    attributes = {f"{name} {n}": value for n in range(times) for name, value in some.items()}

    parts = [json.loads(part.body) for part in entities(someone(attributes))]

    assert all(len(part.body) <= MAX_ENTITY_BYTES for part in entities(someone(attributes)))
    assert all(len(part["attributes"]) <= 300 for part in parts)
    assert [item for part in parts for item in part["attributes"].items()] == [*attributes.items()]


def test_each_entity_of_an_update_only_person_is_update_only() -> None:
    many = {f"In {number}": True for number in range(700)}

    parts = [json.loads(part.body) for part in entities(someone(many, update_only=True))]

    assert all(part["attributes"].pop("_update") is True for part in parts)
    assert all(len(part["attributes"]) < 300 for part in parts)
    assert [name for part in parts for name in part["attributes"]] == [*many]


ENTERED = Event("01ARZ3NDEKTSV4RRFFQ69G5FAV", "Audience Entered", 1_789_999_999, 11, "VIP")


def test_events_follow_the_attributes_of_their_person() -> None:
    person = someone({"SegmentMembership": "'11'"}, events=[ENTERED])

    attributes, sent = entities(person, owner=3)

    assert (attributes.owner, attributes.is_event) == (3, False)
    assert (sent.owner, sent.is_event) == (3, True)
    assert json.loads(sent.body) == {
        "type": "person",
        "action": "event",
        "identifiers": {"id": "42"},
        "id": "01ARZ3NDEKTSV4RRFFQ69G5FAV",
        "name": "Audience Entered",
        "timestamp": 1_789_999_999,
        "attributes": {"audience_id": 11, "audience_name": "VIP"},
    }


def test_events_follow_all_of_the_attributes_once_each_however_many_these_are() -> None:
    many = {f"In {number}": True for number in range(700)}

    sent = entities(someone(many, events=[ENTERED, ENTERED]))

    assert [entity.is_event for entity in sent] == [False] * 4 + [True] * 2


def test_an_event_fits_an_entity_however_long_identifier_and_name_are_written() -> None:
    event = msgspec.structs.replace(ENTERED, audience_name="\0" * MAX_NAME_BYTES)

    _, sent = entities(someone({}, value="\0" * MAX_IDENTIFIER_BYTES, events=[event]))

    assert len(sent.body) <= MAX_ENTITY_BYTES


SIZES = st.lists(st.lists(st.integers(1, MAX_ENTITY_BYTES), min_size=1, max_size=3), max_size=60)


def people_of(sizes) -> list[list[Entity]]:
    """Return the entities of each person, by their sizes."""
    return [[Entity(owner, b"x" * size) for size in theirs] for owner, theirs in enumerate(sizes)]


@given(SIZES.map(people_of))
def test_packing_never_breaks_a_limit_and_never_loses_doubles_or_reorders(people) -> None:
    packed = list(chunks(people))

    assert all(len(chunk.body) <= MAX_BODY_BYTES for chunk in packed)
    assert [entity for chunk in packed for entity in chunk.entities] == [
        entity for person in people for entity in person
    ]


@given(SIZES.map(people_of))
def test_packing_takes_as_few_requests_as_sizes_allow(people) -> None:
    size = sum(len(entity.body) + 1 for person in people for entity in person)

    # Greedy packing wastes less than one person in each request, here of three entities.
    assert len(list(chunks(people))) <= size // (MAX_BODY_BYTES - 3 * MAX_ENTITY_BYTES - 20) + 1


@given(SIZES.map(people_of))
def test_what_belongs_to_a_person_arrives_in_one_request(people) -> None:
    owners = [{entity.owner for entity in chunk.entities} for chunk in chunks(people)]

    assert all(one.isdisjoint(other) for one, other in combinations(owners, 2))


def test_a_person_too_large_for_a_request_is_spread_over_several_in_order() -> None:
    person = [Entity(0, b"%032000d" % number) for number in range(40)]

    packed = list(chunks([person]))

    assert [len(chunk.entities) for chunk in packed] == [15, 15, 10]
    assert [entity for chunk in packed for entity in chunk.entities] == person


@given(st.integers(1, 1200), st.integers(1, 3))
def test_a_request_holds_at_most_a_thousand_entities_events_included(people, parts) -> None:
    events = [Entity(0, b"e", is_event=True)] * (parts - 1)

    packed = list(chunks([[Entity(0, b"x"), *events]] * people))

    full, rest = divmod(people, 1000 // parts)
    most = 1000 // parts * parts
    assert [len(chunk.entities) for chunk in packed] == [most] * full + [rest * parts] * bool(rest)


def test_a_body_is_a_batch_of_entities() -> None:
    (chunk,) = chunks([entities(someone({"a": "b"})), entities(someone({"c": "d"}))])

    assert [e["attributes"] for e in json.loads(chunk.body)["batch"]] == [{"a": "b"}, {"c": "d"}]


def test_the_halves_of_a_chunk_have_all_of_its_entities() -> None:
    whole = [Entity(0, b"1"), Entity(1, b"2"), Entity(2, b"3")]

    first, second = Chunk(whole).halves()

    assert [*first.entities, *second.entities] == whole


def test_a_chunk_without_the_events_of_somebody_keeps_everything_else() -> None:
    identify, event = Entity(0, b"1"), Entity(0, b"2", is_event=True)
    others = Entity(1, b"3", is_event=True)

    assert Chunk([identify, event, others]).without_events_of({0}).entities == [identify, others]


@pytest.mark.parametrize("body", [b"{}", b'{"errors": []}', b'{"errors": null}'])
def test_200_accepts_everybody(body) -> None:
    assert read_answer(200, body, count=2) == {}


def test_207_names_who_was_refused_and_why() -> None:
    error = {"batch_index": 1, "reason": "invalid", "field": "email", "message": "too long"}

    refused = read_answer(207, json.dumps({"errors": [error]}).encode(), count=2)

    assert refused == {1: "email: invalid"}


@pytest.mark.parametrize("status", [402, 405, 409, 410, 418, 422, 499])
def test_any_other_4xx_refuses_the_request_as_a_whole(status) -> None:
    answer = read_answer(status, b"", count=2)

    assert answer == Refused(f"refused with {status}")


@pytest.mark.parametrize(
    "place",
    [
        "{}",
        *(f'{{"batch_index": {index}}}' for index in (2, -1, '"0"', "null", "true", 0.5)),
        '"no"',
    ],
)
def test_a_207_whose_error_names_no_entity_refuses_the_request_as_a_whole(place) -> None:
    body = f'{{"errors": [{{"batch_index": 0}}, {place}]}}'.encode()

    assert isinstance(read_answer(207, body, count=2), Refused)


def test_a_200_with_an_error_that_names_no_entity_makes_no_sense() -> None:
    with pytest.raises(UnavailableError):
        read_answer(200, b'{"errors": [{"batch_index": 100000}]}', count=1)


@pytest.mark.parametrize("status", [400, 413])
@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"errors": [{"reason": "bad"}]}', "bad"),
        (b'{"meta": {"errors": [{"reason": "very bad"}]}}', "very bad"),
        (b"<html>", "refused with 4"),
        (b'{"errors": 7}', "refused with 4"),
    ],
)
def test_400_and_413_refuse_the_request_as_a_whole(status, body, reason) -> None:
    answer = read_answer(status, body, count=2)

    assert isinstance(answer, Refused)
    assert reason in answer.reason


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, CredentialsRefusedError),
        (403, CredentialsRefusedError),
        (301, WrongAddressError),
        (308, WrongAddressError),
        (404, WrongAddressError),
        (408, ThrottledError),
        (429, ThrottledError),
        (500, UnavailableError),
        (503, UnavailableError),
        (204, UnavailableError),
    ],
)
def test_each_other_status_is_an_error_of_its_own_type(status, error) -> None:
    with pytest.raises(error):
        read_answer(status, b"{}", count=1)
    with pytest.raises(error):
        read_region(status, b"{}")


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b""),
        (200, b"<html>"),
        (200, b"[]"),
        (200, b'{"errors": 7}'),
        (200, b"\xff\xfe"),
        (200, b"[" * 100_000),
        (207, b"{}"),
        (207, b'{"errors": []}'),
        (207, b"<html>"),
    ],
)
def test_an_answer_that_makes_no_sense_is_an_error_over_there(status, body) -> None:
    with pytest.raises(UnavailableError):
        read_answer(status, body, count=2)


@pytest.mark.parametrize("region", ["us", "eu"])
def test_the_region_of_an_account_is_read(region) -> None:
    assert read_region(200, json.dumps({"region": region, "url": "x"}).encode()) == region


@pytest.mark.parametrize("body", [b"", b"{}", b'{"region": "mars"}'])
def test_a_region_that_makes_no_sense_is_an_error_over_there(body) -> None:
    with pytest.raises(UnavailableError):
        read_region(200, body)


def reason_shown(**error) -> str:
    answer = {"errors": [{"batch_index": 0, **error}]}
    refused = read_answer(207, json.dumps(answer).encode(), count=1)
    assert isinstance(refused, dict)
    return refused[0]


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        ({"field": "email", "reason": "too_long"}, "email: too_long"),
        (
            {"field": "attributes.first_name", "reason": "not valid"},
            "attributes.first_name: not valid",
        ),
        ({"reason": "invalid"}, "invalid"),
        ({"field": "email"}, "email"),
    ],
)
def test_field_and_reason_of_a_refusal_are_shown(error, shown) -> None:
    assert reason_shown(**error) == shown


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        ({"field": "email", "reason": "invalid", "message": "of Ann"}, "email: invalid"),
        ({"field": "email", "reason": "ann@example.com is taken"}, "email"),
        ({"field": "email", "reason": "over 150 bytes"}, "email"),
        ({"field": "e-mail", "reason": "it's invalid"}, "no reason given"),
        ({"field": "a b c d e f g h", "reason": "a b c d e f g h i"}, "a b c d e f g h"),
        ({"field": "email\n", "reason": "x" * 25}, "no reason given"),
        ({"field": 7, "reason": ["invalid"]}, "no reason given"),
        ({"message": "Ann is taken"}, "no reason given"),
        ({}, "no reason given"),
    ],
)
def test_text_that_is_not_plain_words_is_not_shown(error, shown) -> None:
    assert reason_shown(**error) == shown


@given(st.text(), st.text(), st.text())
def test_the_reason_shown_of_any_refusal_is_short_and_plain(field, reason, message) -> None:
    shown = reason_shown(field=field, reason=reason, message=message)

    assert len(shown) <= 400
    assert re.fullmatch("[A-Za-z_ .:]+", shown)
    assert set(shown.split(": ")) <= {field, reason, "no reason given"}

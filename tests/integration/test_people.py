"""The store, and the fake that stands for it, against one suite; and the store's own races."""

from __future__ import annotations

import hashlib
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from handler.domain.membership import merge
from handler.domain.update import Identifier
from handler.domain.versions import new_version
from handler.errors import UnavailableError, UnreadableStateError, VersionConflictError
from handler.table.keys import account_key, catalogue_key
from handler.table.table import open_table
from tests.builders import NOW, NOW_MS, deadline, state
from tests.stand_ins.ports import MemoryPeople

PLENTY = {"deadline": deadline()}
AT_ONCE: dict[str, Any] = {
    "backoff": lambda _: 0.0,
    "now": lambda: NOW,
    "sleep": lambda _: None,
}


@pytest.fixture
def real(dynamodb, table):
    with ThreadPoolExecutor(8) as executor:
        yield open_table(dynamodb, table, executor, **AT_ONCE).people


@pytest.fixture(params=["real", "fake"])
def store(request):
    return MemoryPeople() if request.param == "fake" else request.getfixturevalue("real")


def save(store, states):
    return store.save(states, now=NOW, **PLENTY)


def load(store, *keys):
    return store.load(keys, consistent=True, **PLENTY)


def test_a_person_not_known_has_version_zero(store) -> None:
    assert load(store, "a")["a"].version == 0
    assert store.versions(["a"], **PLENTY) == {"a": 0}


def test_what_was_saved_is_loaded(store) -> None:
    kept = state(11, 12, left=(13,), set_at={"email": 5}, continuations=2)

    assert save(store, {"a": kept}) == {}

    assert load(store, "a") == {"a": kept}
    assert store.versions(["a"], **PLENTY) == {"a": 1}


def test_the_next_version_takes_the_place_of_the_last(store) -> None:
    save(store, {"a": state(11)})

    assert save(store, {"a": state(left=(11,), version=2)}) == {}

    assert load(store, "a")["a"].version == 2


@pytest.mark.parametrize("version", [1, 3])
def test_a_version_that_does_not_follow_is_a_conflict_and_changes_nothing(store, version) -> None:
    save(store, {"a": state(11)})

    failures = save(store, {"a": state(12, version=version), "b": state(13)})

    assert isinstance(failures.pop("a"), VersionConflictError)
    assert failures == {}
    assert load(store, "a", "b") == {"a": state(11), "b": state(13)}


@pytest.mark.parametrize("at_most", [None, 3])
def test_pages_have_everybody_once_in_whatever_segments(store, at_most) -> None:
    known = {f"site#{number:064x}": state(number) for number in range(20)}
    save(store, known)

    read: list[str] = []
    for segment in range(3):
        for page in store.pages(segment, 3, at_most=at_most, consistent=True, **PLENTY):
            assert at_most is None or page.scanned <= at_most
            assert all(known[key] == person for key, person in page.people.items())
            read += page.people

    assert sorted(read) == sorted(known)


def test_a_following_version_of_nothing_is_a_conflict(store) -> None:
    failures = save(store, {"a": state(11, version=2)})

    assert isinstance(failures["a"], VersionConflictError)


def erased(kept):
    return merge(kept, (), now=NOW, erased_at_ms=NOW_MS)


def test_a_tombstone_is_loaded_and_a_new_start_follows_it(store) -> None:
    save(store, {"a": state(11)})
    tombstone = erased(state(11))

    assert save(store, {"a": tombstone}) == {}
    assert load(store, "a") == {"a": tombstone}
    assert store.versions(["a"], **PLENTY) == {"a": 2}

    anew = state(12, version=3, at_ms=NOW_MS + 1, erased_at_ms=NOW_MS)
    assert save(store, {"a": anew}) == {}
    assert load(store, "a") == {"a": anew}


def test_nobody_is_known_by_the_identifier_of_a_tombstone(store) -> None:
    wanted = ("site-a", state(11).identifier)
    save(store, {"site-a#a": state(11), "site-a#b": state(12)})

    save(store, {"site-a#a": erased(state(11))})

    assert store.known_as([wanted], **PLENTY) == {wanted: ["site-a#b"]}


def test_a_tombstone_of_another_version_is_a_conflict(store) -> None:
    save(store, {"a": state(11)})

    failures = save(store, {"a": erased(state(11, version=4))})

    assert isinstance(failures["a"], VersionConflictError)


def test_more_people_than_one_call_takes_are_saved_and_loaded(store) -> None:
    people = {f"k{n}": state(n) for n in range(1, 261)}

    assert save(store, people) == {}
    assert load(store, *people) == people
    assert set(store.versions([*people], **PLENTY).values()) == {1}


def test_of_many_writers_of_one_version_one_wins(store) -> None:
    save(store, {"a": state(1)})
    start = threading.Barrier(6)

    def write(audience_id):
        start.wait()
        return save(store, {"a": state(audience_id, version=2)})

    with ThreadPoolExecutor(6) as writers:
        failures = [failed for failed in writers.map(write, range(10, 16)) if failed]

    assert len(failures) == 5
    assert load(store, "a")["a"].version == 2


def item(dynamodb, table, key="a"):
    return dynamodb.get_item(TableName=table, Key={"pk": {"S": key}})["Item"]


def test_an_item_without_memberships_expires_in_thirty_days(real, dynamodb, table) -> None:
    save(real, {"a": state(left=(11,))})

    assert item(dynamodb, table)["expires_at"] == {"N": str(int(NOW) + 30 * 86_400)}


def test_a_tombstone_expires_in_thirty_days(real, dynamodb, table) -> None:
    save(real, {"a": state(11)})
    save(real, {"a": erased(state(11))})

    assert item(dynamodb, table)["expires_at"] == {"N": str(int(NOW) + 30 * 86_400)}
    assert "identifier" not in item(dynamodb, table)


def test_an_item_that_is_only_delivered_again_expires_no_later(real, dynamodb, table) -> None:
    known = state(left=(11,), set_at={"email": (NOW_MS - 5000) << 1})
    save(real, {"a": known})

    later = new_version(known, now=NOW + 86_400)
    real.save({"a": later}, now=NOW + 86_400, **PLENTY)

    assert item(dynamodb, table)["expires_at"] == {"N": str(int(NOW) + 30 * 86_400)}


def test_an_item_with_a_membership_does_not_expire_any_more(real, dynamodb, table) -> None:
    save(real, {"a": state(left=(11,))})
    save(real, {"a": state(12, version=2)})

    assert item(dynamodb, table)["expires_at"] == {"NULL": True}


def test_the_index_finds_an_item_by_its_identifier(real, dynamodb, table) -> None:
    email = Identifier(is_id=False, set_at_ms=1, value="ann@example.com")
    save(real, {"a": state(11), "b": state(11, identifier=email)})

    found = dynamodb.query(
        TableName=table,
        IndexName="by-identifier",
        KeyConditionExpression="identifier = :i",
        ExpressionAttributeValues={":i": {"S": "email:ann@example.com"}},
    )

    assert found["Items"] == [{"pk": {"S": "b"}, "identifier": {"S": "email:ann@example.com"}}]


ANN, ANNE = (
    Identifier(is_id=False, set_at_ms=at, value=f"{name}@example.com")
    for at, name in ((1, "ann"), (2, "anne"))
)


def key_of(name):
    return f"site-a#{hashlib.sha256(name.encode()).hexdigest()}"


def test_a_former_identifier_finds_who_had_it_and_nobody_else(real) -> None:
    joanne = Identifier(is_id=False, set_at_ms=2, value="joanne@example.com")
    people = {key_of(f"{n}"): state(n, identifier=joanne) for n in range(1, 40)}
    had = state(11, identifier=joanne, former={ANN: 1, ANNE: 1})
    save(real, {**people, key_of("had"): had, key_of("has"): state(11, identifier=ANNE)})

    assert [*real.formerly_known_as(ANNE, **PLENTY)] == [key_of("had")]
    assert [*real.formerly_known_as(joanne, **PLENTY)] == []


def test_an_identifier_inside_a_longer_one_does_not_find_its_person(real) -> None:
    longer = Identifier(is_id=False, set_at_ms=1, value=f"{ANN.value}.au")
    save(real, {key_of("a"): state(11, former={longer: 1})})

    assert [*real.formerly_known_as(ANN, **PLENTY)] == []
    assert [*real.formerly_known_as(longer, **PLENTY)] == [key_of("a")]


def test_each_person_is_in_one_segment_of_a_scan_and_other_items_in_none(
    real, dynamodb, table
) -> None:
    people = {key_of(f"{n}"): state(n) for n in range(1, 40)}
    save(real, people)
    for other in (account_key(1001), catalogue_key("site-a")):
        dynamodb.put_item(TableName=table, Item={"pk": {"S": other}, "version": {"N": "1"}})

    pages = [page for segment in range(3) for page in real.pages(segment, 3, **PLENTY)]

    found = [each for page in pages for each in page.people.items()]
    assert dict(found) == people
    assert len(found) == len(people)
    assert sum(page.scanned for page in pages) == len(people) + 2


def test_a_scan_goes_on_after_the_last_key_of_a_page(real) -> None:
    large = {key_of(f"{n}"): state(*range(30_000)) for n in range(6)}  # of 180 KB each
    save(real, large)

    first, *others = real.pages(0, 1, **PLENTY)
    resumed = [*real.pages(0, 1, after=first.last_key, deadline=deadline())]

    assert others
    assert [page.people.keys() for page in resumed] == [page.people.keys() for page in others]
    assert {key for page in (first, *others) for key in page.people} == large.keys()
    assert others[-1].last_key is None


def test_whoever_was_erased_is_on_no_page(real, table, dynamodb) -> None:
    save(real, {key_of("a"): state(11), key_of("b"): state(11)})
    save(real, {key_of("a"): erased(state(11))})
    with ThreadPoolExecutor(1) as executor:
        erasures = open_table(dynamodb, table, executor, **AT_ONCE).erasures
        erasures.record([ANN], "site-a", at_ms=NOW_MS, now=NOW, **PLENTY)

    (page,) = real.pages(0, 1, **PLENTY)

    assert [*page.people] == [key_of("b")]
    assert page.scanned == 3


def test_a_scan_has_the_error_of_a_person_who_cannot_be_read_in_their_place(
    real, dynamodb, table
) -> None:
    save(real, {key_of("a"): state(11)})
    dynamodb.put_item(TableName=table, Item={"pk": {"S": key_of("b")}})

    (page,) = real.pages(0, 1, **PLENTY)

    assert page.people[key_of("a")] == state(11)
    assert isinstance(page.people[key_of("b")], UnreadableStateError)


def test_a_person_with_80_audiences_fits_one_write_unit(real, dynamodb, table) -> None:
    key = f"{'5' * 20}#{'a' * 64}"
    uuid_id = Identifier(is_id=True, set_at_ms=1_790_000_000_000, value=str(uuid.uuid4()))
    times = dict.fromkeys(("email", "first_name", "last_name"), 2 * 1790000000000)
    audiences = range(1_000_000, 1_000_000 + 80 * 997, 997)
    kept = state(*audiences, identifier=uuid_id, set_at=times, continuations=0)

    save(real, {key: kept})

    size = sum(
        len(name) + (1 if "NULL" in value else len(next(iter(value.values()))))
        for name, value in item(dynamodb, table, key).items()
    )
    assert size <= 1024


def test_a_table_that_is_not_there_is_retryable_for_every_key(dynamodb) -> None:
    with ThreadPoolExecutor(1) as executor:
        lost = open_table(dynamodb, "no-such", executor, **AT_ONCE).people

        read = load(lost, "a")
        written = save(lost, {"a": state(11)})

        with pytest.raises(UnavailableError):
            [*lost.pages(0, 1, deadline=deadline())]

    assert isinstance(read["a"], UnavailableError)
    assert isinstance(written["a"], UnavailableError)

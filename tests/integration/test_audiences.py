"""The catalogues, and the fake that stands for them, against one suite; and their own limits."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any, Final

import pytest

from handler.domain.audience import Audience, AudienceUpdate, Catalogue, pack_catalogue
from handler.errors import UnavailableError, UnreadableStateError
from handler.table.audiences import FULL_BYTES, TTL_S
from handler.table.keys import catalogue_key
from handler.table.table import Table, open_table
from tests.builders import NOW, deadline, state
from tests.stand_ins.ports import MemoryAudiences, MemoryPeople

SITE: Final = "site-a"
PERSON: Final = f"{SITE}#a"
PLENTY = {"deadline": deadline()}


class Clock:
    """A clock that is set by hand."""

    now = NOW


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def full() -> list[int]:
    """The numbers of audiences of catalogues that were too large to write."""
    return []


@pytest.fixture
def real(dynamodb, table, clock, full):
    """A function that opens the table as a new environment does."""
    with ThreadPoolExecutor(8) as executor:
        yield lambda: open_table(
            dynamodb,
            table,
            executor,
            backoff=lambda _: 0.0,
            now=lambda: clock.now,
            sleep=lambda _: None,
            on_full=full.append,
        )


@pytest.fixture(params=["real", "fake"])
def environment(request) -> Callable[[], Any]:
    if request.param == "real":
        opened: Callable[[], Table] = request.getfixturevalue("real")
        return opened
    kept: dict[str, Catalogue] = {}
    people = MemoryPeople()

    def fake() -> Any:
        audiences = MemoryAudiences(kept)
        return SimpleNamespace(people=people.seen_with(audiences), audiences=audiences)

    return fake


def learn(opened: Any, *names: str, audience_id: int = 11, at_ms: int = 10) -> None:
    """Let an environment learn names of an audience, a millisecond after each other."""
    news = [AudienceUpdate(audience_id, at_ms + place, name) for place, name in enumerate(names)]
    opened.audiences.learn(SITE, news, **PLENTY)


def load(opened: Any) -> Any:
    return opened.people.load([PERSON], consistent=False, **PLENTY)


def verify(opened: Any) -> Any:
    return opened.people.versions([PERSON], catalogues_of=[SITE], **PLENTY)


def names(opened: Any) -> dict[int, str]:
    return {key: each.name for key, each in opened.audiences.of(SITE).audiences.items()}


def test_a_workspace_that_nothing_is_known_of_has_no_audiences(environment) -> None:
    opened = environment()

    load(opened)

    assert opened.audiences.of(SITE) == Catalogue()


def test_what_one_environment_learned_another_reads_along_with_people(environment) -> None:
    learn(environment(), "VIP", "Gold")
    other = environment()

    assert load(other)[PERSON].version == 0

    assert other.audiences.of(SITE) == Catalogue(1, {11: Audience("Gold", 11, {"VIP": 11})})


def test_what_is_learned_again_is_not_written_again(environment) -> None:
    opened = environment()
    learn(opened, "VIP")
    learn(opened, "VIP")

    assert opened.audiences.of(SITE).version == 1


def test_environments_that_learn_from_one_version_keep_what_both_learned(environment) -> None:
    one, other = environment(), environment()
    load(one)
    load(other)

    learn(one, "VIP", audience_id=11)
    learn(other, "Loyal", audience_id=12)

    assert names(other) == {11: "VIP", 12: "Loyal"}
    verify(one)
    assert names(one) == {11: "VIP", 12: "Loyal"}


def test_of_two_names_that_environments_learned_at_once_the_newer_counts(environment) -> None:
    one, other = environment(), environment()
    load(one)
    load(other)

    learn(one, "Gold", at_ms=20)
    learn(other, "VIP", at_ms=10)

    assert other.audiences.of(SITE).audiences[11] == Audience("Gold", 20, {"VIP": 20})


def test_an_environment_that_has_read_nothing_yet_keeps_what_others_learned(environment) -> None:
    learn(environment(), "VIP", audience_id=11)
    new = environment()

    learn(new, "Loyal", audience_id=12)

    assert names(new) == {11: "VIP", 12: "Loyal"}


def test_the_verifying_read_finds_a_name_that_another_learned(environment) -> None:
    one, other = environment(), environment()
    load(one)
    before = one.audiences.of(SITE)
    verify(one)
    assert one.audiences.of(SITE) is before

    learn(other, "VIP")

    assert verify(one) == {PERSON: 0}
    assert names(one) == {11: "VIP"}


# --- the real ones ---


def test_a_catalogue_is_used_for_a_minute(real, clock) -> None:
    one, other = real(), real()
    load(one)
    learn(other, "VIP")

    clock.now += TTL_S
    load(one)
    assert names(one) == {}

    clock.now += 0.1
    load(one)
    assert names(one) == {11: "VIP"}


def test_many_environments_at_once_keep_what_each_learned(real) -> None:
    start = threading.Barrier(6)

    def write(audience_id: int) -> None:
        opened = real()
        start.wait()
        learn(opened, "VIP", audience_id=audience_id)

    with ThreadPoolExecutor(6) as writers:
        assert [*writers.map(write, range(6))] == [None] * 6

    opened = real()
    load(opened)
    assert sorted(names(opened)) == [*range(6)]


@pytest.fixture
def put(dynamodb, table) -> Callable[..., None]:
    """A function that puts a catalogue's item as it is given."""

    def put(**fields: Any) -> None:
        item = {"pk": {"S": catalogue_key(SITE)}, **fields}
        dynamodb.put_item(TableName=table, Item=item)

    return put


@pytest.mark.parametrize(
    "fields",
    [
        {"version": {"N": "1"}, "audiences": {"B": b"\x01"}},
        {"version": {"N": "1"}},
        {"audiences": {"B": pack_catalogue(Catalogue())}},
    ],
    ids=["of a newer format", "without audiences", "without a version"],
)
def test_an_item_that_cannot_be_read_is_an_error_alone(real, put, fields) -> None:
    opened = real()
    opened.people.save({PERSON: state(11)}, now=NOW, **PLENTY)
    put(**fields)

    assert load(opened) == {PERSON: state(11)}

    with pytest.raises(UnreadableStateError):
        opened.audiences.of(SITE)
    with pytest.raises(UnreadableStateError):
        learn(opened, "VIP")


def test_an_item_that_could_not_be_read_is_read_again_at_once(real, put) -> None:
    opened = real()
    put(version={"N": "2"}, audiences={"B": b"\x01"})
    load(opened)

    put(version={"N": "2"}, audiences={"B": pack_catalogue(Catalogue(2, {11: Audience("VIP")}))})

    load(opened)
    assert names(opened) == {11: "VIP"}


def test_a_catalogue_that_became_unreadable_is_found_by_the_verifying_read(real, put) -> None:
    opened = real()
    learn(opened, "VIP")
    put(version={"N": "2"}, audiences={"B": b"\x01"})

    assert verify(opened) == {PERSON: 0}

    with pytest.raises(UnreadableStateError):
        opened.audiences.of(SITE)


def test_a_catalogue_that_was_deleted_begins_anew(real, dynamodb, table) -> None:
    opened = real()
    learn(opened, "VIP", "Gold")
    dynamodb.delete_item(TableName=table, Key={"pk": {"S": catalogue_key(SITE)}})

    learn(opened, "Loyal", audience_id=12)

    assert opened.audiences.of(SITE) == Catalogue(1, {12: Audience("Loyal", 10)})


def test_a_version_that_is_older_than_the_known_one_is_passed_over(real) -> None:
    opened = real()
    learn(opened, "VIP")
    learn(opened, "Gold", at_ms=20)
    known = opened.audiences.of(SITE)
    lagging = {
        "version": {"N": "1"},
        "audiences": {"B": pack_catalogue(Catalogue(1, {11: Audience("VIP", 10)}))},
    }

    opened.audiences.remember(SITE, lagging)

    assert opened.audiences.of(SITE) is known


LONG = "x" * 900
NEW = [AudienceUpdate(-key, 20, LONG) for key in range(1, 20)]


def many(size: int) -> list[AudienceUpdate]:
    """Return the names of as many audiences as make a catalogue a little smaller than a size."""
    return [AudienceUpdate(key, 10, f"{key:04}{LONG}") for key in range(size // 930)]


def test_a_catalogue_may_be_almost_as_large_as_an_item(real, full) -> None:
    opened, other = real(), real()

    opened.audiences.learn(SITE, many(FULL_BYTES), **PLENTY)

    load(other)
    assert len(names(other)) == len(many(FULL_BYTES))
    assert full == []


def test_a_full_catalogue_takes_names_of_its_audiences_and_no_more_audiences(real, full) -> None:
    opened, other = real(), real()
    opened.audiences.learn(SITE, many(FULL_BYTES), **PLENTY)
    renamed = AudienceUpdate(11, 20, f"renamed {LONG}")

    for _ in range(2):
        opened.audiences.learn(SITE, [*NEW, renamed], **PLENTY)

    load(other)
    assert names(other)[11] == renamed.name
    assert min(names(other)) == 0
    assert full[0] == len(many(FULL_BYTES)) + len(NEW)


def test_a_full_catalogue_is_reported_until_it_is_read_again(real, clock, full) -> None:
    opened = real()
    opened.audiences.learn(SITE, many(FULL_BYTES), **PLENTY)

    for _ in range(3):
        opened.audiences.learn(SITE, NEW, **PLENTY)
    assert len(full) == 1

    clock.now += TTL_S + 1
    load(opened)
    opened.audiences.learn(SITE, NEW, **PLENTY)
    assert len(full) == 2


def test_nothing_is_written_that_dynamodb_would_refuse(real, full) -> None:
    opened, other = real(), real()
    opened.audiences.learn(SITE, many(FULL_BYTES), **PLENTY)
    renamed = [AudienceUpdate(key, 20, f"renamed {LONG}") for key in range(100)]

    opened.audiences.learn(SITE, renamed, **PLENTY)

    load(other)
    assert names(other)[11] == f"0011{LONG}"


def test_a_catalogue_of_a_table_that_is_not_there_is_retryable(dynamodb) -> None:
    with ThreadPoolExecutor(1) as executor:
        lost = open_table(
            dynamodb,
            "no-such",
            executor,
            backoff=lambda _: 0.0,
            now=lambda: NOW,
            sleep=lambda _: None,
        )

        with pytest.raises(UnavailableError):
            learn(lost, "VIP")

"""What DynamoDB does to catalogues and the emulator does not: others win again and again."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from handler.domain.audience import Audience, AudienceUpdate, Catalogue, pack_catalogue
from handler.errors import OutOfTimeError, UnavailableError, VersionConflictError
from handler.table.items import MAX_ROUNDS
from handler.table.table import open_table
from tests.builders import NOW, deadline
from tests.stand_ins.dynamodb import (
    Answer,
    ScriptedDynamoDb,
    all_read,
    answers,
    keys_of,
    nothing_read,
)

SITE = "site-a"
LOST = answers("ConditionalCheckFailed")
WRITTEN = answers(None)


def holding(catalogue: Catalogue) -> Answer:
    """Return an answer in which every item is this catalogue."""

    def items(request: dict[str, Any]) -> dict[str, Any]:
        found = [
            {
                "pk": {"S": key},
                "version": {"N": str(catalogue.version)},
                "audiences": {"B": pack_catalogue(catalogue)},
            }
            for key in keys_of(request)
        ]
        return {"Responses": {"people": found}, "UnprocessedKeys": {}}

    return items


class Tried:
    """A table in front of a script."""

    def __init__(self, *script: Answer) -> None:
        self.dynamodb = ScriptedDynamoDb(*script)
        self.slept: list[float] = []
        self.executor = ThreadPoolExecutor(1)
        client: Any = self.dynamodb
        self.table = open_table(
            client,
            "people",
            self.executor,
            backoff=float,
            now=lambda: NOW,
            sleep=self.slept.append,
        )

    def learn(self, name: str, *, seconds: float = 60.0) -> None:
        news = [AudienceUpdate(11, 10, name)]
        with self.executor:
            self.table.audiences.learn(SITE, news, deadline=deadline(seconds))


def test_what_another_wrote_first_is_read_and_merged() -> None:
    theirs = Catalogue(4, {12: Audience("Loyal", 5)})
    tried = Tried(all_read, LOST, holding(theirs), WRITTEN)

    tried.learn("VIP")

    merged = Catalogue(5, {12: Audience("Loyal", 5), 11: Audience("VIP", 10)})
    assert tried.table.audiences.of(SITE) == merged
    assert [call.get("ConsistentRead") for call in tried.dynamodb.calls[::2]] == [True, True]
    assert tried.slept == [1.0]


def test_what_another_wrote_first_may_be_the_same_news() -> None:
    tried = Tried(all_read, LOST, holding(Catalogue(1, {11: Audience("VIP", 10)})))

    tried.learn("VIP")

    assert tried.dynamodb.script == []


def test_who_loses_every_round_is_retried() -> None:
    tried = Tried(all_read, *[LOST, all_read] * MAX_ROUNDS)

    with pytest.raises(VersionConflictError):
        tried.learn("VIP")

    assert tried.slept == [1.0, 2.0, 3.0, 4.0, 5.0]


def test_a_write_that_is_refused_is_retried_later() -> None:
    with pytest.raises(UnavailableError, match="AccessDenied"):
        Tried(all_read, answers("AccessDenied")).learn("VIP")


def test_nothing_is_written_without_time() -> None:
    tried = Tried()

    with pytest.raises(OutOfTimeError):
        tried.learn("VIP", seconds=0.5)


def test_a_version_that_cannot_be_read_makes_the_names_unknown() -> None:
    kept = holding(Catalogue(1))
    tried = Tried(kept, kept, *[nothing_read] * MAX_ROUNDS)
    site_ids = [SITE]

    with tried.executor:
        tried.table.people.versions([], catalogues_of=site_ids, deadline=deadline())
        assert tried.table.audiences.of(SITE) == Catalogue(1)
        tried.table.people.versions([], catalogues_of=site_ids, deadline=deadline())

    with pytest.raises(UnavailableError):
        tried.table.audiences.of(SITE)

"""Records of a stream's bucket, put on the queue again."""

import json
from types import SimpleNamespace
from typing import Any

import pytest

import ops.stream_replay
from ops.stream_archive import Folder, find
from ops.stream_replay import MOST_SHOWN, Replay
from tests.builders import NOW
from tests.unit.ops.builders import STREAM, record


class Queue:
    """A sender that keeps what it is given."""

    def __init__(self):
        self.bodies, self.accounts = [], set()

    def send(self, bodies, *, account_id, deadline):
        self.bodies += bodies
        self.accounts.add(account_id)

    @property
    def customers(self):
        profiles = [each for body in self.bodies for each in json.loads(body)["user_profiles"]]
        return [profile["user_identities"][0]["value"] for profile in profiles]


@pytest.fixture
def replay(aws, store):
    """Replay everything; return the counts, what was sent, and the pauses."""

    def replayed(*, account_id=None, rate=10, sends=True):
        queue: Any = Queue()
        pauses: list[float] = []
        objects = find(aws.s3, STREAM.bucket, Folder.RECORDS, start=0, end=1e11)
        run = Replay(
            aws.s3,
            STREAM.bucket,
            account_id,
            message_id="replay-1",
            now=lambda: NOW,
            sleep=pauses.append,
        )
        read = [*run.run(objects, queue if sends else None, rate=rate)]
        return SimpleNamespace(counts=run.counts, queue=queue, pauses=pauses, read=read)

    return replayed


def test_people_of_the_same_time_share_a_message_whatever_object_they_are_in(replay, store):
    store("records/2026/11/25/10/a", record("a") + record("b"))
    store("records/2026/11/25/11/b", record("c") + record("d", at=int(NOW) - 1))

    done = replay(account_id=1001)

    assert [json.loads(body)["id"] for body in done.queue.bodies] == ["replay-1"] * 2
    assert sorted(done.queue.customers) == ["a", "b", "c", "d"]
    assert done.queue.accounts == {1001}
    assert (done.counts.objects, done.counts.changes, done.counts.messages) == (2, 4, 2)
    assert len(done.read) == 2


def test_everybody_is_sent_if_there_are_more_than_fit_into_memory(replay, store, monkeypatch):
    monkeypatch.setattr(ops.stream_replay, "CHANGES_AT_ONCE", 3)
    people = [f"person-{number}" for number in range(10)]
    store("records/2026/11/25/10/a", b"\n".join(map(record, people)))

    done = replay()

    assert done.queue.customers == people
    assert done.counts.messages == 4


def test_no_more_messages_are_sent_in_a_second_than_the_rate(replay, store):
    times = range(int(NOW) - 25, int(NOW))
    store("records/2026/11/25/10/a", b"".join(record("a", at=at) for at in times))

    assert replay(rate=5).pauses == [2, 2, 1]


def test_without_a_sender_it_only_counts(replay, store):
    store("records/2026/11/25/10/a", record("a"))

    done = replay(sends=False)

    assert (done.counts.changes, done.counts.messages) == (1, 1)
    assert (done.queue.bodies, done.pauses) == ([], [])


def test_all_that_cannot_be_read_is_counted_and_the_first_are_named(replay, store):
    store("records/2026/11/25/10/a", record("a") + b'\n{"secret": 1}' * (MOST_SHOWN + 5))

    done = replay()

    assert done.counts.unreadable == MOST_SHOWN + 5
    assert len(done.counts.first_unreadable) == MOST_SHOWN
    assert done.queue.customers == ["a"]
    assert "secret" not in str(done.counts)

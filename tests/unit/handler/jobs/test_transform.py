"""A delivery stream's records: what goes on the queue, what is set aside, what is answered."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from handler.domain.message import read_message
from handler.domain.profile import read_profile
from handler.domain.report import StreamReport
from handler.errors import UnavailableError
from handler.jobs.transform import Transformer
from handler.sender import Unsent
from tests.builders import NOW, NOW_MS, deadline, stream_event, stream_record
from tests.stand_ins.forwarder import House
from tests.stand_ins.ports import RecordingTelemetry


class Queues:
    """A queue and a dead-letter queue; bodies with one of the `refused` texts do not get there."""

    def __init__(self, *refused: str) -> None:
        self.refused = refused
        self.bodies: list[str] = []
        self.letters: list[Any] = []

    def try_to_send(self, bodies: Sequence[str], *, account_id, deadline) -> Unsent:
        left = [body for body in bodies if self._refuses(body)]
        self.bodies += [body for body in bodies if body not in left]
        return Unsent(left, UnavailableError("the queue took not all") if left else None)

    def set_aside(self, letters, *, deadline):
        for letter in letters:
            arrived = not self._refuses(letter.body)
            self.letters += [letter] if arrived else []
            yield letter, arrived

    def _refuses(self, body: str) -> bool:
        return any(text in body for text in self.refused)

    def people(self) -> list[str]:
        messages = [read_message(body, now=NOW) for body in self.bodies]
        return sorted(
            str(read_profile(raw).customer_id) for each in messages for raw in each.profiles
        )


def transform(queues: Queues, *data: str | bytes, account_id: int | None = None):
    """Return the results by record, and what was reported."""
    telemetry = RecordingTelemetry()
    transformer = Transformer(queues, queues, telemetry, lambda: NOW, account_id)
    answer = transformer.transform(stream_event(*data), deadline=deadline())
    ((report,),) = telemetry.named("stream_transformed")
    assert isinstance(report, StreamReport)
    return [each["result"] for each in answer["records"]], report


def of(customer_id: str, **fields: Any) -> str:
    return stream_record(UserIdentities={"CustomerId": customer_id}, **fields)


def test_records_of_one_time_and_audience_become_one_message_of_the_account() -> None:
    queues = Queues()

    results, report = transform(queues, of("1"), of("2") + of("3"), account_id=1001)

    (body,) = queues.bodies
    message = read_message(body, now=NOW)
    assert (message.account_id, message.message_id) == (1001, "i-1")
    assert queues.people() == ["1", "2", "3"]
    assert results == ["Ok", "Ok"]
    assert report == StreamReport(2, 3, 1, 0, 0, "")


def test_messages_name_no_account_if_the_stack_names_none() -> None:
    queues = Queues()

    transform(queues, of("1"))

    assert "account" not in json.loads(queues.bodies[0])


def test_a_record_whose_message_is_not_on_the_queue_has_failed_and_its_neighbours_not() -> None:
    queues = Queues('"lost"')
    later = NOW_MS // 1000 + 1

    results, report = transform(
        queues,
        of("1"),
        of("2") + of("lost", MembershipChangedTimestamp=later),
        of("3", MembershipChangedTimestamp=later),
    )

    # The third shares a message with the one that is lost.
    assert results == ["Ok", "ProcessingFailed", "ProcessingFailed"]
    assert queues.people() == ["1", "2"]
    assert (report.failed, report.reason) == (2, "the queue took not all")


def test_what_cannot_be_read_is_set_aside_with_its_reason_and_is_ok() -> None:
    queues = Queues()

    results, report = transform(queues, of("1") + '{"IsMember": 7}', "no JSON")

    assert results == ["Ok", "Ok"]
    assert queues.people() == ["1"]
    assert [letter.error.error_type for letter in queues.letters] == ["MalformedMessage"] * 2
    assert [letter.outcome.message.source_id for letter in queues.letters] == ["r-0", "r-1"]
    assert json.loads(queues.letters[0].body)["user_profiles"] == [{"IsMember": 7}]
    assert queues.letters[1].body == "no JSON"
    assert (report.unreadable, report.failed) == (2, 0)


def test_what_cannot_be_set_aside_has_failed() -> None:
    results, report = transform(Queues("no JSON"), of("1"), "no JSON")

    assert results == ["Ok", "ProcessingFailed"]
    assert (report.failed, report.reason) == (1, "")


def test_an_identity_that_is_not_utf_8_is_set_aside_again_after_a_redrive() -> None:
    queues = Queues()
    transform(queues, of("ann").encode().replace(b"ann", b"\xe4nn"), account_id=1001)
    (letter,) = queues.letters
    house = House()

    assert house.process(letter.body) == []
    assert house.set_aside() == [("m-0", "MalformedProfile", 1)]
    assert house.customerio.people == {}


def test_a_record_that_was_set_aside_is_delivered_after_a_redrive_once_it_can_be_read() -> None:
    queues = Queues()
    tomorrow = int(NOW) + 2 * 86_400
    transform(queues, of("42", MembershipChangedTimestamp=tomorrow), account_id=1001)
    (letter,) = queues.letters
    house = House()

    assert house.process(letter.body) == []
    assert house.set_aside() == [("m-0", "MalformedMessage", 1)]
    (again,) = house.queue.letters
    assert json.loads(again.body)["user_profiles"] == json.loads(letter.body)["user_profiles"]

    house.now = tomorrow
    assert house.process(again.body) == []
    assert house.customerio.people["42"]["SegmentMembership"] == "'11'"


RECORDS = st.lists(
    st.lists(
        st.builds(
            of,
            st.integers(0, 30).map(str),
            MembershipChangedTimestamp=st.sampled_from([NOW_MS, NOW_MS - 1, NOW_MS - 2]),
        ),
        max_size=3,
    ),
    max_size=8,
)


@given(RECORDS, st.sets(st.integers(0, 30)))
def test_a_record_is_ok_only_if_everybody_in_it_is_on_the_queue(records, lost) -> None:
    queues = Queues(*(f'"value":"{each}"' for each in lost))

    results, _ = transform(queues, *("".join(each) for each in records))

    arrived = {*queues.people()}
    for result, each in zip(results, records, strict=True):
        named = {json.loads(text)["UserIdentities"]["CustomerId"] for text in each}
        if result == "Ok":
            assert named <= arrived
        else:
            assert lost

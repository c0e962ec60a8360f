import json
import re
from collections import defaultdict
from pathlib import Path

import pytest

from local import events
from local.events import (
    Expected,
    ExpectedEvent,
    ExpectedPerson,
    ExpectedSetAside,
    Record,
    SampleEvent,
    SetAside,
)
from local.fake_customerio.people import EventRecord, PersonRecord

ADA = {"id": "ada"}
IN_ONE = {"SegmentMembership": "'1'"}
ENTERED = ExpectedEvent("Audience Entered", 1, "One")
EXITED = ExpectedEvent("Audience Exited", 1, "One")


def event(people=(), set_aside=()):
    expected = Expected(people=list(people), set_aside=list(set_aside))
    return SampleEvent("a story", expected, records=[Record(message_id="in the file", body="")])


def person(identifiers, attributes=IN_ONE, updates=1, events=()):
    return PersonRecord(
        "site",
        identifiers,
        attributes,
        updates=updates,
        cio_id="-".join(identifiers.values()),
        events=tuple(events),
    )


def happened(name):
    attributes = {"audience_id": 1, "audience_name": "One"}
    return EventRecord(name, None, 5, attributes)


def test_an_event_is_moved_so_that_its_newest_message_is_a_minute_old():
    moved = events.as_of(1_000.0, '{"timestamp_ms": 5000, "other": 7}, {"timestamp_ms":4000}')

    assert moved == '{"timestamp_ms": 940000, "other": 7}, {"timestamp_ms":939000}'


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_time_is_found_in_a_body_however_deep(depth):
    text = json.dumps({"timestamp_ms": 1})
    for _ in range(depth):
        text = json.dumps({"body": text})

    moved = events.as_of(61.0, text)

    for _ in range(depth):
        moved = json.loads(moved)["body"]
    assert json.loads(moved) == {"timestamp_ms": 1000}


def test_a_record_for_the_stream_is_moved_to_a_minute_ago():
    moved = events.as_of(1_000.0, '{"MembershipChangedTimestamp": "1793610904", "AudienceId": 7}')

    assert moved == '{"MembershipChangedTimestamp": "940", "AudienceId": 7}'


def test_an_event_without_times_stays_as_it_is():
    assert events.as_of(1_000.0, "nonsense") == "nonsense"


def test_expected_results_have_no_differences():
    wanted = event(
        people=[ExpectedPerson(ADA, IN_ONE)],
        set_aside=[ExpectedSetAside("NoIdentity", "in the file")],
    )

    assert not list(
        events.differences(
            wanted,
            people=[person(ADA | {"email": "ada@example.com"})],
            set_aside=[SetAside("NoIdentity", "why", "from SQS")],
            message_ids=["from SQS"],
        )
    )


@pytest.mark.parametrize(
    ("wanted", "people", "set_aside", "text"),
    [
        (event([ExpectedPerson(ADA, IN_ONE)]), [], [], "was not updated"),
        (event([ExpectedPerson(ADA, IN_ONE)]), [person(ADA, {})], [], "not {"),
        (event([ExpectedPerson(ADA, IN_ONE, [ENTERED])]), [person(ADA)], [], "has [], not ["),
        (
            event([ExpectedPerson(ADA, IN_ONE, [ENTERED])]),
            [person(ADA, events=[happened("Audience Entered")] * 2)],
            [],
            "not [",
        ),
        (event(), [person(ADA)], [], "was updated"),
        (event(), [], [SetAside("NoIdentity")], "NoIdentity of message  was set aside"),
        (event(), [], [SetAside()], "something of message  was set aside"),
        (
            event(set_aside=[ExpectedSetAside("NoIdentity", "in the file")]),
            [],
            [],
            "NoIdentity of message in the file was not set aside",
        ),
    ],
)
def test_a_difference_is_described(wanted, people, set_aside, text):
    (difference,) = events.differences(wanted, people=people, set_aside=set_aside)

    assert text in difference


def test_the_order_of_a_persons_events_does_not_matter():
    wanted = event([ExpectedPerson(ADA, IN_ONE, [ENTERED, EXITED])])
    events_ = [happened("Audience Exited"), happened("Audience Entered")]

    assert not list(events.differences(wanted, people=[person(ADA, events=events_)], set_aside=[]))


def test_only_people_with_a_new_update_are_updated():
    before = [person(ADA), person({"id": "ben"})]
    after = [person(ADA), person({"id": "ben"}, updates=2), person({"id": "chloe"})]

    assert events.updated(before, after) == after[1:]


@pytest.mark.parametrize("path", events.all_files(), ids=lambda path: path.stem)
def test_every_file_says_what_it_shows(path):
    sample = events.read(path)

    assert sample.description.endswith(".")
    assert sample.records


def test_no_two_stories_name_one_audience_differently():
    folder = Path(__file__).parents[3] / "events"
    files: defaultdict[str, set[str]] = defaultdict(set)
    for path in folder.rglob("*.json"):
        # In an SQS event the messages are texts, with escaped quotes.
        for audience_id in re.findall(
            r'(?:audience_id|AudienceId)\\*": ?"?(-?\d+)', path.read_text()
        ):
            # The stories of the ingress are about the same audience.
            story = path.parent if path.parent != folder else path
            files[audience_id].add(str(story))

    assert files
    assert {audience_id: names for audience_id, names in files.items() if len(names) > 1} == {}

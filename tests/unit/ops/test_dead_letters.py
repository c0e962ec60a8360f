"""What a dead letter says, which are chosen, and files of them."""

import pytest

from ops.dead_letters import (
    Selection,
    audiences_in,
    group_by_error_type,
    read_bodies,
    read_letter,
    to_line,
)
from tests.builders import audience, body, profile
from tests.unit.ops.builders import letter, text_attributes

SUBSCRIPTION = "audience_subscription_request"


def test_a_group_has_the_reason_and_the_time_of_its_oldest_letter() -> None:
    groups = group_by_error_type(
        [letter(sent_at=5, source="b"), letter("Other"), letter(sent_at=3, source="a")]
    )

    assert [group.error_type for group in groups] == ["NoIdentity", "Other"]
    assert [group.count for group in groups] == [2, 1]
    assert groups[0].oldest_sent_at == 3
    assert groups[0].source_message_ids == ("a", "b")


def test_a_group_has_the_audiences_of_its_letters_most_of_them_first() -> None:
    renamed = audience(12, audience_name="Gold")
    texts = [body(profile(audience(11), audience(12))), body(profile(renamed)), "no JSON"]
    letters = [letter(text=text, sent_at=place) for place, text in enumerate(texts)]

    (group,) = group_by_error_type(letters)

    assert [*group.audiences.items()] == [(12, "Gold"), (11, "Audience 11")]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (body({"user_identities": [], "audiences": [audience("11")]}), {11: "Audience 11"}),
        (body(profile(audience(11, "paint", audience_name=None))), {11: ""}),
        (
            body(type="audience_subscription_request", audience_id=11, audience_name=" A "),
            {11: "A"},
        ),
        (body(audience_id=11, audience_name="V\ud800IP"), {11: "VIP"}),
        (body({"audiences": [{}, 5, {"audience_id": "x"}, audience(12)]}), {12: "Audience 12"}),
        (body({"audiences": None}, 5, None), {}),
        (body(user_profiles={"audiences": []}), {}),
        ("no JSON", {}),
    ],
)
def test_audiences_are_found_in_what_the_function_refuses(text, named) -> None:
    assert audiences_in(text) == named


@pytest.mark.parametrize(
    ("selection", "is_included"),
    [
        (Selection(), True),
        (Selection(error_types=frozenset({"NoIdentity"})), True),
        (Selection(error_types=frozenset({"Other"})), False),
        (Selection(source_message_ids=frozenset({"m-1"})), True),
        (Selection(frozenset({"NoIdentity"}), frozenset({"m-2"})), False),
    ],
)
def test_a_selection_includes_what_all_its_parts_include(selection, is_included) -> None:
    assert selection.includes(letter()) is is_included


ATTRIBUTES = {"ErrorType": "NoIdentity", "ErrorMessage": "an old reason", "SourceMessageId": "m-1"}


@pytest.mark.parametrize(
    ("source_arn", "attributes", "read"),
    [
        ("", ATTRIBUTES, ("NoIdentity", "an old reason", "m-1")),
        ("", {}, ("none", "no reason given", "its-id")),
        ("arn:aws:sqs:q", ATTRIBUTES, ("none", "received too often; moved by SQS", "its-id")),
        (
            "arn:aws:sqs:r",
            {"SourceMessageId": "m-1", "RetryReason": "a 503"},
            (
                "none",
                "received too often from the retry queue; moved by SQS; first retried for a 503",
                "m-1",
            ),
        ),
    ],
    ids=["set aside", "without attributes", "moved by SQS", "moved by SQS from the retry queue"],
)
def test_a_message_that_sqs_moved_does_not_show_an_old_reason(
    source_arn, attributes, read
) -> None:
    moved = {"DeadLetterQueueSourceArn": source_arn} if source_arn else {}
    received = {
        "MessageId": "its-id",
        "Body": "{}",
        "Attributes": {"SentTimestamp": "1000", **moved},
        "MessageAttributes": text_attributes(**attributes),
    }

    letter = read_letter(received, retry_queue_name="r")

    assert (letter.error_type, letter.error_message, letter.source_message_id) == read
    assert letter.sent_at == 1


def test_saved_letters_are_read_back() -> None:
    saved = "".join(map(to_line, [letter(text="one\nline"), letter(text="two")]))

    assert read_bodies(saved) == ["one\nline", "two"]
    assert read_bodies(to_line(letter(text="one"))) == ["one"]


def test_an_event_and_a_message_are_read_as_well() -> None:
    assert read_bodies('{"Records": [{"body": "a"}, {"body": "b"}]}') == ["a", "b"]
    assert read_bodies(body()) == [body()]


@pytest.mark.parametrize("text", ["[1]", "no json", '{"body": 1}\n{"body": 2}'])
def test_a_file_without_messages_is_refused(text) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - json or this module raises it
        read_bodies(text)

"""What goes to the dead-letter queue: messages that are accepted, and nothing that is not read."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from handler.domain.dead_letter import parts_of, whole_body
from handler.domain.message import read_fields, read_message
from handler.domain.profile import read_profile
from handler.errors import MalformedMessageError, PermanentError
from tests.builders import NOW, NOW_MS, audience, body, profile
from tests.stand_ins.aws import NOT_FOR_SQS
from tests.strategies import JSON


def sns(text: str) -> str:
    return json.dumps({"Type": "Notification", "Message": text})


def refusal(text: str) -> tuple[type[PermanentError], str]:
    with pytest.raises(PermanentError) as refused:
        read_message(text, now=NOW)
    return type(refused.value), str(refused.value)


# --- some profiles of a message ---


def test_the_chosen_profiles_alone_make_a_message_that_is_accepted() -> None:
    bad = profile(audience("x"), customer_id="43")
    text = body(profile(), bad, account_id=1002)
    opened = read_message(text, now=NOW)

    (part,) = parts_of(text, [[opened.profiles[1]]])
    again = read_message(part, now=NOW)

    assert (again.account_id, again.sent_at_ms) == (1002, NOW_MS)
    assert (again.type, again.message_id) == (opened.type, opened.message_id)
    assert [json.loads(bytes(raw)) for raw in again.profiles] == [bad]


@pytest.mark.parametrize("value", [True, False, None, "maybe"])
def test_the_setting_that_is_read_is_kept_and_no_other(value) -> None:
    settings = {"apiKey": "s3cret", "Create One User Attribute per Segment": value}
    text = body(account={"account_settings": settings})

    (again,) = parts_of(text, [[]])

    assert "s3cret" not in again
    assert read_message(again, now=NOW) == read_message(text, now=NOW)


def test_characters_that_sqs_refuses_are_escaped() -> None:
    text = body(profile(customer_id="a\ufffe", x="\ud83d")).replace("\\ufffe", "\ufffe")
    opened = read_message(sns(text), now=NOW)

    (again,) = parts_of(sns(text), [opened.profiles])

    assert not NOT_FOR_SQS.search(again)
    assert [json.loads(bytes(raw)) for raw in read_fields(again).user_profiles or ()] == [
        profile(customer_id="a\ufffe", x="\ud83d")
    ]


@pytest.mark.parametrize("beside", ['"\\ud83d"', "NaN", "0"])
def test_a_body_is_no_longer_than_it_came(beside) -> None:
    text = body(profile(x="é" * 1000), y="@")
    text = json.dumps(json.loads(text), ensure_ascii=False).replace('"@"', beside)

    opened = read_message(text, now=NOW)

    for again in (whole_body(text), *parts_of(text, [opened.profiles])):
        assert len(again.encode()) <= len(text.encode())


@given(JSON)
@example("null")
def test_any_message_that_is_read_is_read_the_same_when_it_comes_back(value) -> None:
    for text in (
        body(profile(), account=value),
        body(value, account_id=value),
        body(value, value, account={"account_id": 7, "account_settings": value}),
        body(id=value),
        json.dumps(value),
    ):
        try:
            opened = read_message(text, now=NOW)
        except PermanentError:
            continue
        for letter in (*parts_of(text, [opened.profiles]), whole_body(text)):
            again = read_message(letter, now=NOW)
            assert again == opened
            assert list(map(verdict, again.profiles)) == list(map(verdict, opened.profiles))


def verdict(raw) -> str:
    try:
        return repr(read_profile(raw))
    except PermanentError as error:
        return repr(error)


# --- a message that is refused as a whole ---


def test_a_message_refused_as_a_whole_keeps_the_fields_that_are_read() -> None:
    settings = {"apiKey": "s3cret", "oneAttributePerAudience": "TRUE", "plain": {"x": "s3cret"}}
    account = {"account_id": "1", "account_settings": settings, "apiKey": "s3cret"}
    text = body(profile(), profile(mpid=8), at_ms=NOW_MS * 2, account=account, more="s3cret")

    for came in (text, sns(text), sns(sns(text))):
        assert json.loads(whole_body(came)) == {
            "type": "audience_membership_change_request",
            "id": json.loads(text)["id"],
            "timestamp_ms": NOW_MS * 2,
            "account": {
                "account_id": "1",
                "account_settings": {"oneAttributePerAudience": True},
            },
            "user_profiles": [profile(), profile(mpid=8)],
        }


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        body(type="event_processing_request"),
        body(type=["x"]),
        body(type="\ud83d"),
        body(at_ms=-1),
        body(at_ms="soon"),
        body(at_ms=float("nan")),
        body(account="s3cret"),
        body(account=["s3cret"]),
        body(account_id="one"),
        body(account_id=2**70),
        body(account_id=[1]),
        body(user_profiles={"a": "\ufffe", "b": float("inf")}),
        sns(""),
    ],
)
def test_a_message_refused_as_a_whole_is_refused_for_the_same_reason_again(text) -> None:
    again = whole_body(text)

    assert "s3cret" not in again
    assert not NOT_FOR_SQS.search(again)
    assert whole_body(again) == again
    assert refusal(again)[0] is refusal(text)[0]


@pytest.mark.parametrize("field", ["type", "id", "at_ms", "account_id"])
@pytest.mark.parametrize("value", ["x" * 10_000, [1] * 10_000, {"a": "x" * 10_000}, 10**4000])
def test_a_field_of_more_than_some_kilobytes_is_emptied_and_refused_again(field, value) -> None:
    text = body(profile(), **{"at_ms": -1, field: value})

    again = whole_body(text)

    assert len(again) < 4000
    assert json.loads(again)["user_profiles"] == [profile()]
    assert refusal(again)[0] is refusal(text)[0]


@pytest.mark.parametrize(
    "text",
    ["{poison", "", "7", "[1, 2]", '"text"', '{"a": [1,]}', '{"apiKey": "kept"', "{'a': 1}"],
)
def test_a_body_that_is_no_json_object_stays_as_it_came(text) -> None:
    assert whole_body(text) == text
    assert whole_body(sns(f"{text} ")) == f"{text} "


@pytest.mark.parametrize("text", ["\0", "{\uffff", "\x1b[31m", '{"a": "\ud83d', '{"a": "\\\x00"}'])
def test_what_sqs_refuses_in_a_body_that_is_no_json_object_is_replaced(text) -> None:
    for came in (text, sns(text)):
        again = whole_body(came)

        assert again == NOT_FOR_SQS.sub("?", text)
        assert refusal(again)[0] is MalformedMessageError


@given(JSON, st.sampled_from(["type", "id", "at_ms", "account_id", "account", "user_profiles"]))
def test_any_json_refused_as_a_whole_is_refused_for_the_same_reason_again(value, field) -> None:
    for text in (body(profile(), **{field: value}), json.dumps(value)):
        with suppress(PermanentError):
            read_message(text, now=NOW)
            continue
        again = whole_body(text)
        assert refusal(again)[0] is refusal(text)[0]
        assert whole_body(again) == again


def test_a_long_name_of_an_audience_is_kept_in_any_script() -> None:
    name = "観" * 180
    text = json.dumps(
        {
            "type": "audience_subscription_request",
            "timestamp_ms": NOW_MS,
            "audience_id": 7,
            "audience_name": name,
            "action": "add",
        }
    )

    assert json.loads(whole_body(text))["audience_name"] == name

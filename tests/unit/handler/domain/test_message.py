"""mParticle's JSON: what is read of it, what is refused and how that is said."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from handler.domain.audience import AudienceUpdate
from handler.domain.message import MessageType, read_message
from handler.domain.profile import read_profile
from handler.errors import (
    InvalidIdentityError,
    MalformedMessageError,
    MalformedProfileError,
    NoIdentityError,
    PermanentError,
    UnsupportedMessageError,
)
from tests.builders import NOW, NOW_MS, audience, body, change, identity, profile
from tests.strategies import JSON


def only_profile(*args, **fields):
    return read_profile(read_message(body(profile(*args, **fields)), now=NOW).profiles[0])


def test_a_message_is_read_with_its_profiles_still_raw() -> None:
    opened = read_message(body(profile(), profile(), account_id=1002), now=NOW)

    assert opened.type is MessageType.MEMBERSHIP_CHANGE
    assert (opened.account_id, opened.sent_at_ms, len(opened.profiles)) == (1002, NOW_MS, 2)


def subscription(**fields):
    said = {"type": "audience_subscription_request", "audience_id": "11", "action": "remove"}
    return read_message(body(**{**said, **fields}), now=NOW)


def test_a_subscription_names_an_audience_and_what_was_done_to_it() -> None:
    opened = subscription(audience_name=" VIP ")

    assert opened.type is MessageType.SUBSCRIPTION
    assert opened.audience == AudienceUpdate(11, NOW_MS, "VIP", "remove")


@pytest.mark.parametrize(
    ("name", "read"), [(None, ""), ("V\ud800IP", "VIP"), ("Größe \x00", "Größe \x00")]
)
def test_the_name_of_a_subscription_is_text_that_can_be_written(name, read) -> None:
    assert subscription(audience_name=name).audience.name == read


@pytest.mark.parametrize(
    "fields",
    [{"audience_id": None}, {"audience_id": 2**63}, {"audience_name": 5}, {"action": "paint"}],
)
def test_a_subscription_that_cannot_be_read_names_no_audience(fields) -> None:
    assert subscription(**fields).audience is None


@pytest.mark.parametrize("depth", [1, 3])
def test_sns_envelopes_are_opened(depth) -> None:
    wrapped = bare = body(profile())
    for _ in range(depth):
        wrapped = json.dumps({"Type": "Notification", "MessageId": "x", "Message": wrapped})

    assert read_message(wrapped, now=NOW) == read_message(bare, now=NOW)


@pytest.mark.parametrize("enclosed", [None, "", 7, {"type": "x"}])
def test_an_envelope_that_encloses_no_text_is_malformed(enclosed) -> None:
    text = json.dumps({"Type": "Notification", "Message": enclosed})

    with pytest.raises(MalformedMessageError, match="no field `type`"):
        read_message(text, now=NOW)


@pytest.mark.parametrize(
    ("value", "message_id"),
    [("m-1", "m-1"), (7, "7"), ("x" * 65, "x" * 64), ("a\n", ""), ("\ud83d", ""), ([], "")],
)
def test_the_id_of_a_message_is_short_and_printable_or_empty(value, message_id) -> None:
    assert read_message(body(id=value), now=NOW).message_id == message_id


@pytest.mark.parametrize("profiles", [None, []])
def test_a_connection_check_has_no_profiles(profiles) -> None:
    assert read_message(body(user_profiles=profiles), now=NOW).profiles == []


def test_ids_and_times_may_be_digit_strings() -> None:
    opened = read_message(body(profile(), at_ms=str(NOW_MS), account_id="1002"), now=NOW)
    read = only_profile(audience("11"), mpid="-9223372036854775808", customer_id=42)

    assert (opened.account_id, opened.sent_at_ms) == (1002, NOW_MS)
    assert (read.mpid, read.customer_id) == (-(2**63), "42")
    assert read.changes == (change(11),)


def test_unknown_fields_and_absent_optional_ones_are_normal() -> None:
    fields = {"type": "audience_membership_change_request", "timestamp_ms": NOW_MS, "x": [1]}

    opened = read_message(json.dumps(fields), now=NOW)

    assert (opened.account_id, opened.profiles) == (None, [])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "$: Input data was truncated"),
        ("nope", "$: JSON is malformed: invalid character (byte 4)"),
        ("[1]", "$: Expected `object`, got `array`"),
        ("{}", "$: no field `type`"),
        ('{"type": 7}', "$.type: expected a string"),
        (body(at_ms="soon"), "Expected `int`, got `str` - at `$.timestamp_ms`"),
        (body(at_ms=None), "Expected `int`, got `null` - at `$.timestamp_ms`"),
        (body(at_ms="\ud83d"), "$: not valid Unicode"),
        (body(account=7), "Expected `object | null`, got `int` - at `$.account`"),
        (body(account_id="a"), "Expected `int | null`, got `str` - at `$.account.account_id`"),
        (body(account_id=2**63), "<= 9223372036854775807 - at `$.account.account_id`"),
        (body(user_profiles={}), "$.user_profiles: expected an array"),
        (body(user_profiles=7), "$.user_profiles: expected an array"),
        (body(user_profiles=7, x=float("nan")), "$.user_profiles: expected an array"),
        ("[" * 100_000, "$: Expected `object`, got `array`"),
        ('{"a":' * 100_000, "$: nested too deeply"),
        ("\ud800", "$: not valid Unicode"),
        ('{"Type": "Notification", "Message": "{no}"}', "$: JSON is malformed"),
    ],
)
def test_a_malformed_message_is_refused_with_what_is_wrong_and_where(text, reason) -> None:
    with pytest.raises(MalformedMessageError) as refused:
        read_message(text, now=NOW)

    assert reason in str(refused.value)


@pytest.mark.parametrize("at_ms", [0, -1, NOW_MS + 24 * 3_600_000 + 1])
def test_a_time_that_would_win_for_ever_or_lose_for_ever_is_malformed(at_ms) -> None:
    with pytest.raises(MalformedMessageError, match=r"\$\.timestamp_ms"):
        read_message(body(at_ms=at_ms), now=NOW)


def test_a_time_less_than_a_day_ahead_is_fine() -> None:
    assert read_message(body(at_ms=NOW_MS + 24 * 3_600_000), now=NOW).sent_at_ms > NOW_MS


@pytest.mark.parametrize(
    "name",
    [
        "event_processing_request",
        "EventProcessingRequest",
        "EVENT_PROCESSING",
        "event.processing-request",
        "request_v2",
        "x",
        "x" * 64,
    ],
)
def test_another_type_is_unsupported_and_named(name) -> None:
    with pytest.raises(UnsupportedMessageError) as refused:
        read_message(body(type=name), now=NOW)

    assert str(refused.value) == f"$.type: {name}"


@pytest.mark.parametrize(
    "name",
    [
        "",
        "x" * 65,
        "x" * 100_000,
        "<secret value>",
        "a secret value",
        "secret@example.com",
        "secret\n",
        "geheim\u00e9",
        "4915112345678",
        "secret12345",
        "5e7secret0key",
        "se7cret0key",
        "_secret",
    ],
)
def test_of_a_type_that_is_not_a_plain_word_only_the_length_is_shown(name) -> None:
    with pytest.raises(UnsupportedMessageError) as refused:
        read_message(body(type=name), now=NOW)

    assert str(refused.value) == f"$.type: not a plain name, {len(name)} characters"


@pytest.mark.parametrize(
    ("name", "value", "meaning"),
    [
        ("Create One User Attribute per Segment", "true", True),
        ("create one user attribute per audience", "False", False),
        ("OneAttributePerAudience", True, True),
        ("one-attribute-per-segment", " TRUE ", True),
        ("Create One User Attribute per Segment", "", None),
        ("Something Else", "true", None),
    ],
)
def test_the_setting_one_attribute_per_audience_is_read_in_any_spelling(
    name, value, meaning
) -> None:
    account = {"account_id": 1, "account_settings": {"apiKey": [1], name: value}}

    assert read_message(body(account=account), now=NOW).one_attribute_per_audience is meaning


@pytest.mark.parametrize(
    "settings",
    [
        *(None, 7, "text", ["true"], {"\ud83d": float("nan")}),
        *({"One Attribute per Audience": value} for value in ("maybe", 7, [1], {"a": 1}, None)),
    ],
)
def test_settings_that_cannot_be_read_are_ignored(settings) -> None:
    opened = read_message(body(account={"account_settings": settings}), now=NOW)

    assert opened.one_attribute_per_audience is None


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (7, "$: Expected `object`, got `int`"),
        (
            profile({"audience_id": "a", "action": "add"}),
            "Expected `int`, got `str` - at `$.audiences[0].audience_id`",
        ),
        (profile({"action": "add"}), "field `audience_id` - at `$.audiences[0]`"),
        (profile(audience(1), audience(2, "explode")), "$.audiences[1].action: expected add"),
        (profile(audience(2**63)), "$.audiences[0].audience_id: expected a 64-bit int"),
        (profile(mpid="x"), "Expected `int | null`, got `str` - at `$.mpid`"),
        (profile(mpid=2**64), "$.mpid: expected a 64-bit int"),
        (
            profile(person_hash="0A" * 32),
            "Expected `str` matching regex '^[0-9a-f]{64}$' - at `$.person_hash`",
        ),
        (profile(customer_id=[]), "$.user_identities[0].value: expected str"),
        (profile(customer_id=True), "$.user_identities[0].value: expected str"),
        (profile(user_identities={}), "got `object` - at `$.user_identities`"),
    ],
)
def test_a_malformed_profile_is_refused_with_what_is_wrong_and_where(broken, reason) -> None:
    with pytest.raises(MalformedProfileError) as refused:
        read_profile(read_message(body(broken), now=NOW).profiles[0])

    assert reason in str(refused.value)


def test_the_customer_identity_is_the_id_and_the_email_comes_along() -> None:
    read = only_profile(customer_id=" 42 ", email=" Ann@example.com ")

    assert (read.customer_id, read.email) == ("42", "Ann@example.com")


@pytest.mark.parametrize(
    "identities",
    [
        None,
        [],
        [None],
        [identity("customer", "hash", "sha256"), identity("email", "hash", "md5")],
        [identity("facebook", "42")],
        [identity("customer", "  "), identity("email", None)],
    ],
)
def test_without_a_raw_id_or_email_nobody_is_named(identities) -> None:
    with pytest.raises(NoIdentityError):
        only_profile(user_identities=identities)


@pytest.mark.parametrize("kind", ["customer", "email"])
def test_an_identifier_over_150_bytes_is_invalid(kind) -> None:
    only_profile(user_identities=[identity(kind, "é" * 75)])

    with pytest.raises(InvalidIdentityError, match=r"\$\.user_identities\[0\]\.value: over 150"):
        only_profile(user_identities=[identity(kind, "é" * 75 + "x")])


@pytest.mark.parametrize(
    "raw",
    ["NaN", "-Infinity", "1e400", r'"\ud83d"', "7" * 5000, "[" * 500 + "]" * 500, '"\x01"'],
)
def test_a_value_that_only_a_lenient_parser_reads_fails_its_profile_alone(raw) -> None:
    text = body(profile(mpid="@"), profile(customer_id="\ud83d"), profile(customer_id="43"))

    opened = read_message(text.replace('"@"', raw), now=NOW)

    for bad in opened.profiles[:2]:
        with pytest.raises(MalformedProfileError):
            read_profile(bad)
    assert read_profile(opened.profiles[2]).customer_id == "43"


@pytest.mark.parametrize("raw", ["nope", r'"\x"', "[1,]", "[" * 5000 + "]" * 5000])
def test_a_value_that_no_parser_reads_fails_the_whole_message(raw) -> None:
    text = body(profile(mpid="@"), profile(customer_id="43"))

    with pytest.raises(MalformedMessageError):
        read_message(text.replace('"@"', raw), now=NOW)


@pytest.mark.parametrize(
    "text", ["{]", '{"a":1}}', '{"a":NaN,}', '{"a" NaN}', "[NaN]", '{"a":"NaN']
)
def test_anything_but_a_json_object_is_malformed(text) -> None:
    with pytest.raises(MalformedMessageError):
        read_message(text, now=NOW)


def test_a_profile_may_have_the_hash_of_its_person() -> None:
    assert only_profile(person_hash="0a" * 32).person_hash == "0a" * 32
    assert only_profile().person_hash is None


def test_mpid_zero_is_no_mpid() -> None:
    assert only_profile(mpid="0").mpid is None


def test_of_two_changes_of_one_audience_the_later_wins() -> None:
    read = only_profile(audience(11, "add"), audience(12), audience(11, "delete"))

    assert set(read.changes) == {change(11, joined=False), change(12)}


def test_an_attribute_update_leaves_the_membership_alone() -> None:
    read = only_profile(audience(11, "add"), audience(11, "attribute_update"))

    assert read.changes == (change(11),)


def test_a_name_of_white_space_is_none() -> None:
    read = only_profile({"audience_id": 11, "audience_name": " ", "action": "add"})

    assert read.changes[0].audience_name == ""


def test_shared_attributes_are_read_by_their_key() -> None:
    attributes = [
        {},
        None,
        {"key": "$FIRSTNAME", "value": "Ann", "action": "upsert"},
        {"key": "$LastName", "value": "ignored", "action": "delete"},
        {"key": "Shoe Size", "value": "42", "action": "upsert"},
        {"key": "Sizes", "list_value": ["42", "43"], "action": "upsert"},
        {"key": "Tags", "value": [1, True, "x"], "action": "upsert"},
        {"key": "Score", "value": 1.5, "action": "upsert"},
        {"key": 7, "value": {}, "action": []},
    ]

    read = only_profile(audience(11, "attribute_update", user_attributes=attributes))

    assert read.attributes == {
        "$FIRSTNAME": "Ann",
        "$LastName": None,
        "Shoe Size": "42",
        "Sizes": ["42", "43"],
        "Tags": [1, True, "x"],
        "Score": 1.5,
    }


@pytest.mark.parametrize(
    "attribute",
    [
        {"key": "$FirstName", "action": "upsert"},
        {"key": "$FirstName", "action": "upsert", "value": {"a": "b"}},
        {"key": "$FirstName", "action": "upsert", "list_value": [["a"]]},
        {"key": "$FirstName", "action": "explode", "value": "Ann"},
    ],
)
def test_an_attribute_without_a_value_that_customerio_holds_is_ignored(attribute) -> None:
    assert only_profile(audience(11, user_attributes=[attribute])).attributes == {}


@given(JSON)
@example({"type": {}})
@example({"Type": [], "Message": 1})
def test_reading_any_json_raises_nothing_but_its_own_error(value) -> None:
    for text in (json.dumps(value), body(value), body(account=value), body(id=value)):
        try:
            opened = read_message(text, now=NOW)
        except PermanentError:
            continue
        for raw in opened.profiles:
            with suppress(PermanentError):
                read_profile(raw)


@given(st.text() | st.binary().map(lambda raw: raw.decode("utf-8", "surrogateescape")))
def test_reading_any_text_raises_nothing_but_its_own_error(text) -> None:
    with pytest.raises(PermanentError):
        read_message(text, now=NOW)

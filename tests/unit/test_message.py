"""mParticle's JSON: what is read of it, what is refused and how that is said."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from handler.domain.message import (
    MessageType,
    only_profiles,
    read_message,
    read_profile,
    without_secrets,
)
from handler.errors import (
    InvalidIdentityError,
    MalformedMessageError,
    MalformedProfileError,
    NoIdentityError,
    PermanentError,
    UnsupportedMessageError,
)
from tests.builders import NOW, NOW_MS, audience, body, change, identity, profile


def only_profile(*args, **fields):
    return read_profile(read_message(body(profile(*args, **fields)), now=NOW).profiles[0])


def test_a_message_is_read_with_its_profiles_still_raw() -> None:
    opened = read_message(body(profile(), profile(), account_id=1002), now=NOW)

    assert opened.type is MessageType.MEMBERSHIP_CHANGE
    assert (opened.account_id, opened.sent_at_ms, len(opened.profiles)) == (1002, NOW_MS, 2)


def test_an_sns_envelope_is_opened() -> None:
    bare = body(profile())
    wrapped = json.dumps({"Type": "Notification", "MessageId": "x", "Message": bare})

    assert read_message(wrapped, now=NOW) == read_message(bare, now=NOW)


@pytest.mark.parametrize("profiles", [None, []])
def test_a_connection_check_has_no_profiles(profiles) -> None:
    assert read_message(body(user_profiles=profiles), now=NOW).profiles == []


def test_a_message_without_user_profiles_is_a_connection_check() -> None:
    fields = json.loads(body())
    del fields["user_profiles"]

    assert read_message(json.dumps(fields), now=NOW).profiles == []


def test_ids_and_times_may_be_digit_strings() -> None:
    opened = read_message(body(profile(), at_ms=str(NOW_MS), account_id="1002"), now=NOW)
    read = only_profile(audience("11"), mpid="-9223372036854775808", customer_id=42)

    assert (opened.account_id, opened.sent_at_ms) == (1002, NOW_MS)
    assert (read.mpid, read.customer_id) == (-(2**63), "42")
    assert read.changes == (change(11),)


def test_unknown_fields_and_absent_optional_ones_are_normal() -> None:
    fields = {"type": "audience_membership_change_request", "timestamp_ms": NOW_MS, "x": [1]}

    assert read_message(json.dumps(fields), now=NOW).account_id is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "$: Input data was truncated"),
        ("nope", "$: JSON is malformed: invalid character (byte 4)"),
        ("[1]", "$: expected object, got array"),
        ("{}", "$: no field `type`"),
        ('{"type": 7}', "$.type: expected str, got int"),
        (body(at_ms="soon"), "$.timestamp_ms: expected int, got str"),
        (body(account={"account_id": "a"}), "$.account.account_id: expected int, got str"),
        (body(user_profiles={}), "$.user_profiles: expected array, got object"),
        (body(user_profiles=7), "$.user_profiles: expected array, got int"),
        ("[" * 100_000, "$: expected object, got array"),
        ('{"a":' * 100_000, "$: nested too deeply"),
        ("\ud800", "$: not valid Unicode"),
        ('{"Type": "Notification", "Message": "{no}"}', "$: JSON is malformed"),
        (json.dumps({"type": "audience_membership_change_request"}), "no field `timestamp_ms`"),
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
def test_a_type_that_is_no_plain_word_is_told_by_its_length(name) -> None:
    with pytest.raises(UnsupportedMessageError) as refused:
        read_message(body(type=name), now=NOW)

    assert str(refused.value) == f"$.type: no plain word, of {len(name)} characters"


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
def test_the_one_attribute_setting_is_found_under_any_spelling(name, value, meaning) -> None:
    account = {"account_id": 1, "account_settings": {"apiKey": [1], name: value}}

    assert read_message(body(account=account), now=NOW).one_attribute_per_audience is meaning


@pytest.mark.parametrize("value", ["maybe", 7, [], {"a": 1}, None])
def test_an_unreadable_one_attribute_setting_says_nothing(value) -> None:
    account = {"account_settings": {"One Attribute per Audience": value}}

    assert read_message(body(account=account), now=NOW).one_attribute_per_audience is None


def test_half_a_surrogate_pair_refuses_only_the_profile_that_holds_it() -> None:
    text = body(profile(customer_id="\ud800"), profile(customer_id="43"))

    opened = read_message(text, now=NOW)

    with pytest.raises(MalformedProfileError):
        read_profile(opened.profiles[0])
    assert read_profile(opened.profiles[1]).customer_id == "43"


def test_nan_refuses_only_the_profile_that_holds_it() -> None:
    text = body(profile(x=float("nan")), profile(customer_id="43"))

    opened = read_message(text, now=NOW)

    with pytest.raises(MalformedProfileError):
        read_profile(opened.profiles[0])
    assert read_profile(opened.profiles[1]).customer_id == "43"


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (7, "$: expected object, got int"),
        (
            profile({"audience_id": "a", "action": "add"}),
            "$.audiences[0].audience_id: expected int",
        ),
        (profile({"action": "add"}), "$.audiences[0]: no field `audience_id`"),
        (profile(audience(1), audience(2, "explode")), "$.audiences[1].action: expected add"),
        (profile(audience(2**63)), "$.audiences[0].audience_id: expected a 64-bit int"),
        (profile(mpid="x"), "$.mpid: expected int, got str"),
        (profile(mpid=2**64), "$.mpid: expected a 64-bit int"),
        (profile(customer_id=[]), "$.user_identities[0].value: expected str"),
        (profile(customer_id=True), "$.user_identities[0].value: expected str"),
        (profile(user_identities={}), "$.user_identities: expected array, got object"),
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
    ["NaN", "-Infinity", r'"\ud83d"', "7" * 5000, "[" * 5000 + "]" * 5000, "nope", r'"\x"'],
)
def test_what_no_reader_takes_refuses_only_the_profile_that_holds_it(raw) -> None:
    text = body(profile(mpid="@"), profile(customer_id="\ud83d"), profile(customer_id="43"))

    opened = read_message(text.replace('"@"', raw), now=NOW)

    with pytest.raises(MalformedProfileError):
        read_profile(opened.profiles[0])
    assert read_profile(opened.profiles[2]).customer_id == "43"


@pytest.mark.parametrize(
    "text", ["{]", '{"a":1}}', '{"a":NaN,}', '{"a" NaN}', "[NaN]", '{"a":"NaN']
)
def test_brackets_that_do_not_match_are_malformed(text) -> None:
    with pytest.raises(MalformedMessageError):
        read_message(text, now=NOW)


def test_mpid_zero_is_nobody() -> None:
    assert only_profile(mpid="0").mpid is None


def test_of_two_words_on_one_audience_the_later_stands() -> None:
    read = only_profile(audience(11, "add"), audience(12), audience(11, "delete"))

    assert set(read.changes) == {change(11, joined=False), change(12)}


def test_an_attribute_update_leaves_the_membership_alone() -> None:
    read = only_profile(audience(11, "add"), audience(11, "attribute_update"))

    assert read.changes == (change(11),)


def test_an_audience_without_a_name_is_called_by_its_id() -> None:
    read = only_profile({"audience_id": 11, "audience_name": " ", "action": "add"})

    assert read.changes[0].audience_name == "11"


def test_first_and_last_name_come_from_the_shared_attributes() -> None:
    attributes = [
        {},
        None,
        {"key": "$FIRSTNAME", "value": "Ann", "action": "upsert"},
        {"key": "$LastName", "value": "ignored", "action": "delete"},
        {"key": "Shoe Size", "value": "42", "action": "upsert"},
        {"key": 7, "value": {}, "action": []},
    ]

    read = only_profile(audience(11, "attribute_update", user_attributes=attributes))

    assert read.names == {"first_name": "Ann", "last_name": None}


@pytest.mark.parametrize(
    "attribute",
    [
        {"key": "$FirstName", "action": "upsert"},
        {"key": "$FirstName", "action": "upsert", "value": 7},
        {"key": "$FirstName", "action": "explode", "value": "Ann"},
    ],
)
def test_a_name_that_is_no_text_says_nothing(attribute) -> None:
    assert only_profile(audience(11, user_attributes=[attribute])).names == {}


FIELDS = [
    "Message",
    "Type",
    "account",
    "action",
    "audience_id",
    "audiences",
    "mpid",
    "timestamp_ms",
    "type",
    "user_identities",
    "user_profiles",
    "value",
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(FIELDS) | st.text(),
            inner,
            max_size=6,
        )
    ),
    max_leaves=20,
)


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
        read_message(only_profiles(opened, opened.profiles), now=NOW)


@given(JSON)
def test_any_json_can_be_set_aside_and_is_the_same_json_without_secrets(value) -> None:
    text = json.dumps(value)

    assert json.dumps(json.loads(without_secrets(text)), sort_keys=True) == json.dumps(
        json.loads(text), sort_keys=True
    )


@given(st.text() | st.binary().map(lambda raw: raw.decode("utf-8", "surrogateescape")))
def test_reading_any_text_raises_nothing_but_its_own_error(text) -> None:
    with pytest.raises(PermanentError):
        read_message(text, now=NOW)


def test_the_chosen_profiles_alone_are_given_back_as_a_message_that_is_accepted() -> None:
    bad = profile(audience("x"), customer_id="43")
    opened = read_message(body(profile(), bad, account_id=1002), now=NOW)

    back = read_message(only_profiles(opened, [opened.profiles[1]]), now=NOW)

    assert (back.account_id, back.sent_at_ms) == (1002, NOW_MS)
    assert [json.loads(bytes(raw)) for raw in back.profiles] == [bad]


def test_characters_that_sqs_refuses_are_given_back_as_escapes() -> None:
    text = body(profile(customer_id="a\ufffe"), account={"account_settings": {"\uffff": ""}})
    wrapped = json.dumps({"Type": "Notification", "Message": text.replace("\\ufffe", "\ufffe")})
    opened = read_message(wrapped, now=NOW)

    back = only_profiles(opened, opened.profiles)

    assert not {"\ufffe", "\uffff"} & set(back)
    assert read_profile(read_message(back, now=NOW).profiles[0]).customer_id == "a\ufffe"


@pytest.mark.parametrize("inner", ['{"type": "\0"', "{\uffff", "\x1b[31m", "[1, 2]"])
def test_what_is_no_message_stays_in_its_envelope(inner) -> None:
    wrapped = json.dumps({"Type": "Notification", "Message": inner})

    assert json.loads(without_secrets(wrapped)) == json.loads(wrapped)
    assert without_secrets(wrapped).isprintable()


def test_an_envelope_in_an_envelope_stays_there_without_its_secrets() -> None:
    text = body(account={"account_settings": {"apiKey": ["s3cret"]}})
    for _ in range(3):
        text = json.dumps({"Type": "Notification", "Message": text})

    back = without_secrets(text)

    assert "s3cret" not in back
    assert back.count("Notification") == 3


@pytest.mark.parametrize("beside", ['"\\ud83d"', "NaN", "0"])
def test_a_body_given_back_is_no_longer_than_it_came(beside) -> None:
    text = body(profile(), x="@", y="é" * 1000, **{"ü" * 1000: 1})
    text = json.dumps(json.loads(text), ensure_ascii=False).replace('"@"', beside)

    for back in (without_secrets(text), only_profiles(read_message(text, now=NOW), [])):
        assert len(back.encode()) <= len(text.encode())


def test_secrets_in_account_settings_are_blanked_and_the_rest_is_kept() -> None:
    settings = {
        "apiKey": "s3cret",
        "Site ID": "s1te",
        "Create One User Attribute per Segment": "1",
    }
    settings["Create One User Attribute per Segment"] = "true"
    opened = read_message(body(account={"account_settings": settings}), now=NOW)

    back = only_profiles(opened, [])

    assert "s3cret" not in back
    assert "s1te" not in back
    assert read_message(back, now=NOW).one_attribute_per_audience is True


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("secret", ["s3cret", ["s3cret"], {"v": "s3cret"}, 7])
def test_a_body_that_is_refused_whole_loses_the_secrets_of_its_settings_and_nothing_else(
    secret, wrapped
) -> None:
    settings = {
        "apiKey": secret,
        "Site  ID": secret,
        "plain": {"nested": secret},
        "createOneUserAttributePerAudience": secret,
    }
    names = [{"key": "$FirstName", "value": "Ann", "action": "upsert"}]
    told = profile(audience(11, user_attributes=names))
    text = body(told, at_ms=NOW_MS * 2, account={"account_id": 1, "account_settings": settings})

    back = without_secrets(
        json.dumps({"Type": "Notification", "Message": text}) if wrapped else text
    )

    blank = dict.fromkeys(settings, "")
    account = {"account_id": 1, "account_settings": blank}
    assert json.loads(back) == json.loads(text) | {"account": account}


def test_a_body_healed_by_blanking_is_blanked_as_one_that_can_be_read() -> None:
    account = '{"account_id": 1, "account_settings": {"apiKey": NaN, "note": "s3cret"}}'
    text = body(account="@").replace('"@"', account)

    back = without_secrets(text)

    assert "s3cret" not in back
    assert without_secrets(back) == back


def test_half_a_surrogate_pair_survives_being_set_aside() -> None:
    text = body(profile(customer_id="\ud800"), at_ms=-1, **{"\udfff": 1})

    assert json.loads(without_secrets(text)) == json.loads(text)


@pytest.mark.parametrize(
    "text",
    [
        '{"account_settings": {"apiKey": "s3cret", "other": "kept"}',
        '{"account_settings": {"API Key" : "s3\\"s3cret", "other": "kept"',
        '{"Type": "Notification", "Message": "{\\"apiKey\\": \\"s3cret\\", \\"a\\": \\"kept\\"}',
        '{"kept": 1, "my_site_id": 12345, "api-key": "s3cret',
        '{"kept": 1, "Site \t ID":\x01"s3cret',
        json.dumps({"Type": "other", "Message": '{"kept": 1, "apiKey": "s3cret"}'}),
        '{"kept": 1, "account": {"\\ud800": 1, "apiKey": "s3cret"}}',
        "{'kept'",
    ],
)
def test_secrets_in_a_body_that_cannot_be_read_are_blanked(text) -> None:
    blanked = without_secrets(text)

    assert "s3cret" not in blanked
    assert "12345" not in blanked
    assert "kept" in blanked


def test_a_long_hostile_text_is_searched_for_secrets_in_no_time() -> None:
    text = '"' + "key" * 300_000

    assert without_secrets(text) == text

"""mParticle's requests: what goes on the queue of each, and what is answered."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.domain import firehose
from handler.domain.change_messages import MAX_PART_BYTES
from handler.domain.dead_letter import whole_body
from handler.domain.firehose import (
    FIREHOSE_VERSION,
    MAX_MESSAGE_BYTES,
    RequestType,
)
from handler.domain.message import read_message
from handler.domain.profile import read_profile
from handler.errors import MalformedMessageError, MalformedProfileError, PermanentError
from tests.builders import NOW, NOW_MS, audience, body, profile
from tests.firehose import ERASURE, REGISTRATION, SHAPES, SUBSCRIPTION, change, misfits

ANSWER_ID = "0b5e5a3e-92a8-4fd7-9b7c-0d4b8f6b1a55"


VERSION = "v1.2.0-3-gabc1234"


def answer(request, *, suspended=False, customer_id_type="customer"):
    return firehose.answer(
        request,
        answer_id=ANSWER_ID,
        now=NOW,
        suspended=suspended,
        version=VERSION,
        customer_id_type=customer_id_type,
    )


# --- what a request is ---


def test_the_requests_of_an_audience_partner_are_known() -> None:
    assert firehose.request_type(REGISTRATION) is RequestType.REGISTRATION
    assert firehose.request_type(change()) is RequestType.MEMBERSHIP_CHANGE
    assert firehose.request_type(SUBSCRIPTION) is RequestType.SUBSCRIPTION
    assert firehose.request_type(ERASURE) is RequestType.DATA_SUBJECT


NO_REQUESTS = [
    *(None, 7, True, "text", [], ["audience_membership_change_request"], {}),
    *({"type": name} for name in (None, 7.5, ["x"], {"ada": 1}, "event_processing_request")),
]


@pytest.mark.parametrize("request_", NO_REQUESTS)
def test_anything_else_has_no_request_type(request_) -> None:
    assert firehose.request_type(request_) is None


@pytest.mark.parametrize(
    ("request_", "account_id"),
    [
        ({"account": {"account_id": 1001}}, 1001),
        ({"account": {"account_id": "1001"}}, 1001),
        ({"account": {"account_id": True}}, None),
        ({"account": {"account_id": 2**63}}, None),
        ({"account": {"account_id": -(2**63)}}, -(2**63)),
        ({"account": {"account_id": "many"}}, None),
        ({"account": {}}, None),
        ({"account": None}, None),
        ({"account": "1001"}, None),
        ([], None),
        ("text", None),
        (None, None),
    ],
)
def test_the_account_id_is_read_if_it_is_a_number(request_, account_id) -> None:
    assert firehose.account_id(request_) == account_id


# --- what goes on the queue ---


def test_a_small_request_is_one_message() -> None:
    request = change(profile(), profile(customer_id="43"))

    (part,) = firehose.parts({**request, "note": "not read"}).bodies

    assert json.loads(part) == {**request, "account": {"account_id": 1001}}


@pytest.mark.parametrize(
    "request_",
    [
        REGISTRATION,
        change(),
        change(user_profiles=None),
        {name: value for name, value in change().items() if name != "user_profiles"},
    ],
)
def test_a_request_without_profiles_is_no_message(request_) -> None:
    assert firehose.parts(request_).bodies == []


def test_a_data_subject_request_is_one_message_of_the_fields_that_are_read() -> None:
    (part,) = firehose.parts(ERASURE | {"regulation": "gdpr", "api_key": "hush"}).bodies

    read = {name: value for name, value in ERASURE.items() if name not in UNREAD}
    assert json.loads(part) == {**read, "user_profiles": []}


UNREAD = {"submitted_time", "regulation"}


def test_a_subscription_is_one_message_of_the_fields_that_are_read() -> None:
    (part,) = firehose.parts(SUBSCRIPTION).bodies

    assert json.loads(part) == {
        "type": "audience_subscription_request",
        "id": "s",
        "timestamp_ms": NOW_MS,
        "account": {"account_id": 1001},
        "audience_id": 7,
        "action": "add",
        "user_profiles": [],
    }


@pytest.mark.parametrize("profiles", [{}, "text", {"a": 1}, 0, False])
def test_profiles_that_are_not_a_list_are_left_to_the_forwarder_to_refuse(profiles) -> None:
    (part,) = firehose.parts(change(user_profiles=profiles)).bodies

    with pytest.raises(MalformedMessageError, match="user_profiles"):
        read_message(part, now=NOW)


SETTINGS = {"API Key": "hush-1", "site_id": "hush-2", "Create One User Attribute": "true"}


def test_no_part_has_a_secret() -> None:
    account = {"account_id": 1001, "account_settings": SETTINGS}
    request = change(*[profile(note="x" * 25_000)] * 5, account=account)

    parts = firehose.parts(request).bodies

    assert len(parts) > 1
    assert not [part for part in parts if "hush" in part]
    assert all(json.loads(part)["account"]["account_id"] == 1001 for part in parts)


def having_hush(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    names = st.sampled_from([ONE_ATTRIBUTE, "apiKey", "site_id", "colour", "\ud83d", "account_id"])
    beside = st.dictionaries(names, st.booleans() | st.just("\ud83d"), max_size=2)
    return st.one_of(
        st.builds(lambda one, more: [*more, one], inner, st.lists(st.booleans(), max_size=2)),
        st.builds(lambda name, one, more: {**more, name: one}, names, inner, beside),
    )


ONE_ATTRIBUTE = "createOneUserAttributePerAudience"
HUSH = st.recursive(st.just("hush") | st.just(4757511), having_hush, max_leaves=4)
ACCOUNTS = st.one_of(
    st.builds(
        lambda name, hush: {"account_id": 1001, "\udc00": 1, name: hush},
        st.sampled_from(["account_settings", "Account_Settings", "accountSettings", "settings"]),
        HUSH,
    ),
    HUSH.map(lambda hush: [hush]),
    st.just("hush"),
)
ACCOUNT_NAMES = st.sampled_from(["account", "Account", "ACCOUNT", "account_settings"])


@given(ACCOUNT_NAMES, ACCOUNTS, st.sampled_from([[profile()] * 2, {}, "text", 0]))
def test_no_part_has_a_secret_wherever_in_the_settings_it_was(name, account, profiles) -> None:
    for request in (change(user_profiles=profiles), SUBSCRIPTION):
        (part,) = firehose.parts({**request, name: account}).bodies

        assert "hush" not in part
        assert "4757511" not in part


@pytest.mark.parametrize("account_id", [1001, "1001", 1001.0])
def test_the_account_id_is_kept_whatever_the_settings_are(account_id) -> None:
    account = {"account_id": account_id, "account_settings": None, "Account_Settings": "hush"}

    (part,) = firehose.parts(change(profile(), account=account)).bodies

    assert read_message(part, now=NOW).account_id == 1001


@pytest.mark.parametrize("account", [["hush"], "hush", 7, {"account_id": ["hush"]}])
def test_an_account_that_is_refused_is_still_refused_without_its_secrets(account) -> None:
    (part,) = firehose.parts(change(profile(), account=account)).bodies

    assert "hush" not in part
    with pytest.raises(MalformedMessageError, match=r"\$\.account"):
        read_message(part, now=NOW)


@pytest.mark.parametrize(
    ("value", "read"),
    [(True, True), ("TRUE", True), (" false ", False), ("hush", None), ({"a": "hush"}, None)],
)
def test_the_setting_that_is_read_is_kept_if_it_is_true_or_false(value, read) -> None:
    account = {"account_settings": {ONE_ATTRIBUTE: value}}

    (part,) = firehose.parts(change(profile(), account=account)).bodies

    assert read_message(part, now=NOW).one_attribute_per_audience is read
    assert "hush" not in part


def test_characters_that_sqs_refuses_and_half_pairs_are_escaped() -> None:
    request = change(profile(audience(7, audience_name="\uffff \ud83d \x00")))

    (part,) = firehose.parts(request).bodies

    assert part.isascii()
    assert json.loads(part)["user_profiles"] == request["user_profiles"]


def test_a_large_profile_goes_alone() -> None:
    request = change(profile(), profile(note="x" * 100_000), profile())

    counts = [len(json.loads(part)["user_profiles"]) for part in firehose.parts(request).bodies]

    assert counts == [1, 1, 1]


LARGE = "x" * MAX_MESSAGE_BYTES


def test_a_request_too_large_for_a_message_is_refused_with_the_place() -> None:
    with pytest.raises(MalformedMessageError) as refused:
        firehose.parts(change(user_profiles=LARGE))

    assert str(refused.value) == "$: over the 1048576 bytes of a message"


@pytest.mark.parametrize("field", ["id", "note", "at_ms", "account_id"])
def test_a_large_field_beside_the_profiles_is_left_out(field) -> None:
    request = change(profile(), **{field: LARGE})

    (part,) = firehose.parts(request).bodies

    assert len(part) < 4000
    assert json.loads(part)["user_profiles"] == [profile()]


def test_a_profile_too_large_for_a_message_is_refused_without_the_others() -> None:
    profiles = [profile(note=note) for note in ("a", LARGE, "b", LARGE)]

    parts = firehose.parts(change(*profiles))

    (part,) = parts.bodies
    assert json.loads(part)["user_profiles"] == [profiles[0], profiles[2]]
    assert str(parts.refusal) == "$.user_profiles[1]: over the 1048576 bytes of a message"
    assert firehose.parts(change(profile())).refusal is None


def test_the_largest_message_is_not_refused() -> None:
    (small,) = firehose.parts(change(profile(note=""))).bodies
    largest = change(profile(note="x" * (MAX_MESSAGE_BYTES - len(small))))

    (part,) = firehose.parts(largest).bodies

    assert len(part) == MAX_MESSAGE_BYTES


def test_nesting_without_end_cannot_be_written() -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]

    with pytest.raises(RecursionError):
        firehose.parts({**change(), "user_profiles": [deep]})


@pytest.mark.parametrize("request_", NO_REQUESTS)
def test_an_unsupported_request_is_one_message(request_) -> None:
    (part,) = firehose.parts(request_).bodies

    assert whole_body(part) == part
    with pytest.raises(PermanentError):
        read_message(part, now=NOW)


def test_a_request_in_an_sns_envelope_is_the_message_that_it_encloses() -> None:
    request = {"Type": "Notification", "Message": body(profile())}

    (part,) = firehose.parts(request).bodies

    assert json.loads(part)["user_profiles"] == [profile()]


def test_a_request_of_another_type_is_one_message_without_its_secrets() -> None:
    account = {"account_id": 1001, "account_settings": SETTINGS}

    (part,) = firehose.parts({"type": "event_processing_request", "account": account}).bodies

    assert "hush" not in part


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_a_profile_with_what_is_no_number_fails_alone(number) -> None:
    (part,) = firehose.parts(change(profile(), profile(note=number))).bodies

    good, bad = read_message(part, now=NOW).profiles
    read_profile(good)
    with pytest.raises(MalformedProfileError):
        read_profile(bad)


@pytest.mark.parametrize(
    "body",
    [b"{", b"not JSON", "{'name': 'Zo\u00eb \U0001f600'}".encode(), b"\t\r\n{", b"{" * 2**20],
)
def test_a_body_that_is_no_json_is_a_message_as_it_came(body) -> None:
    assert firehose.as_it_came(body).encode() == body


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "$: not JSON, and empty or with characters that SQS rejects"),
        (b"{\x00", "$: not JSON, and empty or with characters that SQS rejects"),
        ("{\uffff".encode(), "$: not JSON, and empty or with characters that SQS rejects"),
        (b"{\xff", "$: neither JSON nor UTF-8"),
        ("{\ud83d".encode("utf-8", "surrogatepass"), "$: neither JSON nor UTF-8"),
        (b"{" * (2**20 + 1), "$: over the 1048576 bytes of a message"),
        ("é".encode() * (2**19 + 1), "$: over the 1048576 bytes of a message"),
    ],
)
def test_a_body_that_sqs_cannot_hold_is_malformed(body, reason) -> None:
    with pytest.raises(MalformedMessageError) as refused:
        firehose.as_it_came(body)

    assert str(refused.value) == reason


# Texts of a character each: what they are filled up to is what matters for cutting.
PROFILES = st.lists(
    st.builds(
        lambda mpid, size, letter: profile(mpid=str(mpid), note=letter * size),
        st.integers(-(2**63), 2**63 - 1),
        st.integers(0, 2 * MAX_PART_BYTES) | st.integers(0, 3000),
        st.sampled_from('x"é漢'),
    ),
    max_size=12,
)


@given(PROFILES)
def test_the_parts_together_are_the_whole_in_order_and_none_is_too_large(profiles):
    request = change(*profiles)

    parts = firehose.parts(request).bodies

    read = [read_message(part, now=NOW) for part in parts]
    together = [json.loads(bytes(one)) for message in read for one in message.profiles]
    assert together == profiles
    head = {name: request[name] for name in ("type", "id", "timestamp_ms")}
    for part, message in zip(parts, read, strict=True):
        content = json.loads(part)
        assert len(content.pop("user_profiles")) == 1 or len(part.encode()) <= MAX_PART_BYTES
        assert content == {**head, "account": {"account_id": 1001}}
        assert message.sent_at_ms == NOW_MS
        assert message.account_id == 1001
        assert all(read_profile(raw).customer_id == "42" for raw in message.profiles)


@given(PROFILES)
def test_no_two_neighbouring_parts_would_have_been_one(profiles) -> None:
    parts = firehose.parts(change(*profiles)).bodies

    for one, next_one in itertools.pairwise(parts):
        first_of_next = json.dumps(json.loads(next_one)["user_profiles"][0], separators=(",", ":"))
        assert len(one) + 1 + len(first_of_next) > MAX_PART_BYTES


# --- answers ---


@pytest.mark.parametrize(
    ("request_", "name"),
    [
        ({"type": "event_processing_request"}, "event_processing_response"),
        ({"type": "ada@example.com"}, None),
        ({"type": 7}, None),
        ([], None),
        (None, None),
    ],
)
def test_an_unsupported_request_is_answered_too(request_, name) -> None:
    assert answer(request_) == {
        "id": ANSWER_ID,
        "timestamp_ms": NOW_MS,
        "firehose_version": FIREHOSE_VERSION,
        **({"type": name} if name else {}),
    }


@pytest.mark.parametrize(
    "request_", [REGISTRATION, change(profile()), change(), SUBSCRIPTION, ERASURE]
)
@pytest.mark.parametrize("suspended", [False, True])
def test_an_answer_has_the_shape_that_mparticle_expects(request_, suspended) -> None:
    told = answer(request_, suspended=suspended)

    assert misfits(json.loads(json.dumps(told)), SHAPES[told["type"]]) == []
    assert (told["id"], told["timestamp_ms"]) == (ANSWER_ID, NOW_MS)


@pytest.mark.parametrize(
    ("value", "shape"),
    [
        ({}, SHAPES["audience_subscription_response"]),
        ({"more": 1}, {"less?": int}),
        ([], {}),
        ({}, [int]),
        ([1, "2"], [int]),
        (True, int),
        ("42", firehose_uuid := SHAPES["audience_subscription_response"]["id"]),
        (7, firehose_uuid),
        ("blue", {"red"}),
    ],
)
def test_an_answer_of_another_shape_is_noticed(value, shape) -> None:
    assert misfits(value, shape)


@pytest.mark.parametrize(("told", "echoed"), [("3.1.0", "3.1.0"), (None, "3.2.0"), (7, "3.2.0")])
def test_the_format_is_answered_in_the_version_it_was_asked_in(told, echoed) -> None:
    assert answer(change(firehose_version=told))["firehose_version"] == echoed


@pytest.mark.parametrize("suspended", [False, True])
def test_only_audience_changes_are_suspended(suspended) -> None:
    assert answer(change(), suspended=suspended)["suspend_subscription"] is suspended
    assert "suspend_subscription" not in answer(SUBSCRIPTION, suspended=suspended)


def test_registration_names_the_version_that_runs() -> None:
    assert answer(REGISTRATION)["version"] == VERSION


def test_registration_asks_for_what_is_read_and_no_more() -> None:
    told = answer(REGISTRATION)

    assert len(told["description"]) < 230
    asked = told["permissions"]["user_identities"]
    assert [(one["type"], one["encoding"]) for one in asked] == [
        ("customer", "raw"),
        ("email", "raw"),
    ]
    assert told["dsr_processing_registration"]["supported_dsr_types"] == ["erasure"]
    assert "event_processing_registration" not in told


def test_registration_asks_for_the_identity_that_is_the_customer_id() -> None:
    asked = answer(REGISTRATION, customer_id_type="other3")["permissions"]["user_identities"]

    assert [each["type"] for each in asked] == ["other3", "email"]


@pytest.mark.parametrize("label", ["id", "name"])
@pytest.mark.parametrize(("value", "read"), [("true", True), ("false", False)])
def test_the_registered_setting_is_the_one_that_messages_are_read_for(label, value, read) -> None:
    (setting,) = answer(REGISTRATION)["audience_processing_registration"]["account_settings"]
    account = {"account_id": 1001, "account_settings": {setting[label]: value}}

    (part,) = firehose.parts(change(profile(), account=account)).bodies

    assert read_message(part, now=NOW).one_attribute_per_audience is read

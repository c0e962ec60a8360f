"""What mParticle writes into a delivery stream: what is read of it, and how errors are worded."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from handler.domain import stream_record as stream_records
from handler.domain.change_messages import Change, change_messages
from handler.domain.membership import Memberships, PersonState, merge
from handler.domain.message import read_message
from handler.domain.profile import read_profile
from handler.domain.stream_record import (
    MAX_RECORD_CHARS,
    Unreadable,
    letter_body,
    read_records,
)
from handler.domain.update import Update, person_key
from tests.builders import NOW, NOW_MS, stream_record
from tests.strategies import JSON


def read(data: bytes | str) -> list[Change | Unreadable]:
    return [*read_records(data.encode() if isinstance(data, str) else data, now=NOW)]


def only(**fields: Any) -> Change | Unreadable:
    [each] = read(stream_record(**fields))
    return each


def changed(**fields: Any) -> Change:
    each = only(**fields)
    assert isinstance(each, Change), each
    return each


def reason(each: Change | Unreadable) -> str:
    assert isinstance(each, Unreadable), each
    return str(each.error)


def test_a_record_is_read_as_the_change_of_one_person() -> None:
    identities = {"CustomerId": "42", "Email": "ann@example.com", "MPID": "-7"}

    change = changed(IsMember=False, UserIdentities=identities)

    assert change == Change(
        at_ms=NOW_MS,
        audience_id=11,
        audience_name="Audience 11",
        is_member=False,
        identities={"customer": "42", "email": "ann@example.com"},
        mpid=-7,
    )


# --- times ---


@pytest.mark.parametrize(
    "time", [NOW_MS // 1000, NOW_MS, str(NOW_MS // 1000), f" {NOW_MS} ", NOW_MS / 1000, NOW]
)
def test_times_are_in_seconds_or_milliseconds_by_their_digits_as_number_or_text(time) -> None:
    assert changed(MembershipChangedTimestamp=time).at_ms == NOW_MS


def test_a_fraction_of_a_second_counts() -> None:
    assert changed(MembershipChangedTimestamp=f"{NOW_MS // 1000}.25").at_ms == NOW_MS + 250


@pytest.mark.parametrize("late_s", [24 * 3600 + 1, 10 * 365 * 24 * 3600])
def test_a_time_more_than_24_hours_ahead_is_malformed(late_s) -> None:
    assert changed(MembershipChangedTimestamp=int(NOW) + 24 * 3600)

    refused = only(MembershipChangedTimestamp=int(NOW) + late_s)

    assert reason(refused).startswith("$.MembershipChangedTimestamp: must be positive and at most")


@pytest.mark.parametrize(
    "time",
    [
        None,
        True,
        "",
        "soon",
        "-1",
        -1,
        0,
        "1e9",
        [1],
        {},
        float("nan"),
        float("inf"),
        10**30,
        10**400,
    ],
)
def test_anything_else_is_no_time(time) -> None:
    assert "$.MembershipChangedTimestamp" in reason(only(MembershipChangedTimestamp=time))


# --- identities ---


def test_each_identity_has_the_type_of_mparticles_firehose() -> None:
    names = ["CustomerId", "Email", "Other", *(f"Other{number}" for number in range(2, 11))]

    change = changed(UserIdentities={name: f"v-{name}" for name in names})

    assert change.identities.keys() == {
        *("customer", "email", "other"),
        *(f"other{number}" for number in range(2, 11)),
    }
    assert change.identities["other10"] == "v-Other10"


def test_other_identities_and_fields_are_ignored() -> None:
    ids = {"CustomerId": "42", "FacebookId": "f", "IOSAdvertisingId": ["x"], "Email": None}

    assert changed(UserIdentities=ids, Another={"field": 1}).identities == {"customer": "42"}


@pytest.mark.parametrize("identities", [None, {}])
def test_a_record_without_identities_is_left_for_the_forwarder_to_set_aside(identities) -> None:
    assert changed(UserIdentities=identities).identities == {}


@pytest.mark.parametrize("name", ["MPID", "mpid", "MParticleId", "mParticleID", "MPARTICLEID"])
@pytest.mark.parametrize("value", ["8899", 8899])
def test_the_mpid_has_several_names_in_any_letter_case(name, value) -> None:
    assert changed(UserIdentities={"CustomerId": "42", name: value}).mpid == 8899


@pytest.mark.parametrize("value", [None, "", 0, "0"])
def test_an_empty_mpid_is_none(value) -> None:
    assert changed(UserIdentities={"CustomerId": "42", "MPID": value}).mpid is None


def test_ids_may_be_text_and_names_may_be_missing() -> None:
    change = changed(AudienceId="12", AudienceName=None, UserIdentities={"CustomerId": 42})

    assert (change.audience_id, change.audience_name) == (12, "")
    assert change.identities == {"customer": "42"}


# --- what cannot be read ---


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"AudienceId": None}, "$.AudienceId"),
        ({"AudienceId": "vip"}, "$.AudienceId"),
        ({"AudienceId": 2**63}, "$.AudienceId"),
        ({"AudienceName": 7}, "$.AudienceName"),
        ({"IsMember": None}, "$.IsMember"),
        ({"IsMember": "entered"}, "$.IsMember"),
        ({"UserIdentities": ["42"]}, "$.UserIdentities"),
        ({"UserIdentities": {"Email": {"of": "ann"}}}, "$.UserIdentities.Email"),
        ({"UserIdentities": {"Other": True}}, "$.UserIdentities.Other"),
        ({"UserIdentities": {"MPID": "ann"}}, "$.UserIdentities"),
        ({"UserIdentities": {"MPID": 2**64}}, "$.UserIdentities"),
        ({"AudienceName": "x" * MAX_RECORD_CHARS}, "or over 100000 characters"),
    ],
)
def test_what_is_wrong_is_named_by_its_place(fields, place) -> None:
    assert place in reason(only(**fields))


@pytest.mark.parametrize("text", ["[1]", "7", "no JSON", '"text"', "{", '{"AudienceId": 1', "{}"])
def test_what_is_no_change_is_unreadable_as_it_came(text) -> None:
    [each] = read(text)

    assert isinstance(each, Unreadable)
    assert each.text == text


def test_nesting_without_end_is_unreadable() -> None:
    assert reason(read('{"a":' * 100_000)[0]) == "$: nested too deeply"


def test_bytes_that_are_not_utf_8_spoil_their_own_object_only() -> None:
    good = stream_record().encode()

    spoilt, kept = read(good.replace(b"Audience 11", b"Audience \xff") + good)

    assert reason(spoilt) == "$: not valid UTF-8"
    assert isinstance(kept, Change)


def test_the_work_for_broken_lines_does_not_grow_with_the_square_of_their_number(monkeypatch):
    """An error of the JSON decoder counts the lines of all the text that it was given."""
    lines = 60_000
    lengths: list[int] = []

    class Counting(json.JSONDecoder):
        def raw_decode(self, s: str, idx: int = 0) -> tuple[Any, int]:
            lengths.append(len(s))
            raise json.JSONDecodeError("no JSON", s, idx)

    monkeypatch.setattr(stream_records, "_DECODER", Counting())

    assert len(read(b"{\n" * lines)) == lines
    assert len(lengths) == lines
    assert max(lengths) == MAX_RECORD_CHARS


def test_a_broken_line_ends_where_the_next_line_begins_with_an_object() -> None:
    good = stream_record()

    each = read(f'{good}\n{{"broken": \n  "twice": {good}\n{good}\n\n\noops\n{good}')

    kinds = [type(one) for one in each]
    lines = [one.line for one in each if isinstance(one, Unreadable)]
    assert kinds == [Change, Unreadable, Change, Unreadable, Change]
    assert lines == [2, 7]


@given(
    st.lists(JSON.map(json.dumps) | st.text() | st.just(stream_record()), max_size=3),
    st.sampled_from(["", " ", "\n"]),
)
@example(["\ud800"], "")
def test_no_bytes_raise_and_no_error_quotes_them(texts: list[str], between: str) -> None:
    for each in read(between.join(texts).encode(errors="surrogatepass")):
        if isinstance(each, Unreadable):
            shown = str(each.error)
            assert shown.startswith("$") or " - at `$" in shown
            letter_body(each, at_ms=NOW_MS, account_id=None).encode()


# --- several records ---

RECORDS = st.lists(
    st.builds(
        stream_record,
        MembershipChangedTimestamp=st.sampled_from([NOW_MS, NOW_MS // 1000 - 5, str(NOW_MS - 9)]),
        AudienceId=st.sampled_from([11, 12]),
        IsMember=st.booleans(),
        UserIdentities=st.builds(
            lambda who, **more: {"CustomerId": who, **more}, st.sampled_from(["42", "43"])
        ),
    ),
    max_size=8,
)


@given(RECORDS, st.sampled_from(["", " ", "\n", "\r\n", "\n\n"]))
def test_objects_are_read_with_or_without_white_space_between(
    records: list[str], between: str
) -> None:
    assert read(between.join(records)) == [each for record in records for each in read(record)]


def memberships(records: list[str]) -> dict[str, Memberships]:
    """Return everybody's memberships after the messages of these records."""
    changes = [each for each in read("".join(records)) if isinstance(each, Change)]
    people: dict[str, PersonState] = {}
    for body, _ in change_messages(changes, account_id=None, message_id="some-id"):
        message = read_message(body, now=NOW)
        for raw in message.profiles:
            profile = read_profile(raw)
            key = person_key("site-a", profile)
            update = Update.of(profile, at_ms=message.sent_at_ms, one_attribute_per_audience=False)
            people[key] = merge(people.get(key, PersonState()), [update], now=NOW)
    return {key: state.memberships for key, state in people.items()}


@given(RECORDS, st.randoms(use_true_random=False))
def test_grouping_loses_nobody_and_order_and_doubling_do_not_matter(records, rng) -> None:
    doubled = rng.sample(records * 2, len(records) * 2)

    assert memberships(doubled) == memberships(records)
    assert len(memberships(records)) == len(
        {json.loads(r)["UserIdentities"]["CustomerId"] for r in records}
    )

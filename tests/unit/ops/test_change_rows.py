"""One row of a file: what it says, and why it is refused."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.domain.change_messages import change_messages
from handler.domain.message import read_message
from handler.domain.profile import read_profile
from ops.change_rows import COLUMNS, Defaults, RowError, read_row, unix_ms
from tests.builders import NOW, NOW_MS

DAY_MS = 86_400_000
DEFAULTS = Defaults(NOW_MS - 1000, NOW_MS)
SECRET = "ann@example.com"


def row(**values):
    return {"customer_id": "42", "audience_id": "11"} | values


def test_a_row_has_all_that_is_known_of_a_change() -> None:
    change = read_row(
        row(
            email="ann@example.com",
            mpid="-9223372036854775808",
            audience_name=" VIP ",
            action="left",
            since="2026-11-20T10:00:00+02:00",
        ),
        Defaults(NOW_MS, unix_ms("2026-11-25")),
    )

    assert change.identities == {"customer": "42", "email": "ann@example.com"}
    assert (change.mpid, change.audience_id, change.audience_name) == (-(2**63), 11, "VIP")
    assert not change.is_member
    assert change.at_ms == unix_ms("2026-11-20T08:00:00Z")


def test_the_customer_id_becomes_the_identity_that_the_stack_reads() -> None:
    defaults = Defaults(NOW_MS, NOW_MS, customer_id_type="other2")

    assert read_row(row(), defaults).identities == {"other2": "42"}
    with pytest.raises(RowError, match=r"^customer_id: over 150 bytes$"):
        read_row(row(customer_id=SECRET * 11), defaults)


def test_what_a_row_does_not_say_is_as_the_file_says() -> None:
    defaults = Defaults(NOW_MS - 1000, NOW_MS, audience_id=12, audience_name="Loyal")

    change = read_row({"email": "ann@example.com", "mpid": "", "since": None}, defaults)

    assert (change.audience_id, change.audience_name, change.is_member) == (12, "Loyal", True)
    assert (change.at_ms, change.mpid, change.person_hash) == (NOW_MS - 1000, None, None)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (row(customer_id=""), "neither customer_id nor email"),
        (row(customer_id=None, email="  "), "neither customer_id nor email"),
        (row(email=SECRET * 11), "email: over 150 bytes"),
        (row(customer_id=SECRET * 11), "customer_id: over 150 bytes"),
        (row(customer_id=True), "customer_id: expected str"),
        (row(customer_id=[SECRET]), "customer_id: expected str"),
        (row(mpid=SECRET), "mpid: Expected `int | null`, got `str`"),
        (row(mpid=str(2**64)), "mpid: expected a 64-bit int"),
        (row(audience_id=SECRET), "audience_id: Expected `int`, got `str`"),
        (row(audience_id=str(2**63)), "audience_id: expected a 64-bit int"),
        (row(audience_id=""), "audience_id: missing, and --audience-id is not given"),
        (row(audience_name=11), "audience_name: Expected `str | null`, got `int`"),
        (row(audience_name=SECRET * 700), "over 10000 bytes"),
        (row(action=SECRET), "action: expected entered or left"),
        (row(action=["left"]), "action: expected entered or left"),
        (row(since=SECRET), "since: expected ISO 8601, or Unix time in milliseconds"),
        (row(since=[1]), "since: expected ISO 8601, or Unix time in milliseconds"),
        (row(since="0"), "since: must be after 1970 and at most 24 hours in the future"),
        (row(since=NOW_MS + DAY_MS + 1), "since: must be after 1970 and at most 24 hours"),
        (row(person_hash=SECRET), "person_hash: Expected `str` matching regex '^[0-9a-f]{64}$'"),
        (row(customer_id="\udcff"), "not valid UTF-8"),
    ],
)
def test_a_row_that_the_function_would_refuse_is_refused_by_column_and_never_by_value(
    values, reason
) -> None:
    with pytest.raises(RowError) as refused:
        read_row(values, DEFAULTS)

    assert str(refused.value).startswith(reason)
    assert SECRET not in str(refused.value)


VALUES = st.none() | st.text(max_size=20) | st.integers() | st.sampled_from(["11", "left", "42"])
ROWS = st.dictionaries(st.sampled_from(COLUMNS), VALUES | st.lists(VALUES, max_size=2))


@given(ROWS)
def test_any_row_is_refused_or_is_a_change_that_the_function_reads(values) -> None:
    try:
        change = read_row(values, DEFAULTS)
    except RowError:
        return

    ((text, _),) = change_messages([change], account_id=7, message_id="id")
    message = read_message(text, now=NOW)
    profile = read_profile(*message.profiles)

    assert message.sent_at_ms == change.at_ms
    assert [each.audience_id for each in profile.changes] == [change.audience_id]
    assert (profile.customer_id or profile.email) in change.identities.values()


@pytest.mark.parametrize(
    ("value", "at_ms"),
    [
        ("2026-11-25", 1_795_564_800_000),
        ("2026-11-25T00:00:00Z", 1_795_564_800_000),
        ("2026-11-25T02:00:00.5+02:00", 1_795_564_800_500),
        ("1795564800000", 1_795_564_800_000),
        ("1795564800", 1_795_564_800_000),
        (1_795_564_800, 1_795_564_800_000),
    ],
)
def test_a_time_is_iso_8601_or_unix_time(value, at_ms) -> None:
    assert unix_ms(value) == at_ms


def test_a_join_that_the_function_would_ignore_for_its_age_is_one_of_29_days_ago() -> None:
    year_ago = NOW_MS - 365 * DAY_MS

    assert read_row(row(since=year_ago), DEFAULTS).at_ms == NOW_MS - 29 * DAY_MS
    assert read_row(row(since=year_ago, action="left"), DEFAULTS).at_ms == year_ago
    assert read_row(row(since=NOW_MS - 28 * DAY_MS), DEFAULTS).at_ms == NOW_MS - 28 * DAY_MS


def test_values_of_json_may_be_numbers() -> None:
    values = json.loads('{"customer_id": 42, "mpid": -7, "audience_id": 11}')

    change = read_row(values, DEFAULTS)

    assert (change.identities, change.mpid) == ({"customer": "42"}, -7)

"""Bad input, from record to outcome: nothing but the documented outcomes, and nobody else harmed.

The corpus is in tests/hostile.py, what must hold of each body in tests/fuzz/oracle.py. `make fuzz`
asks the same with more examples, and of bytes.
"""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import hostile
from tests.builders import NOW_MS, audience, body, erasure, profile
from tests.fuzz.oracle import check_letter, check_privacy, is_read_by_json, judge
from tests.fuzz.walk import Walk
from tests.stand_ins.customerio import check_entity

SECRETS = (hostile.API_KEY, hostile.SITE_ID)
BODIES = hostile.bodies()


@pytest.mark.parametrize("tried", BODIES)
def test_a_hostile_body_ends_as_documented(tried) -> None:
    judge(BODIES[tried], secrets=SECRETS)


def test_each_sample_event_ends_as_documented() -> None:
    for text in hostile.sample_bodies():
        judge(text)


@pytest.mark.parametrize("place", hostile.PLACES)
def test_a_hostile_value_ends_as_documented(place) -> None:
    for tried, text in hostile.at(place).items():
        has_key = tried == "a key" and "setting" not in place
        judge(text, secrets=() if has_key else SECRETS)


@pytest.mark.parametrize("tried", hostile.NOT_FROM_SQS)
def test_what_sqs_cannot_carry_does_no_harm(tried) -> None:
    judge(hostile.NOT_FROM_SQS[tried])


@pytest.mark.parametrize("tried", hostile.RAWS)
def test_a_hostile_profile_harms_none_beside_it_in_its_message(tried) -> None:
    first = body(profile(mpid=1, customer_id="first"), "@", profile(mpid=2, customer_id="last"))

    walk = judge(first.replace('"@"', hostile.RAWS[tried]), good=["first", "last"])

    if is_read_by_json(hostile.RAWS[tried]):
        assert {"first", "last"} <= set(walk.customerio.people)


@pytest.mark.parametrize("raw", ["NaN", "[" * 900 + "]" * 900, r'"\ud83d"', "7" * 5000])
def test_a_hostile_field_of_a_profile_harms_none_beside_it(raw) -> None:
    bad = profile(mpid=3, customer_id="bad", user_identities="@")
    text = body(profile(mpid=1, customer_id="first"), bad, profile(mpid=2, customer_id="last"))

    walk = judge(text.replace('"@"', raw), good=["first", "last"])

    assert {"first", "last"} <= set(walk.customerio.people)
    (letter,) = walk.sqs.letters
    assert letter["MessageAttributes"]["ErrorType"]["StringValue"] == "MalformedProfile"


def test_a_message_of_many_reasons_makes_few_letters_that_hold_little_beside_the_profiles() -> (
    None
):
    text = next(text for tried, text in BODIES.items() if "a reason of its own" in tried)

    walk = judge(text, secrets=SECRETS)

    assert len(walk.sqs.letters) == 21
    assert sum(len(letter["MessageBody"]) for letter in walk.sqs.letters) < len(text)


def test_ten_thousand_records_in_one_event_each_have_their_outcome() -> None:
    bad = [text for text in BODIES.values() if len(text) < 2000]
    bodies = []
    for n in range(10_000):
        good = body(profile(audience(n), mpid=n + 1, customer_id=f"person-{n}"))
        bodies.append(bad[n % len(bad)] if n % 2 else good)
    walk = Walk()

    ending = walk.invoke(bodies)

    assert (ending.left, ending.raised) == ([], None)
    for n in range(0, 10_000, 2):
        assert walk.customerio.people[f"person-{n}"]["SegmentMembership"] == f"'{n}'"
    assert len(walk.sqs.letters) > 2500
    for letter in walk.sqs.letters:
        check_letter(letter)
    check_privacy(walk)


def test_five_hundred_audiences_and_long_names_reach_customer_io_within_its_limits() -> None:
    walk = judge(BODIES["500 audiences for one person"])

    held = walk.customerio.people[hostile.CUSTOMER_ID]
    lists = [text for name, text in held.items() if name.startswith("SegmentMembership")]
    assert len(",".join(lists).split(",")) == 500
    assert len([name for name in held if name.startswith("In ") and held[name] is not None]) == 500


# --- Customer.io's answers ---


@pytest.mark.parametrize("answers_400", [False, True])
def test_what_customer_io_quotes_is_never_shown(answers_400) -> None:
    def refusal(entity):
        (value,) = entity["identifiers"].values()
        quoted = json.dumps([entity, *SECRETS], ensure_ascii=False)
        return None if value in {"before", "after"} else f"{quoted} is not valid"

    text = hostile.planted_body(hostile.planted(), hostile.planted(mpid=3, customer_id="77-ok"))

    walk = judge(text, refusal=refusal, answers_400=answers_400, secrets=SECRETS)

    letters = walk.sqs.letters
    assert sum(len(json.loads(one["MessageBody"])["user_profiles"]) for one in letters) == 2
    assert {one["MessageAttributes"]["ErrorMessage"]["StringValue"] for one in letters} == {
        "attributes: invalid"
    }


# --- erasures ---


@pytest.mark.parametrize("quotes", [False, True])
def test_of_whom_is_erased_nothing_is_shown(quotes) -> None:
    def refusal(entity):
        return json.dumps(entity) if quotes and entity["action"] == "delete" else None

    walk = Walk()
    walk.customerio.refusal = refusal
    request = erasure(customer_id=hostile.CUSTOMER_ID, email=hostile.EMAIL)

    walk.invoke([hostile.planted_body(hostile.planted(), timestamp_ms=NOW_MS - 9)])
    walk.invoke([request])
    walk.invoke([hostile.planted_body(hostile.planted(), timestamp_ms=NOW_MS - 5)])

    assert (hostile.CUSTOMER_ID in walk.customerio.people) is quotes
    assert len(walk.sqs.letters) == quotes
    assert '"erasure.done"' in walk.written or quotes
    check_privacy(walk)


@pytest.mark.parametrize("raw", hostile.RAWS)
@pytest.mark.parametrize("place", ["subject_request_id", "subject_identities", "email"])
def test_of_an_erasure_that_cannot_be_read_nothing_is_shown(place, raw) -> None:
    text = erasure(email="@") if place == "email" else erasure(**{place: "@"})
    walk = Walk()

    walk.invoke([text.replace('"@"', hostile.RAWS[raw])])

    for letter in walk.sqs.letters:
        check_letter(letter)
    assert '"message":"unexpected_error"' not in walk.written
    check_privacy(walk)


# --- Hypothesis on structure: JSON texts, with hostile values anywhere ---


def object_of(fields: dict[str, str]) -> str:
    return "{" + ",".join(f"{json.dumps(name)}:{text}" for name, text in fields.items()) + "}"


RAW = st.sampled_from([raw for raw in hostile.RAWS.values() if len(raw) < 5000])
ANY = st.recursive(
    RAW | st.text().map(json.dumps) | st.integers().map(str) | st.floats().map(json.dumps),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda parts: f"[{','.join(parts)}]")
        | st.dictionaries(st.text(), inner, max_size=3).map(object_of)
    ),
    max_leaves=8,
)


def mostly(usual: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(usual, usual, usual, usual, ANY)


def an_object(**fields: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    told = {name: mostly(usual) for name, usual in fields.items()}
    return st.fixed_dictionaries({}, optional=told).map(object_of)


def a_list(of: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.lists(mostly(of), max_size=3).map(lambda parts: f"[{','.join(parts)}]")


def one_of(*values: object) -> st.SearchStrategy[str]:
    return st.sampled_from([json.dumps(value) for value in values])


ATTRIBUTE = an_object(
    key=one_of("$FirstName", "$LASTNAME", "Note"),
    value=one_of(hostile.FIRST_NAME, hostile.LAST_NAME),
    action=one_of("upsert", "delete"),
)
AUDIENCE = an_object(
    audience_id=one_of(1, 2, "3", -(2**63), 2**63 - 1),
    audience_name=one_of(hostile.AUDIENCE_NAME, "A" * 400),
    action=one_of("add", "delete", "attribute_update"),
    user_attributes=a_list(ATTRIBUTE),
)
IDENTITY = an_object(
    type=one_of("customer", "email"),
    encoding=one_of("raw"),
    value=one_of(hostile.CUSTOMER_ID, hostile.EMAIL, 7),
)
PROFILE = an_object(
    mpid=one_of(hostile.MPID, 1, 2**63, None),
    user_identities=a_list(IDENTITY),
    audiences=a_list(AUDIENCE),
)
SETTINGS = an_object(
    apiKey=one_of(hostile.API_KEY), **{"One user attribute per segment": one_of("true")}
)
ACCOUNT = an_object(account_id=one_of(1001, "1001", 7), account_settings=SETTINGS)
IN_GOOD = [json.dumps(profile(mpid=n, customer_id=f"inner-{n}")) for n in (5, 6)]


@st.composite
def messages(draw: st.DrawFn) -> str:
    head = json.loads(body())
    del head["user_profiles"]
    fields = {name: json.dumps(value) for name, value in head.items()}
    fields["account"] = json.dumps(head["account"])
    if draw(st.booleans()):
        fields[draw(st.sampled_from([*fields, "x"]))] = draw(ANY)
    if draw(st.booleans()):
        fields["account"] = draw(ACCOUNT)
    profiles = [IN_GOOD[0], *draw(st.lists(mostly(PROFILE), max_size=3)), IN_GOOD[1]]
    fields["user_profiles"] = f"[{','.join(profiles)}]"
    text = object_of(fields)
    return draw(st.sampled_from([text, text, hostile.sns(text)]))


@given(messages())
def test_any_structure_ends_as_documented_and_no_good_profile_is_lost(text) -> None:
    judge(text, good=["inner-5", "inner-6"])


@given(messages(), st.booleans())
def test_any_structure_refused_by_customer_io_ends_as_documented(text, answers_400) -> None:
    def refusal(entity):
        (value,) = entity["identifiers"].values()
        if value in {"before", "after", "inner-5", "inner-6"}:
            return None
        return f"{value} and {json.dumps(entity, ensure_ascii=False)}"

    judge(
        text,
        refusal=refusal,
        answers_400=answers_400,
        good=["inner-5", "inner-6"],
    )


# --- the judge itself ---


@pytest.mark.parametrize(
    "breach",
    [
        {"identifiers": {"id": "x" * 151}},
        {"identifiers": {"id": ""}},
        {"timestamp": 7},
        {"attributes": {f"a{n}": "" for n in range(301)}},
        {"attributes": {"a" * 151: ""}},
        {"attributes": {"a": "é" * 501}},
        {"attributes": {f"a{n}": "x" * 999 for n in range(40)}},
    ],
)
def test_the_judge_knows_customer_ios_limits(breach) -> None:
    good = {"type": "person", "action": "identify", "identifiers": {"id": "1"}, "attributes": {}}
    entity = {**good, "timestamp": 1_790_000_000}
    check_entity(entity)

    with pytest.raises(AssertionError):
        check_entity({**entity, **breach})

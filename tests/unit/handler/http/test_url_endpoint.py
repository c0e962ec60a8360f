"""Who is let in over HTTP, and what is answered."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.domain.firehose import MAX_MESSAGE_BYTES
from handler.errors import OutOfTimeError
from tests.builders import audience, profile
from tests.firehose import REGISTRATION, SHAPES, change, misfits
from tests.stand_ins.ingress import TOKEN, IngressHouse

SECRETS = {"apiKey": "hush-key", "Site ID": "hush-site"}
WITH_SECRETS = {"account_id": 1001, "account_settings": SECRETS}


@pytest.fixture
def house() -> IngressHouse:
    return IngressHouse()


def test_secrets_and_people_are_in_no_log_line_and_secrets_in_no_message(house) -> None:
    request = change(profile(audience(7), email="ada@example.com"), account=WITH_SECRETS)

    house.receive(request)
    house.post(request)
    house.post(request, headers={"authorization": "Token hush-token-of-others"})
    house.post({"type": "ada@example.com"})
    house.post('{"type": "ada@example.com')

    assert "hush" not in str(house.sender.bodies)
    logged = house.log.getvalue()
    assert logged.count("firehose.answered") == 4
    assert logged.count("firehose.refused") == 1
    assert not [one for one in ("hush", "ada@example.com", TOKEN) if one in logged]


@pytest.mark.parametrize("encode", [False, True])
def test_the_same_request_over_http_has_the_same_answer(house, encode) -> None:
    answer = house.post(change(profile()), encode=encode)

    assert answer["statusCode"] == 200
    assert answer["headers"]["content-type"] == "application/json"
    told = json.loads(answer["body"])
    assert misfits(told, SHAPES["audience_membership_change_response"]) == []
    assert [json.loads(body)["user_profiles"] for body in house.sender.bodies] == [[profile()]]


LARGE = "x" * MAX_MESSAGE_BYTES


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"method": "PUT"},
        {"headers": {"content-type": "text/plain"}},
        {"headers": {"content-type": ""}},
        {"body": "{"},
        {"body": "[]"},
        {"body": "null"},
        {"body": "[" * 200_000},
        {"body": '{"type": "event_processing_request"}'},
        {"body": '{"note": NaN}'},
        {"body": '{"note": 1e999}'},
        {"body": '{"note": "\\ud83d \\u0000"}'},
        {"body": "x" * 1_000_000},
    ],
)
def test_a_request_with_a_token_is_on_the_queue_whatever_it_is(house, event) -> None:
    answer = house.post(change(profile()), **event)

    assert answer["statusCode"] == 200
    assert len(house.sender.bodies) == 1


@pytest.mark.parametrize(
    ("reason", "body"),
    [
        ("MalformedMessage: $: not JSON, and empty", None),
        ("MalformedMessage: $: not JSON, and empty", "{\0"),
        ("MalformedMessage: $: neither JSON nor UTF-8", "{\ud83d"),
        ("MalformedMessage: $: over the 1048576 bytes", "x" + LARGE),
        ("MalformedMessage: $: over the 1048576 bytes", json.dumps(change(user_profiles=LARGE))),
    ],
)
def test_what_sqs_cannot_hold_is_to_be_sent_again(house, reason, body) -> None:
    answer = house.post(None, body=body)

    assert answer["statusCode"] == 503
    assert reason in json.loads(answer["body"])["error"]
    assert house.sender.bodies == []


def test_a_profile_that_sqs_cannot_hold_is_to_be_sent_again_and_the_others_are_enqueued(
    house,
) -> None:
    answer = house.post(change(profile(note=LARGE), profile(customer_id="43")))

    assert answer["statusCode"] == 503
    assert "$.user_profiles[0]" in json.loads(answer["body"])["error"]
    (body,) = house.sender.bodies
    assert json.loads(body)["user_profiles"] == [profile(customer_id="43")]


BASIC = {"authorization": "Basic YTpi"}


@pytest.mark.parametrize(
    "event",
    [
        {"method": "GET", "headers": {"authorization": ""}, "body": None},
        {"headers": {"authorization": ""}},
        {"headers": {"authorization": "Token "}},
        {"headers": {"authorization": TOKEN}},
        {"headers": BASIC},
        {"headers": BASIC, "body": "{"},
        {"headers": BASIC, "body": "NaN"},
        {"headers": BASIC, "body": "[" * 9000},
        {"headers": BASIC, "body": json.dumps(REGISTRATION) + " " * 10_000},
    ],
)
def test_a_request_without_a_token_is_refused(house, event) -> None:
    answer = house.post(change(profile()), **event)

    assert answer["statusCode"] == 401
    assert answer["headers"]["www-authenticate"] == "Token"
    assert "Authorization" in json.loads(answer["body"])["error"]
    assert house.sender.bodies == []


@pytest.mark.parametrize("token", [f"{TOKEN}x", "\udcff", "x"])
def test_a_request_with_an_unknown_token_is_to_be_sent_again(house, token) -> None:
    answer = house.post(change(profile()), headers={"authorization": f"Token {token}"})

    assert answer["statusCode"] == 503
    assert answer["headers"]["retry-after"] == "5"
    assert "token is not known" in json.loads(answer["body"])["error"]
    assert house.sender.bodies == []


SENT_AGAIN = {408, 429, 500, 502, 503, 504}
"""By mParticle, according to its partner documentation, "Outbound Integrations"."""


@given(
    st.binary() | st.text().map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.sampled_from(["POST", "PUT", "GET"]),
    st.sampled_from([TOKEN, "a-token-that-is-not-known"]),
)
def test_no_request_with_a_token_is_lost(body, method, token) -> None:
    house = IngressHouse()
    encoded = base64.b64encode(body).decode()

    answer = house.post(
        None,
        method=method,
        headers={"authorization": f"Token {token}"},
        body=encoded,
        isBase64Encoded=True,
    )

    assert answer["statusCode"] in {200} | SENT_AGAIN
    assert (answer["statusCode"] == 200) == bool(house.sender.bodies)


@pytest.mark.parametrize(
    "authorization", ["", "Token of-somebody-else", f"Token {TOKEN}", "Basic YTpi"]
)
def test_registration_is_answered_with_any_token_or_none(house, authorization) -> None:
    answer = house.post(REGISTRATION, headers={"authorization": authorization})

    assert answer["statusCode"] == 200
    assert json.loads(answer["body"])["type"] == "module_registration_response"
    assert house.secrets.reads == 0


def test_what_is_not_on_the_queue_is_not_acknowledged_over_http_either(house) -> None:
    house.sender.error = OutOfTimeError("no time left")

    with pytest.raises(OutOfTimeError):
        house.post(change(profile()))

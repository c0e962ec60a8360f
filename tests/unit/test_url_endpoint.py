"""Who is let in over HTTP, and what is answered."""

from __future__ import annotations

import json

import pytest

from handler.errors import MalformedMessageError, OutOfTimeError
from handler.http.url_endpoint import MAX_BODY_BYTES
from tests.builders import audience, profile
from tests.firehose_shapes import SHAPES, misfits
from tests.ingress_house import TOKEN, IngressHouse
from tests.unit.test_firehose import REGISTRATION, change

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
    assert logged.count("firehose.answered") == 2
    assert logged.count("firehose.refused") == 3
    assert not [one for one in ("hush", "ada@example.com", TOKEN) if one in logged]


TOO_LARGE = json.dumps(change(profile(note="@"))).replace('"@"', "1e999")


def test_a_number_without_end_is_refused_at_both_doors_and_nothing_is_enqueued(house) -> None:
    answer = house.post(None, body=TOO_LARGE)
    with pytest.raises(MalformedMessageError, match="NaN or infinite"):
        house.receive(json.loads(TOO_LARGE))

    assert answer["statusCode"] == 400
    assert "NaN or infinite" in json.loads(answer["body"])["error"]
    assert house.sender.bodies == []


@pytest.mark.parametrize("encode", [False, True])
def test_the_same_request_over_http_has_the_same_answer(house, encode) -> None:
    answer = house.post(change(profile()), encode=encode)

    assert answer["statusCode"] == 200
    assert answer["headers"]["content-type"] == "application/json"
    told = json.loads(answer["body"])
    assert misfits(told, SHAPES["audience_membership_change_response"]) == []
    assert [json.loads(body) for body in house.sender.bodies] == [change(profile())]


BASIC = {"authorization": "Basic YTpi"}


@pytest.mark.parametrize(
    ("status", "reason", "event"),
    [
        (405, "only POST", {"method": "GET"}),
        (415, "application/json", {"headers": {"content-type": "text/plain"}}),
        (415, "application/json", {"headers": {"content-type": ""}}),
        (401, "Authorization", {"headers": {"authorization": ""}}),
        (401, "Authorization", {"headers": {"authorization": "Token "}}),
        (401, "Authorization", {"headers": {"authorization": f"Token {TOKEN}x"}}),
        (401, "Authorization", {"headers": {"authorization": TOKEN}}),
        (401, "Authorization", {"headers": {"authorization": "Token \udcff"}}),
        (401, "Authorization", {"headers": BASIC}),
        (401, "Authorization", {"headers": BASIC, "body": "{"}),
        (
            401,
            "Authorization",
            {"headers": BASIC, "body": json.dumps(REGISTRATION) + " " * 10_000},
        ),
        (413, f"over {MAX_BODY_BYTES} bytes", {"body": " " * (MAX_BODY_BYTES + 1)}),
        (400, "not JSON", {"body": "{"}),
        (400, "not JSON", {"body": None}),
        (400, "not JSON", {"body": "[" * 200_000}),
        (400, "not JSON, which does not know NaN", {"body": '{"note": NaN}'}),
        (400, "not JSON, which does not know -Infinity", {"body": '[-Infinity, "Infinity"]'}),
        (401, "Authorization", {"headers": BASIC, "body": "NaN"}),
        (400, "not base64", {"body": "é", "isBase64Encoded": True}),
        (400, "MalformedMessage: $: expected object", {"body": "[]"}),
        (
            400,
            "UnsupportedMessage: $.type: event",
            {"body": '{"type": "event_processing_request"}'},
        ),
    ],
)
def test_what_is_not_let_in_is_told_why(house, status, reason, event) -> None:
    answer = house.post(change(profile()), **event)

    assert answer["statusCode"] == status
    assert reason in json.loads(answer["body"])["error"]
    assert house.sender.bodies == []


def test_registration_needs_no_token(house) -> None:
    answer = house.post(REGISTRATION, headers={"authorization": ""})

    assert answer["statusCode"] == 200
    assert json.loads(answer["body"])["type"] == "module_registration_response"
    assert house.secrets.reads == 0


def test_the_content_type_may_say_more(house) -> None:
    answer = house.post(change(), headers={"content-type": "Application/JSON; charset=utf-8"})

    assert answer["statusCode"] == 200


def test_what_is_not_on_the_queue_is_not_acknowledged_over_http_either(house) -> None:
    house.sender.error = OutOfTimeError("no time left")

    with pytest.raises(OutOfTimeError):
        house.post(change(profile()))


@pytest.mark.xfail(strict=True, reason="these are answered with codes that are never resent")
@pytest.mark.parametrize(
    "event",
    [
        {"headers": {"content-type": "text/plain"}},
        {"headers": {"content-type": ""}},
        {"headers": {"authorization": f"Token {TOKEN}x"}},
        {"method": "PUT"},
        {"body": "{"},
        {"body": None},
        {"body": "[]"},
        {"body": '{"type": "event_processing_request"}'},
        {"body": '{"note": NaN}'},
        {"body": TOO_LARGE},
    ],
)
def test_an_authenticated_request_is_on_the_queue_or_is_sent_again(house, event) -> None:
    answer = house.post(change(profile()), **event)

    assert answer["statusCode"] in {200, 503}
    assert (answer["statusCode"] == 200) == bool(house.sender.bodies)

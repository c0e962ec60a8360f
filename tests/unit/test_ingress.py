"""The ingress: what is acknowledged is on the queue, and who is let in over HTTP."""

from __future__ import annotations

import base64
import io
import json
import math
import subprocess
import sys
import uuid
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from aws_lambda_powertools import Logger
from botocore.exceptions import ClientError, EndpointConnectionError

from handler import ingress as room
from handler.errors import (
    MalformedMessageError,
    MisconfiguredError,
    OutOfTimeError,
    UnavailableError,
    UnsupportedMessageError,
)
from handler.ingress import MAX_BODY_BYTES, Ingress, Tokens, UrlDoor
from handler.secret import Secret
from tests.builders import NOW, audience, profile
from tests.firehose_shapes import SHAPES, misfits
from tests.unit.test_firehose import REGISTRATION, SUBSCRIPTION, change

TOKEN = "a-token-of-mparticle"
SECRETS = {"apiKey": "hush-key", "Site ID": "hush-site"}
WITH_SECRETS = {"account_id": 1001, "account_settings": SECRETS}


class MemoryEntrance:
    def __init__(self) -> None:
        self.bodies: list[str] = []
        self.trouble: Exception | None = None

    def enqueue(self, bodies, *, time_left) -> None:
        if self.trouble:
            raise self.trouble
        self.bodies += bodies


class MemoryMarks:
    def __init__(self) -> None:
        self.accounts: set[int] = set()

    def holds(self, account_id, *, now, time_left) -> bool:
        return account_id in self.accounts


class MemorySecrets:
    def __init__(self) -> None:
        self.text: str | None = TOKEN
        self.trouble: Exception | None = None
        self.passes_after: float = math.inf
        self.reads = 0

    def get_secret_value(self, *, SecretId):  # noqa: N803
        self.reads += 1
        if self.trouble and self.reads <= self.passes_after:
            raise self.trouble
        return {} if self.text is None else {"SecretString": self.text}


class House:
    """An ingress, its URL's door, and all they talk to."""

    def __init__(self) -> None:
        self.entrance = MemoryEntrance()
        self.marks = MemoryMarks()
        self.secrets = MemorySecrets()
        self.now = NOW
        entrance: Any = self.entrance
        marks: Any = self.marks
        secrets: Any = self.secrets
        self.log = io.StringIO()
        logger = Logger(service=f"test-{uuid.uuid4()}", stream=self.log)
        ids = iter(f"0b5e5a3e-92a8-4fd7-9b7c-{n:012}" for n in range(1000))
        self.ingress = Ingress(entrance, marks, logger, now=self.clock, new_id=ids.__next__)
        secret = Secret(secrets, "the-secret", kept_s=0, now=self.clock)
        self.tokens = Tokens(secret, now=self.clock)
        self.door = UrlDoor(self.ingress, self.tokens, logger)

    def clock(self) -> float:
        return self.now

    def answer(self, request, time_left=30.0):
        return self.ingress.answer(request, time_left=lambda: time_left)

    def post(self, content, time_left=30.0, **event):
        return self.door.answer(posted(content, **event), time_left=lambda: time_left)


def posted(content, *, method="POST", encode=False, headers=None, **more) -> dict[str, Any]:
    body = content if isinstance(content, str) else json.dumps(content)
    usual = {"content-type": "application/json", "authorization": f"Token {TOKEN}"}
    return {
        "requestContext": {"http": {"method": method}},
        "headers": usual | (headers or {}),
        "body": base64.b64encode(body.encode()).decode() if encode else body,
        "isBase64Encoded": encode,
        **more,
    }


@pytest.fixture
def house() -> House:
    return House()


# --- invoked directly ---


def test_a_change_is_on_the_queue_before_it_is_acknowledged(house) -> None:
    told = house.answer(change(profile()))

    assert [json.loads(body)["user_profiles"] for body in house.entrance.bodies] == [[profile()]]
    assert misfits(told, SHAPES["audience_membership_change_response"]) == []
    assert told["suspend_subscription"] is False


def test_what_is_not_on_the_queue_is_not_acknowledged(house) -> None:
    house.entrance.trouble = UnavailableError("the queue did not take 1 of 3 messages")

    with pytest.raises(UnavailableError):
        house.answer(change(profile()))


@pytest.mark.parametrize("request_", [REGISTRATION, change(), change(user_profiles=None)])
def test_what_brings_nothing_is_answered_without_a_message(house, request_) -> None:
    told = house.answer(request_)

    assert misfits(told, SHAPES[told["type"]]) == []
    assert house.entrance.bodies == []


def test_a_subscription_goes_on_the_queue(house) -> None:
    told = house.answer(SUBSCRIPTION)

    assert misfits(told, SHAPES["audience_subscription_response"]) == []
    assert [json.loads(body)["id"] for body in house.entrance.bodies] == ["s"]


def test_each_answer_has_an_id_of_its_own(house) -> None:
    assert house.answer(change())["id"] != house.answer(change())["id"]


@pytest.mark.parametrize(
    ("request_", "error", "named"),
    [
        ({"type": "event_processing_request"}, UnsupportedMessageError, "event_processing"),
        ("no object", MalformedMessageError, "expected object"),
        (None, MalformedMessageError, "expected object"),
    ],
)
def test_what_is_not_for_us_is_an_error_that_says_what_it_is(
    house, request_, error, named
) -> None:
    with pytest.raises(error, match=named):
        house.answer(request_)


def test_audiences_of_a_marked_account_are_suspended_and_what_came_is_kept(house) -> None:
    house.marks.accounts = {1001}

    assert house.answer(change(profile()))["suspend_subscription"] is True
    assert len(house.entrance.bodies) == 1
    assert house.answer(change(account={"account_id": 1002}))["suspend_subscription"] is False
    assert house.answer(change(account=None))["suspend_subscription"] is False


def test_secrets_and_people_are_in_no_log_line_and_secrets_in_no_message(house) -> None:
    request = change(profile(audience(7), email="ada@example.com"), account=WITH_SECRETS)

    house.answer(request)
    house.post(request)
    house.post(request, headers={"authorization": "Token hush-token-of-others"})
    house.post({"type": "ada@example.com"})
    house.post('{"type": "ada@example.com')

    assert "hush" not in str(house.entrance.bodies)
    logged = house.log.getvalue()
    assert logged.count("firehose.answered") == 2
    assert logged.count("firehose.refused") == 3
    assert not [one for one in ("hush", "ada@example.com", TOKEN) if one in logged]


# --- over HTTP ---

TOO_LARGE = json.dumps(change(profile(note="@"))).replace('"@"', "1e999")


def test_a_number_that_is_too_large_is_left_to_the_forwarder_to_refuse(house) -> None:
    answer = house.post(None, body=TOO_LARGE)
    house.answer(json.loads(TOO_LARGE))

    assert answer["statusCode"] == 200
    assert ["Infinity" in body for body in house.entrance.bodies] == [True, True]


@pytest.mark.parametrize("encode", [False, True])
def test_the_same_request_over_http_has_the_same_answer(house, encode) -> None:
    answer = house.post(change(profile()), encode=encode)

    assert answer["statusCode"] == 200
    assert answer["headers"]["content-type"] == "application/json"
    told = json.loads(answer["body"])
    assert misfits(told, SHAPES["audience_membership_change_response"]) == []
    assert [json.loads(body)["user_profiles"] for body in house.entrance.bodies] == [[profile()]]


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
    assert house.entrance.bodies == []


def test_registration_needs_no_token(house) -> None:
    answer = house.post(REGISTRATION, headers={"authorization": ""})

    assert answer["statusCode"] == 200
    assert json.loads(answer["body"])["type"] == "module_registration_response"
    assert house.secrets.reads == 0


def test_the_content_type_may_say_more(house) -> None:
    answer = house.post(change(), headers={"content-type": "Application/JSON; charset=utf-8"})

    assert answer["statusCode"] == 200


def test_what_is_not_on_the_queue_is_not_acknowledged_over_http_either(house) -> None:
    house.entrance.trouble = OutOfTimeError("no time left")

    with pytest.raises(OutOfTimeError):
        house.post(change(profile()))


# --- the shared secret ---


NEW_TOKEN = "another-token-of-mparticle"


def with_token(house, token, **event) -> int:
    answer = house.post(change(), headers={"authorization": f"token {token}"}, **event)
    status: int = answer["statusCode"]
    return status


def test_the_secret_is_read_once_a_minute(house) -> None:
    house.post(change())
    house.post(change())
    assert house.secrets.reads == 1

    house.now += 61
    house.secrets.text = NEW_TOKEN
    assert house.post(change())["statusCode"] == 401
    assert house.secrets.reads == 2


def test_while_it_is_changed_the_old_and_the_new_token_are_let_in(house) -> None:
    house.secrets.text = f"{NEW_TOKEN}\n{TOKEN}\n"

    assert [with_token(house, token) for token in (NEW_TOKEN, TOKEN)] == [200, 200]
    assert house.secrets.reads == 1


def test_a_new_token_is_let_in_at_once(house) -> None:
    assert with_token(house, TOKEN) == 200

    house.now += 5
    house.secrets.text = NEW_TOKEN

    assert with_token(house, NEW_TOKEN) == 200
    assert house.secrets.reads == 2


def test_a_token_that_may_be_newer_than_what_was_read_is_to_be_sent_again(house) -> None:
    with_token(house, TOKEN)
    house.secrets.text = f"{NEW_TOKEN} {TOKEN}"
    house.now += 4

    answer = house.post(change(), headers={"authorization": f"Token {NEW_TOKEN}"})

    assert answer["statusCode"] == 503
    assert answer["headers"]["retry-after"] == "5"
    assert "again" in json.loads(answer["body"])["error"]
    house.now += 1
    assert with_token(house, NEW_TOKEN) == 200


def test_strangers_have_the_secret_read_every_few_seconds_at_most(house) -> None:
    answers = []
    for _ in range(100):
        answers.append(with_token(house, "a-guess-of-strangers"))
        house.now += 0.25

    assert house.secrets.reads == 5
    assert answers.count(401) == 5
    assert answers.count(503) == 95
    assert with_token(house, TOKEN) == 200


def test_a_known_token_is_let_in_however_often_others_are_tried(house) -> None:
    with_token(house, TOKEN)

    for _ in range(100):
        house.now += 0.25
        with_token(house, "a-guess-of-strangers")
        assert with_token(house, TOKEN) == 200


@pytest.mark.parametrize(
    ("trouble", "raised", "reads"),
    [
        (EndpointConnectionError(endpoint_url="hush"), UnavailableError, 3),
        (None, MisconfiguredError, 2),
    ],
)
def test_no_token_is_said_to_be_wrong_while_the_secret_cannot_be_read(
    house, trouble, raised, reads
) -> None:
    with_token(house, TOKEN)
    house.secrets.trouble = trouble
    house.secrets.text = None
    house.now += 5

    with pytest.raises(raised):
        with_token(house, NEW_TOKEN)
    assert with_token(house, NEW_TOKEN) == 503
    assert with_token(house, TOKEN) == 200
    assert house.secrets.reads == reads
    house.now += 5
    with pytest.raises(OutOfTimeError):
        with_token(house, NEW_TOKEN, time_left=3.0)


def test_registration_needs_no_token_and_minds_none(house) -> None:
    for _ in range(2):
        answer = house.post(REGISTRATION, headers={"authorization": "Token of-somebody-else"})
        assert answer["statusCode"] == 200


@pytest.mark.parametrize("text", ["", "  ", "short", f"{TOKEN} short"])
def test_a_secret_that_could_be_guessed_lets_nobody_in(house, text) -> None:
    house.secrets.text = text

    with pytest.raises(MisconfiguredError, match="secret the-secret"):
        house.post(change(), headers={"authorization": f"Token {text.strip() or 'x'}"})


THROTTLED = ClientError({"Error": {"Code": "Throttled", "Message": "hush"}}, "Get")
DENIED = ClientError({"Error": {"Code": "AccessDeniedException", "Message": "hush"}}, "Get")
UNREACHED = EndpointConnectionError(endpoint_url="hush")
TROUBLES = [(THROTTLED, "Throttled"), (UNREACHED, "EndpointConnectionError")]


@pytest.mark.parametrize(("trouble", "code"), TROUBLES)
def test_a_secret_that_cannot_be_read_is_tried_again_by_the_sender(house, trouble, code) -> None:
    house.secrets.trouble = trouble

    with pytest.raises(UnavailableError, match=f"secret the-secret cannot be read: {code}"):
        house.post(change())

    assert house.secrets.reads == 2


@pytest.mark.parametrize("trouble", [THROTTLED, UNREACHED])
def test_what_passes_lets_a_token_in_all_the_same(house, trouble) -> None:
    house.secrets.trouble = trouble
    house.secrets.passes_after = 1

    assert house.post(change())["statusCode"] == 200
    assert house.secrets.reads == 2


def test_a_secret_that_may_not_be_read_is_not_tried_again(house) -> None:
    house.secrets.trouble = DENIED

    with pytest.raises(MisconfiguredError, match="cannot be read: AccessDenied") as refused:
        house.post(change())

    assert house.secrets.reads == 1
    assert "hush" not in str(refused.value)


def test_a_secret_is_not_read_again_without_time(house) -> None:
    house.secrets.trouble = THROTTLED
    left = iter([5.0, 3.0])

    with pytest.raises(UnavailableError, match="Throttled"):
        house.door.answer(posted(change()), time_left=left.__next__)

    assert house.secrets.reads == 1


def test_a_secret_is_not_read_without_time(house) -> None:
    with pytest.raises(OutOfTimeError):
        house.post(change(), time_left=3.0)


# --- the front door ---

CONTEXT: Any = SimpleNamespace(aws_request_id="r-1", get_remaining_time_in_millis=lambda: 30_000)


@pytest.fixture
def environ(monkeypatch) -> Iterator[dict[str, str]]:
    made = {
        "QUEUE_URL": "https://queue",
        "TABLE_NAME": "people",
        "SUSPEND_ON_REFUSED_CREDENTIALS": "false",
        "URL_SECRET_NAME": "",
    }
    for name, value in made.items():
        monkeypatch.setenv(name, value)
    yield made
    for wired in (room.ingress, room.url_door, room.logger):
        wired.cache_clear()


def test_registration_needs_nothing_but_the_settings(environ) -> None:
    told = room.lambda_handler(REGISTRATION, CONTEXT)

    assert told["type"] == "module_registration_response"
    assert room.ingress().marks is None


def test_marks_are_wired_where_they_are_asked_for(environ, monkeypatch) -> None:
    monkeypatch.setenv("SUSPEND_ON_REFUSED_CREDENTIALS", "true")

    assert room.ingress().marks is not None


def test_over_http_a_request_needs_a_secret_to_be_named(environ, monkeypatch) -> None:
    event = posted(REGISTRATION, headers={"authorization": ""})
    with pytest.raises(MisconfiguredError, match="URL_SECRET_NAME"):
        room.lambda_handler(event, CONTEXT)

    monkeypatch.setenv("URL_SECRET_NAME", "the-secret")
    assert room.lambda_handler(event, CONTEXT)["statusCode"] == 200


@pytest.mark.parametrize(
    "event",
    [
        *("text", [], None),
        *({"requestContext": context} for context in (None, 5, True, "http", ["http"])),
        *({"requestContext": {"http": http}} for http in (None, 5, "POST")),
    ],
)
def test_any_other_event_is_an_error_of_its_own(environ, event) -> None:
    with pytest.raises(MalformedMessageError):
        room.lambda_handler(event, CONTEXT)


def test_it_imports_nothing_that_only_the_forwarder_needs() -> None:
    program = (
        "import sys; import handler.ingress; print(*[name for name in sys.modules if name in "
        "('handler.app', 'handler.forwarder', 'handler.store', 'handler.credentials', "
        "'handler.customerio', 'handler.telemetry', 'handler.domain.membership', "
        "'boto3')])"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)

    assert done.stdout.split() == []

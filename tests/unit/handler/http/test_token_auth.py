"""The shared secret: which tokens are let in, and when it is read."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from handler.errors import MisconfiguredError, OutOfTimeError, UnavailableError
from tests.builders import deadline
from tests.firehose import change
from tests.stand_ins.ingress import TOKEN, IngressHouse, posted


@pytest.fixture
def house() -> IngressHouse:
    return IngressHouse()


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
    assert house.post(change())["statusCode"] == 503
    assert house.secrets.reads == 3  # the old tokens, then for this one


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
    with_token(house, "a-guess-of-strangers")
    house.secrets.text = f"{NEW_TOKEN} {TOKEN}"
    house.now += 4

    answer = house.post(change(), headers={"authorization": f"Token {NEW_TOKEN}"})

    assert answer["statusCode"] == 503
    house.now += 1
    assert with_token(house, NEW_TOKEN) == 200


def test_unknown_tokens_cause_a_read_of_the_secret_every_five_seconds_at_most(house) -> None:
    with_token(house, TOKEN)
    answers = []
    for _ in range(100):
        answers.append(with_token(house, "a-guess-of-strangers"))
        house.now += 0.25

    assert house.secrets.reads == 1 + 5
    assert answers == [503] * 100
    assert with_token(house, TOKEN) == 200


def test_a_known_token_is_let_in_however_often_others_are_tried(house) -> None:
    with_token(house, TOKEN)

    for _ in range(100):
        house.now += 0.25
        with_token(house, "a-guess-of-strangers")
        assert with_token(house, TOKEN) == 200


@pytest.mark.parametrize(
    ("error", "reads"), [(EndpointConnectionError(endpoint_url="hush"), 3), (None, 2)]
)
def test_no_token_is_answered_401_while_the_secret_cannot_be_read(house, error, reads) -> None:
    with_token(house, TOKEN)
    house.secrets.error = error
    house.secrets.text = None

    with pytest.raises(UnavailableError):
        with_token(house, NEW_TOKEN)
    assert with_token(house, NEW_TOKEN) == 503
    assert with_token(house, TOKEN) == 200
    assert house.secrets.reads == reads
    house.now += 5
    with pytest.raises(OutOfTimeError):
        with_token(house, NEW_TOKEN, seconds=3.0)


@pytest.mark.parametrize("text", ["", "  ", "short", f"{TOKEN} short"])
def test_a_secret_that_could_be_guessed_lets_nobody_in(house, text) -> None:
    house.secrets.text = text

    with pytest.raises(MisconfiguredError, match="secret the-secret"):
        house.post(change(), headers={"authorization": f"Token {text.strip() or 'x'}"})


THROTTLED = ClientError({"Error": {"Code": "Throttled", "Message": "hush"}}, "Get")
DENIED = ClientError({"Error": {"Code": "AccessDeniedException", "Message": "hush"}}, "Get")
UNREACHED = EndpointConnectionError(endpoint_url="hush")
ERRORS = [(THROTTLED, "Throttled"), (UNREACHED, "EndpointConnectionError")]


@pytest.mark.parametrize(("error", "code"), ERRORS)
def test_a_request_fails_if_the_secret_was_never_read(house, error, code) -> None:
    house.secrets.error = error

    with pytest.raises(UnavailableError, match=f"secret the-secret cannot be read: {code}"):
        house.post(change())

    assert house.secrets.reads == 2


@pytest.mark.parametrize("error", [THROTTLED, UNREACHED])
def test_a_read_that_fails_once_is_tried_again_for_the_same_request(house, error) -> None:
    house.secrets.error = error
    house.secrets.passes_after = 1

    assert house.post(change())["statusCode"] == 200
    assert house.secrets.reads == 2


def test_a_secret_that_may_not_be_read_is_not_tried_again(house) -> None:
    house.secrets.error = DENIED

    with pytest.raises(MisconfiguredError, match="cannot be read: AccessDenied") as refused:
        house.post(change())

    assert house.secrets.reads == 1
    assert "hush" not in str(refused.value)


def test_a_secret_is_not_read_again_without_time(house) -> None:
    house.secrets.error = THROTTLED
    times = iter([0.0, 0.0, 2.0])

    with pytest.raises(UnavailableError, match="Throttled"):
        house.endpoint.answer(posted(change()), deadline=deadline(5.0, now=times.__next__))

    assert house.secrets.reads == 1


def test_a_secret_is_not_read_without_time(house) -> None:
    with pytest.raises(OutOfTimeError):
        house.post(change(), seconds=3.0)


@pytest.mark.parametrize("error", [THROTTLED, UNREACHED, DENIED])
def test_a_known_token_is_let_in_while_the_secret_cannot_be_read(house, error) -> None:
    with_token(house, TOKEN)
    house.secrets.error = error

    for _ in range(60):
        house.now += 60
        assert with_token(house, TOKEN) == 200

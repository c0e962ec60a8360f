"""A secret's text: when it is read, and what is used while it cannot be read."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from hypothesis import given
from hypothesis import strategies as st

from handler.errors import MisconfiguredError, OutOfTimeError, RetryableError, UnavailableError
from handler.secret import RETRY_AFTER_S, USABLE_S, Secret
from tests.builders import NOW, deadline
from tests.stand_ins.aws import MemorySecrets

TTL_S = 300
DENIED = ClientError({"Error": {"Code": "AccessDeniedException", "Message": "hush"}}, "Get")
GONE = ClientError({"Error": {"Code": "ResourceNotFoundException", "Message": "hush"}}, "Get")
THROTTLED = ClientError({"Error": {"Code": "Throttled", "Message": "hush"}}, "Get")
UNREACHED = EndpointConnectionError(endpoint_url="hush")
ERRORS = [DENIED, GONE, THROTTLED, UNREACHED]


class Room:
    def __init__(self) -> None:
        self.secrets = MemorySecrets("first")
        self.now = NOW
        self.reported: list[str] = []
        secrets: Any = self.secrets
        self.secret = Secret(
            secrets,
            "the-secret",
            ttl_s=TTL_S,
            now=lambda: self.now,
            on_failure=lambda error: self.reported.append(str(error)),
        )

    def text(self, *, seconds: float = 30.0, refresh: bool = False) -> str:
        return self.secret.text(deadline=deadline(seconds), refresh=refresh)


@pytest.fixture
def room() -> Room:
    return Room()


@pytest.mark.parametrize("error", ERRORS)
def test_the_text_that_was_read_last_is_used_for_hours_while_reading_fails(room, error) -> None:
    room.text()
    room.secrets.error = error

    for hours in range(12):
        room.now = NOW + hours * 3600 + TTL_S
        assert room.text() == "first"

    assert len(room.reported) == 12
    assert not [reason for reason in room.reported if "hush" in reason]


def test_a_text_that_is_too_old_is_used_no_longer(room) -> None:
    room.text()
    room.secrets.error = UNREACHED
    room.now += USABLE_S

    with pytest.raises(UnavailableError):
        room.text()


def test_a_new_text_is_used_once_reading_works_again(room) -> None:
    room.text()
    room.secrets.error = DENIED
    room.now += TTL_S
    room.text()

    room.secrets.error = None
    room.secrets.text = "second"
    room.now += RETRY_AFTER_S

    assert room.text() == "second"


def test_a_read_that_fails_is_not_tried_again_for_every_message(room) -> None:
    room.text()
    room.secrets.error = DENIED
    room.now += TTL_S

    for _ in range(100):
        room.text()

    assert room.secrets.reads == 2
    room.now += RETRY_AFTER_S
    room.text()
    assert room.secrets.reads == 3


@pytest.mark.parametrize(
    ("error", "raised"), [(DENIED, MisconfiguredError), (UNREACHED, UnavailableError)]
)
def test_a_first_read_that_fails_is_an_error_and_not_tried_again_at_once(
    room, error, raised
) -> None:
    room.secrets.error = error
    with pytest.raises(raised, match="secret the-secret cannot be read"):
        room.text()
    reads = room.secrets.reads

    with pytest.raises(raised, match="secret the-secret cannot be read"):
        room.text()

    assert room.secrets.reads == reads
    room.secrets.error = None
    room.now += RETRY_AFTER_S
    assert room.text() == "first"


@pytest.mark.parametrize("error", ERRORS)
def test_a_refresh_that_fails_is_retryable_and_keeps_the_text_for_others(room, error) -> None:
    room.text()
    room.secrets.error = error

    with pytest.raises(UnavailableError, match="secret the-secret cannot be read"):
        room.text(refresh=True)

    assert room.text() == "first"


def test_a_refresh_reads_at_once(room) -> None:
    room.text()
    room.secrets.text = "second"

    assert room.text() == "first"
    assert room.text(refresh=True) == "second"
    assert room.text() == "second"


def test_without_time_to_read_the_text_that_was_read_last_is_used(room) -> None:
    room.text()
    room.now += TTL_S

    assert room.text(seconds=3.0) == "first"
    with pytest.raises(OutOfTimeError):
        room.text(seconds=3.0, refresh=True)
    assert room.reported == []
    assert room.secrets.reads == 1


def test_a_secret_whose_text_was_removed_goes_on_with_the_last_one(room) -> None:
    room.text()
    room.secrets.text = None
    room.now += TTL_S

    assert room.text() == "first"
    assert room.reported == ["secret the-secret holds no text"]


class CountedLock:
    """A lock that lets nobody in before so many have come to it."""

    def __init__(self, expected: int) -> None:
        self.lock = threading.Lock()
        self.all_came = threading.Event()
        self.to_come = iter(range(expected - 1, -1, -1))

    def __enter__(self) -> None:
        if next(self.to_come) == 0:
            self.all_came.set()
        self.lock.acquire()

    def __exit__(self, *_: object) -> None:
        self.lock.release()


class WaitingSecrets(MemorySecrets):
    """Answers once everybody has come to the lock."""

    def __init__(self, all_came: threading.Event) -> None:
        super().__init__("a text")
        self.all_came = all_came
        self.asked = threading.Event()

    def get_secret_value(self, *, SecretId):  # noqa: N803
        self.asked.set()
        assert self.all_came.wait(30)
        return super().get_secret_value(SecretId=SecretId)


@pytest.mark.parametrize(("error", "reads"), [(None, 2), (DENIED, 1)])
def test_threads_that_refresh_at_the_same_time_share_a_read(error, reads) -> None:
    lock = CountedLock(8)
    secrets: Any = WaitingSecrets(lock.all_came)
    secrets.error = error
    secret = Secret(secrets, "the-secret", ttl_s=TTL_S, now=lambda: NOW)
    secret._lock = cast("threading.Lock", lock)

    def refresh() -> str:
        try:
            return secret.text(deadline=deadline(30.0), refresh=True)
        except MisconfiguredError:
            return "unread"

    with ThreadPoolExecutor(8) as executor:
        first = executor.submit(refresh)
        assert secrets.asked.wait(30)
        others = [executor.submit(refresh) for _ in range(7)]
        texts = {done.result(30) for done in (first, *others)}

    assert texts == {"unread" if error else secrets.text}
    # The others came after the first read began, which may be too old for them.
    assert secrets.reads == reads


STEPS = st.lists(
    st.tuples(
        st.floats(0, USABLE_S),
        st.sampled_from([None, *ERRORS]),
        st.booleans(),
        st.sampled_from([3.0, 5.0, 30.0]),
    ),
    max_size=20,
)


@given(STEPS)
def test_a_text_that_was_read_within_hours_is_never_missed(steps) -> None:
    room = Room()
    room.text()
    read_at = room.now

    for place, (passed, error, refresh, seconds) in enumerate(steps):
        room.now += passed
        room.secrets.error = error
        room.secrets.text = f"text {place}"
        reads = room.secrets.reads
        try:
            text = room.text(refresh=refresh, seconds=seconds)
        except (RetryableError, MisconfiguredError):
            assert refresh or room.now >= read_at + USABLE_S
            continue
        if room.secrets.reads > reads and error is None:
            assert text == f"text {place}"
            read_at = room.now
        else:
            assert not refresh

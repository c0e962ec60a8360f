"""One request to Customer.io, when it has no answer."""

from __future__ import annotations

from typing import Any

import pytest
from urllib3.exceptions import NewConnectionError, ReadTimeoutError

from handler.customerio.transport import Transport
from handler.errors import OutOfTimeError, UnavailableError
from tests.builders import deadline
from tests.stand_ins.ports import RecordingTelemetry

URL = "https://track.customer.io/api/v2/batch"
NOTHING: Any = None


class Pool:
    """Connections over which every request ends the same way."""

    def __init__(self, ending) -> None:
        self.ending = ending

    def request(self, *_, **__):
        if isinstance(self.ending, Exception):
            raise self.ending
        return self.ending


def request(ending, within):
    pool: Any = Pool(ending)
    return Transport(pool, RecordingTelemetry()).request(URL, b"{}", headers={}, deadline=within)


class Trickle:
    """An answer that goes on and on, a byte each second."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.is_closed = False

    def read1(self, _) -> bytes:
        self.seconds += 1
        return b"x"

    def close(self) -> None:
        self.is_closed = True


@pytest.mark.parametrize(("seconds", "error"), [(30, UnavailableError), (4, OutOfTimeError)])
def test_an_answer_that_trickles_is_read_until_the_time_is_over(seconds, error) -> None:
    answer = Trickle()

    with pytest.raises(error):
        request(answer, deadline(seconds, now=lambda: answer.seconds))

    assert answer.seconds == seconds
    assert answer.is_closed


def test_no_answer_within_the_full_timeout_is_an_error_of_customer_io() -> None:
    with pytest.raises(UnavailableError, match="ReadTimeoutError"):
        request(ReadTimeoutError(NOTHING, URL, "late"), deadline(4.7))


def test_no_answer_within_a_shortened_timeout_is_our_own_lack_of_time() -> None:
    with pytest.raises(OutOfTimeError):
        request(ReadTimeoutError(NOTHING, URL, "late"), deadline(4.5))


@pytest.mark.parametrize("seconds", [0.0, 1.0, 60.0])
def test_a_refused_connection_is_an_error_of_customer_io_at_any_time(seconds) -> None:
    with pytest.raises(UnavailableError, match="NewConnectionError"):
        request(NewConnectionError(NOTHING, "nobody"), deadline(seconds))

"""Transport: one request to Customer.io and its answer, over a kept-alive connection.

Statuses and bodies go back to client.py as they are. Time and memory are bounded.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final, Protocol

import msgspec
import urllib3
from urllib3.exceptions import HTTPError, InvalidHeader, NewConnectionError
from urllib3.exceptions import TimeoutError as HTTPTimeoutError
from urllib3.util import Retry, Timeout

from handler.clock import Deadline
from handler.errors import OutOfTimeError, RetryableError, UnavailableError

CONNECT_TIMEOUT_S: Final = 3.0
READ_TIMEOUT_S: Final = 20.0

READING_S: Final = 0.1
"""A request ends this long before the deadline, so that its answer can be read."""

FAIR_TRY_S: Final = 4.5
"""If a request with less time than this has no answer, Customer.io may still be up."""

MAX_ANSWER_BYTES: Final = 4 << 20
"""Longer answers are errors. One that rejects each of 500 kB of entities is shorter."""


class Telemetry(Protocol):
    """What is reported of requests."""

    def request(self, *, status: int, seconds: float) -> None:
        """Report a request; status 0 if it was not answered."""

    def request_retried(self, error: RetryableError) -> None:
        """Report a request that is retried, and why."""


class Response(msgspec.Struct, frozen=True):
    """An answer; `retry_after` has the seconds that Customer.io asks us to wait, or 0."""

    status: int
    data: bytes
    retry_after: float


class Transport(msgspec.Struct, frozen=True):
    """Sends requests. Safe to use from several threads."""

    pool: urllib3.PoolManager
    telemetry: Telemetry

    def request(
        self, url: str, body: bytes | None, *, headers: Mapping[str, str], deadline: Deadline
    ) -> Response:
        """Post a body, or get the URL if there is none; return the answer, whatever its status.

        Raises UnavailableError if there is no answer, and OutOfTimeError if the time left was too
        short to expect one.
        """
        started = time.monotonic()
        timeout = max(READING_S, deadline.seconds_left() - READING_S)
        status = 0
        try:
            response = self.pool.request(
                "GET" if body is None else "POST",
                url,
                body=body,
                headers=headers,
                timeout=Timeout(total=timeout, connect=CONNECT_TIMEOUT_S, read=READ_TIMEOUT_S),
                retries=False,
                redirect=False,
                preload_content=False,
                decode_content=False,
            )
            try:
                data = _read_bounded(response, deadline, timeout)
            except BaseException:
                response.close()
                raise
            status = response.status
            response.release_conn()
        except HTTPError as error:
            # urllib3 also makes a refused connection a ConnectTimeoutError.
            is_refused = isinstance(error, NewConnectionError)
            if isinstance(error, HTTPTimeoutError) and not is_refused and timeout < FAIR_TRY_S:
                raise out_of_time() from None
            # The text of urllib3's errors names the host and the pool, so use only the type.
            raise UnavailableError(f"Customer.io: {type(error).__name__}") from None
        finally:
            self.telemetry.request(status=status, seconds=time.monotonic() - started)
        return Response(response.status, data, _seconds(response.headers.get("Retry-After")))


def out_of_time() -> OutOfTimeError:
    """Return the error of a request for which the time left was too short."""
    return OutOfTimeError("Customer.io did not answer in time")


def _read_bounded(response: urllib3.BaseHTTPResponse, deadline: Deadline, timeout: float) -> bytes:
    read = bytearray()
    while part := response.read1(1 << 16):
        read += part
        if len(read) > MAX_ANSWER_BYTES:
            raise UnavailableError("Customer.io's answer is too long")
        if not deadline.allows(READING_S):
            if timeout < FAIR_TRY_S:
                raise out_of_time()
            raise UnavailableError("Customer.io's answer took too long")
    return bytes(read)


def _seconds(retry_after: str | None) -> float:
    try:
        return Retry().parse_retry_after(retry_after or "0")
    except (InvalidHeader, OverflowError, ValueError):
        return 0.0

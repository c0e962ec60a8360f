"""Transport: one request to Customer.io and its answer, over a kept-alive connection.

Statuses and bodies go back to client.py as they are. Time and memory are bounded.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import urllib3
from urllib3.exceptions import HTTPError, InvalidHeader, NewConnectionError
from urllib3.exceptions import TimeoutError as HTTPTimeoutError
from urllib3.util import Retry, Timeout

from handler.clock import Deadline
from handler.errors import OutOfTimeError, RetryableError, UnavailableError

CONNECT_TIMEOUT_S: Final = 3.0
READ_TIMEOUT_S: Final = 20.0

READING_S: Final = 0.1
"""A request ends this long before the time left does, so that its outcome is still read."""

FAIR_TRY_S: Final = 4.5
"""A request that had less time than this says nothing about Customer.io if it has no answer."""

MAX_ANSWER_BYTES: Final = 4 << 20
"""Answers are read up to here: refusing 500 kB of entities one by one takes less."""


class Telemetry(Protocol):
    """What is reported of requests."""

    def request(self, *, status: int, seconds: float) -> None:
        """Report a request that was answered, or was not (status 0)."""

    def request_retried(self, error: RetryableError) -> None:
        """Report a request that is tried again, and why."""


@dataclass(frozen=True, slots=True)
class Response:
    """An answer; `retry_after` has the seconds that Customer.io asks us to wait, or 0."""

    status: int
    data: bytes
    retry_after: float


@dataclass(frozen=True, slots=True)
class Transport:
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
        given = max(READING_S, deadline.seconds_left() - READING_S)
        status = 0
        try:
            response = self.pool.request(
                "GET" if body is None else "POST",
                url,
                body=body,
                headers=headers,
                timeout=Timeout(total=given, connect=CONNECT_TIMEOUT_S, read=READ_TIMEOUT_S),
                retries=False,
                redirect=False,
                preload_content=False,
                decode_content=False,
            )
            try:
                data = _read_bounded(response, deadline, given)
            except BaseException:
                response.close()
                raise
            status = response.status
            response.release_conn()
        except HTTPError as error:
            # A refused connection is a ConnectTimeoutError to urllib3, though it took no time.
            is_refused = isinstance(error, NewConnectionError)
            if isinstance(error, HTTPTimeoutError) and not is_refused and given < FAIR_TRY_S:
                raise late() from None
            # The text of urllib3's errors names the host and the pool: its kind is enough.
            raise UnavailableError(f"Customer.io: {type(error).__name__}") from None
        finally:
            self.telemetry.request(status=status, seconds=time.monotonic() - started)
        return Response(response.status, data, _seconds(response.headers.get("Retry-After")))


def late() -> OutOfTimeError:
    """Return the error of a request that the time left was too short for."""
    return OutOfTimeError("Customer.io did not answer in time")


def _read_bounded(response: urllib3.BaseHTTPResponse, deadline: Deadline, given: float) -> bytes:
    read = bytearray()
    while part := response.read1(1 << 16):
        read += part
        if len(read) > MAX_ANSWER_BYTES:
            raise UnavailableError("Customer.io's answer is too long")
        if not deadline.allows(READING_S):
            if given < FAIR_TRY_S:
                raise late()
            raise UnavailableError("Customer.io's answer took too long")
    return bytes(read)


def _seconds(retry_after: str | None) -> float:
    try:
        return Retry().parse_retry_after(retry_after or "0")
    except (InvalidHeader, OverflowError, ValueError):
        return 0.0

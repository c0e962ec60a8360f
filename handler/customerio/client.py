"""Client: posts persons to Customer.io in chunks, several in flight, over kept-alive connections.

Persons come in from the forwarder; wire.py packs them and reads the answers. What comes back is
said person by person. Time is owned: nothing starts that the time left cannot finish.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Final, Protocol, TypeVar

import urllib3
from urllib3.exceptions import HTTPError, InvalidHeader, MaxRetryError
from urllib3.util import Retry, Timeout, make_headers

from handler.clock import Sleep, TimeLeft
from handler.customerio import wire
from handler.domain.attributes import Person
from handler.domain.workspace import Workspace
from handler.errors import (
    OutOfTimeError,
    PersonRejectedError,
    RetryableError,
    ThrottledError,
    UnavailableError,
)

REGION_URLS: Final[Mapping[str, str]] = {
    "us": "https://track.customer.io",
    "eu": "https://track-eu.customer.io",
}

MAX_TRIES: Final = 5
CONNECT_TIMEOUT_S: Final = 3.0
READ_TIMEOUT_S: Final = 20.0
SHORTEST_TRY_S: Final = 1.0
"""A request is not started with less time than this."""

CHUNKS_HELD: Final = 5
"""Chunks that are encoded at a time: one more than are posted."""

MAX_ANSWER_BYTES: Final = 4 << 20
"""Answers are read up to here: refusing 500 kB of entities one by one takes less."""

Outcome = PersonRejectedError | RetryableError | None
"""What became of one person: None when Customer.io took them."""

_Answer = TypeVar("_Answer")


class Telemetry(Protocol):
    """What the client reports."""

    def request(self, *, status: int, seconds: float) -> None:
        """Report a request that was answered, or was not (status 0)."""

    def request_retried(self, error: RetryableError) -> None:
        """Report a request that is tried again, and why."""


class Draw(Protocol):
    """Chance: a number between two."""

    def __call__(self, low: float, high: float, /) -> float:
        """Return a number from `low` to `high`."""


def full_jitter(tries: int, draw: Draw, *, base: float = 0.25, cap: float = 8.0) -> float:
    """Return seconds to wait after so many failed tries, counted from 1."""
    return draw(0.0, min(cap, base * 2 ** (tries - 1)))


class TrackApi:
    """Customer.io's Track API. Safe to use from several threads."""

    def __init__(
        self,
        pool: urllib3.PoolManager,
        executor: Executor,
        telemetry: Telemetry,
        *,
        draw: Draw,
        sleep: Sleep,
        url: str = "",
        region_urls: Mapping[str, str] = REGION_URLS,
    ) -> None:
        """Keep what posting needs; `url`, where not empty, takes the place of the region's."""
        self._pool = pool
        self._executor = executor
        self._telemetry = telemetry
        self._draw = draw
        self._sleep = sleep
        self._url = url
        self._region_urls = region_urls
        self._regions_found: dict[Workspace, str] = {}

    def deliver(
        self, workspace: Workspace, persons: Sequence[Person], *, time_left: TimeLeft
    ) -> list[Outcome]:
        """Post persons, and return what became of each, in order.

        After a chunk has run out of tries or of time, those not yet started are not tried.
        """
        try:
            url = self._known_url(workspace)
            if url is None:
                asked = self._executor.submit(self._ask_region, workspace, time_left)
                url = asked.result(max(0.0, time_left()))
            visit = _Visit(workspace, url, time_left)
        except RetryableError as error:
            return [error] * len(persons)
        except TimeoutError:
            return [_late()] * len(persons)
        outcomes: list[Outcome] = [None] * len(persons)
        chunks = wire.chunks(map(wire.entities, persons))
        posts: dict[Future[list[tuple[int, Outcome]]], wire.Chunk] = {}
        while True:
            for chunk in islice(chunks, CHUNKS_HELD - len(posts)):
                posts[self._executor.submit(self._post, visit, chunk)] = chunk
            if not posts:
                return outcomes
            # A request's timeouts bound each wait for a byte; this bounds them all together.
            done, _ = wait(posts, timeout=max(0.0, time_left()), return_when=FIRST_COMPLETED)
            for post in done or [*posts]:
                for owner, outcome in self._result(visit, post, posts.pop(post)):
                    outcomes[owner] = _graver(outcomes[owner], outcome)

    def _result(
        self, visit: _Visit, post: Future[list[tuple[int, Outcome]]], chunk: wire.Chunk
    ) -> list[tuple[int, Outcome]]:
        if post.done():
            return post.result()
        post.cancel()
        visit.given_up = _late()
        return [(owner, visit.given_up) for owner in chunk.owners]

    def _post(self, visit: _Visit, chunk: wire.Chunk) -> list[tuple[int, Outcome]]:
        """Post a chunk; where it is refused as a whole, its halves, down to the one refused."""
        if visit.given_up is not None:
            return [(owner, visit.given_up) for owner in chunk.owners]
        try:
            read = partial(wire.read_answer, count=len(chunk.entities))
            answer = self._ask(visit, "/api/v2/batch", read, body=chunk.body)
        except RetryableError as error:
            visit.given_up = error
            return [(owner, error) for owner in chunk.owners]
        if isinstance(answer, wire.Refused) and len(chunk.entities) > 1:
            first, second = chunk.halves()
            return self._post(visit, first) + self._post(visit, second)
        refusals = {0: answer.reason} if isinstance(answer, wire.Refused) else answer
        return [
            (owner, _rejected(visit, refusals[place], entity) if place in refusals else None)
            for place, (owner, entity) in enumerate(zip(chunk.owners, chunk.entities, strict=True))
        ]

    def _known_url(self, workspace: Workspace) -> str | None:
        if self._url or workspace.region != "auto":
            return self._url or self._region_urls[workspace.region]
        return self._regions_found.get(workspace)

    def _ask_region(self, workspace: Workspace, time_left: TimeLeft) -> str:
        visit = _Visit(workspace, self._region_urls["us"], time_left)
        region = self._ask(visit, "/api/v1/accounts/region", wire.read_region)
        self._regions_found[workspace] = self._region_urls[region]
        return self._region_urls[region]

    def _ask(
        self,
        visit: _Visit,
        path: str,
        read: Callable[[int, bytes], _Answer],
        body: bytes | None = None,
    ) -> _Answer:
        """Send one request, again after trouble while tries and time are left; read the answer.

        Raises the RetryableError that the last try ended in.
        """
        retry = Retry(total=MAX_TRIES - 1, allowed_methods=None, raise_on_status=False)
        while True:
            if visit.given_up is not None:
                raise visit.given_up.with_traceback(None)
            if visit.time_left() < SHORTEST_TRY_S:
                raise OutOfTimeError("no time left for a request to Customer.io")
            asked_to_wait = 0.0
            try:
                response = self._request(visit, path, body)
                asked_to_wait = _retry_after(retry, response)
                return read(response.status, response.data)
            except (ThrottledError, UnavailableError) as error:
                trouble: RetryableError = error
            try:
                retry = retry.increment("POST", path, error=HTTPError())
            except MaxRetryError:
                raise trouble from None
            wait = asked_to_wait + full_jitter(len(retry.history), self._draw)
            if wait > visit.time_left() - SHORTEST_TRY_S:
                raise trouble
            self._telemetry.request_retried(trouble)
            self._sleep(wait)

    def _request(self, visit: _Visit, path: str, body: bytes | None) -> _Response:
        """Send one request and read its answer, whatever its status, within the time left."""
        started = time.monotonic()
        status = 0
        try:
            response = self._pool.request(
                "GET" if body is None else "POST",
                visit.url + path,
                body=body,
                headers=visit.headers,
                timeout=Timeout(
                    total=visit.time_left(), connect=CONNECT_TIMEOUT_S, read=READ_TIMEOUT_S
                ),
                retries=False,
                redirect=False,
                preload_content=False,
                decode_content=False,
            )
            try:
                data = _read_bounded(response, visit.time_left)
            except BaseException:
                response.close()
                raise
            status = response.status
            response.release_conn()
        except HTTPError as error:
            # The text of urllib3's errors names the host and the pool: its kind is enough.
            raise UnavailableError(f"Customer.io: {type(error).__name__}") from None
        finally:
            self._telemetry.request(status=status, seconds=time.monotonic() - started)
        return _Response(response.status, data, response.headers.get("Retry-After"))


@dataclass(frozen=True, slots=True)
class _Response:
    status: int
    data: bytes
    retry_after: str | None


class _Visit:
    """One delivery to one workspace: what all its requests share."""

    def __init__(self, workspace: Workspace, url: str, time_left: TimeLeft) -> None:
        self.url = url
        self.time_left = time_left
        self.given_up: RetryableError | None = None
        self.secrets = (workspace.site_id, workspace.api_key)
        self.headers = {
            "Content-Type": "application/json",
            **make_headers(
                keep_alive=True,
                basic_auth=f"{workspace.site_id}:{workspace.api_key}",
                user_agent="audience-forwarder",
            ),
        }


def _late() -> OutOfTimeError:
    return OutOfTimeError("Customer.io did not answer in time")


def _read_bounded(response: urllib3.BaseHTTPResponse, time_left: TimeLeft) -> bytes:
    read = bytearray()
    while part := response.read1(1 << 16):
        read += part
        if len(read) > MAX_ANSWER_BYTES:
            raise UnavailableError("Customer.io's answer is too long")
        if time_left() <= 0:
            raise _late()
    return bytes(read)


def _retry_after(retry: Retry, response: _Response) -> float:
    """Return the seconds that Customer.io asks us to wait; 0 if it does not."""
    try:
        return retry.parse_retry_after(response.retry_after or "0")
    except (InvalidHeader, OverflowError, ValueError):
        return 0.0


def _rejected(visit: _Visit, reason: str, entity: bytes) -> PersonRejectedError:
    return PersonRejectedError(wire.without_values(reason, entity, secrets=visit.secrets))


def _graver(one: Outcome, other: Outcome) -> Outcome:
    """Return the outcome that counts for a person of several entities: retry, then reject."""
    return other if isinstance(other, RetryableError) or one is None else one

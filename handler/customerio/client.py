"""Client: posts persons to Customer.io in chunks, several in flight, over kept-alive connections.

Persons come in from jobs; wire.py packs them and reads the answers. Each person has an outcome.
Time is owned: nothing starts that the time left cannot finish.
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
from urllib3.exceptions import HTTPError, InvalidHeader
from urllib3.util import Retry, Timeout, make_headers

from handler.clock import Now, Sleep, TimeLeft
from handler.customerio import wire
from handler.customerio.rate_limit import RateLimit
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

CHUNKS_IN_FLIGHT: Final = 4
"""Chunks of one delivery that are posted at a time."""

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
        now: Now,
        requests_per_second: float,
        url: str = "",
        region_urls: Mapping[str, str] = REGION_URLS,
    ) -> None:
        """Keep what posting needs; `url`, if not empty, takes the place of the region's.

        `requests_per_second` is what this client may send to each workspace: its share of what all
        clients may send together.
        """
        self._pool = pool
        self._executor = executor
        self._telemetry = telemetry
        self._draw = draw
        self._sleep = sleep
        self._rate_limit = RateLimit(requests_per_second, now=now)
        self._url = url
        self._region_urls = region_urls
        self._urls_asked_for: dict[Workspace, str] = {}

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
            session = _Session(workspace, url, time_left)
        except RetryableError as error:
            return [error] * len(persons)
        except TimeoutError:
            return [_late()] * len(persons)
        outcomes: list[Outcome] = [None] * len(persons)
        chunks = wire.chunks(map(wire.entities, persons))
        posts: dict[Future[list[tuple[int, Outcome]]], wire.Chunk] = {}
        while True:
            for chunk in islice(chunks, CHUNKS_IN_FLIGHT - len(posts)):
                posts[self._executor.submit(self._post, session, chunk)] = chunk
            if not posts:
                return outcomes
            # A request's timeouts bound each wait for a byte; this one bounds the whole delivery.
            done, _ = wait(posts, timeout=max(0.0, time_left()), return_when=FIRST_COMPLETED)
            for post in done or [*posts]:
                for owner, outcome in self._result(session, post, posts.pop(post)):
                    outcomes[owner] = _worse(outcomes[owner], outcome)

    def _result(
        self, session: _Session, post: Future[list[tuple[int, Outcome]]], chunk: wire.Chunk
    ) -> list[tuple[int, Outcome]]:
        if post.done():
            return post.result()
        post.cancel()
        session.aborted_by = _late()
        return [(owner, session.aborted_by) for owner in chunk.owners]

    def _post(self, session: _Session, chunk: wire.Chunk) -> list[tuple[int, Outcome]]:
        """Post a chunk; if it is refused as a whole, its halves, down to the refused entity."""
        if session.aborted_by is not None:
            return [(owner, session.aborted_by) for owner in chunk.owners]
        try:
            read = partial(wire.read_answer, count=len(chunk.entities))
            answer = self._ask(session, "/api/v2/batch", read, body=chunk.body)
        except RetryableError as error:
            session.aborted_by = error
            return [(owner, error) for owner in chunk.owners]
        if isinstance(answer, wire.Refused) and len(chunk.entities) > 1:
            first, second = chunk.halves()
            return self._post(session, first) + self._post(session, second)
        refusals = {0: answer.reason} if isinstance(answer, wire.Refused) else answer
        return [
            (owner, PersonRejectedError(refusals[place]) if place in refusals else None)
            for place, owner in enumerate(chunk.owners)
        ]

    def _known_url(self, workspace: Workspace) -> str | None:
        if self._url or workspace.region != "auto":
            return self._url or self._region_urls[workspace.region]
        return self._urls_asked_for.get(workspace)

    def _ask_region(self, workspace: Workspace, time_left: TimeLeft) -> str:
        session = _Session(workspace, self._region_urls["us"], time_left)
        region = self._ask(session, "/api/v1/accounts/region", wire.read_region)
        self._urls_asked_for[workspace] = self._region_urls[region]
        return self._region_urls[region]

    def _ask(
        self,
        session: _Session,
        path: str,
        read: Callable[[int, bytes], _Answer],
        body: bytes | None = None,
    ) -> _Answer:
        """Send one request, and retry errors while tries and time are left; read the answer.

        Raises the RetryableError that the last try ended in.
        """
        tries = 0
        while True:
            self._wait_for_turn(session)
            tries += 1
            asked_to_wait = 0.0
            try:
                response = self._request(session, path, body)
                asked_to_wait = _retry_after(response)
                return read(response.status, response.data)
            except (ThrottledError, UnavailableError) as error:
                wait = asked_to_wait + full_jitter(tries, self._draw)
                if tries == MAX_TRIES or wait > session.time_left() - SHORTEST_TRY_S:
                    raise
                self._telemetry.request_retried(error)
            self._sleep(wait)

    def _wait_for_turn(self, session: _Session) -> None:
        """Wait until the rate limit allows a request.

        Raises OutOfTimeError if no time would be left for it, and what aborts the session.
        """
        session.check()
        within = session.time_left() - SHORTEST_TRY_S
        wait = self._rate_limit.reserve(session.site_id, within=within)
        if wait is None:
            raise OutOfTimeError("no time left for a request to Customer.io")
        if wait:
            self._sleep(wait)
            session.check()

    def _request(self, session: _Session, path: str, body: bytes | None) -> _Response:
        """Send one request and read its answer, whatever its status, within the time left."""
        started = time.monotonic()
        status = 0
        try:
            response = self._pool.request(
                "GET" if body is None else "POST",
                session.url + path,
                body=body,
                headers=session.headers,
                timeout=Timeout(
                    total=session.time_left(), connect=CONNECT_TIMEOUT_S, read=READ_TIMEOUT_S
                ),
                retries=False,
                redirect=False,
                preload_content=False,
                decode_content=False,
            )
            try:
                data = _read_bounded(response, session.time_left)
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


class _Session:
    """One delivery to one workspace: what all its requests share."""

    def __init__(self, workspace: Workspace, url: str, time_left: TimeLeft) -> None:
        self.url = url
        self.time_left = time_left
        self.aborted_by: RetryableError | None = None
        self.site_id = workspace.site_id
        self.headers = {
            "Content-Type": "application/json",
            **make_headers(
                keep_alive=True,
                basic_auth=f"{workspace.site_id}:{workspace.api_key}",
                user_agent="audience-forwarder",
            ),
        }

    def check(self) -> None:
        """Raise what aborts the session, if anything does."""
        if self.aborted_by is not None:
            raise self.aborted_by.with_traceback(None)


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


def _retry_after(response: _Response) -> float:
    """Return the seconds that Customer.io asks us to wait; 0 if it does not."""
    try:
        return Retry().parse_retry_after(response.retry_after or "0")
    except (InvalidHeader, OverflowError, ValueError):
        return 0.0


def _worse(first: Outcome, second: Outcome) -> Outcome:
    """Return the outcome that counts for a person of several entities: retry, then reject."""
    return second if isinstance(second, RetryableError) or first is None else first

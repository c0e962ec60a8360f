"""Client: posts persons to Customer.io in chunks, several in flight, and retries.

Persons come in from jobs; wire.py packs them and reads the answers, transport.py carries both.
Each person gets an outcome. Nothing starts that the time left cannot finish.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from functools import partial
from itertools import islice
from typing import Final, TypeVar

import msgspec
import urllib3
from urllib3.util import make_headers

from handler.clock import Deadline, Draw, Now, Sleep
from handler.customerio import transport, wire
from handler.customerio.circuit_breaker import CircuitBreaker
from handler.customerio.rate_limit import RateLimit
from handler.customerio.transport import Telemetry, Transport
from handler.domain.attributes import Person
from handler.domain.erasure import Deletion
from handler.domain.workspace import Workspace
from handler.errors import (
    EventRejectedError,
    Failure,
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
SHORTEST_TRY_S: Final = 1.0
"""A request is not started with less time than this."""

CHUNKS_IN_FLIGHT: Final = 4
"""Chunks of one delivery that are posted at a time."""

_Failures = list[tuple[int, Failure]]  # with the place of each one's person

_Answer = TypeVar("_Answer")


def full_jitter(tries: int, draw: Draw) -> float:
    """Return seconds to wait after so many failed tries, counted from 1."""
    return draw(0.0, min(8.0, 0.25 * 2 ** (tries - 1)))


class TrackApi:
    """Customer.io's Track API. Safe to use from several threads.

    `requests_per_second` is what this client may send to each workspace: its share of what all
    clients may send together. A `url` that is not empty replaces the region's.
    """

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
        self._transport = Transport(pool, telemetry)
        self._executor = executor
        self._telemetry = telemetry
        self._draw = draw
        self._sleep = sleep
        self._rate_limit = RateLimit(requests_per_second, now=now)
        self._circuit_breaker = CircuitBreaker(now=now, draw=draw)
        self._url = url
        self._region_urls = region_urls
        self._detected_urls: dict[Workspace, str] = {}

    def paused(self, workspace: Workspace) -> RetryableError | None:
        """Return why nothing is sent to a workspace for now; None if something may be sent.

        A workspace is paused after a delivery that failed: for 15 seconds, doubling with each
        failure in a row up to 4 minutes.
        """
        return self._circuit_breaker.paused(workspace)

    def needs_probe(self, workspace: Workspace) -> bool:
        """Tell whether a pause of a workspace is over, and no delivery succeeded since."""
        return self._circuit_breaker.needs_probe(workspace)

    def deliver(
        self, workspace: Workspace, persons: Sequence[Person | Deletion], *, deadline: Deadline
    ) -> list[Failure | None]:
        """Post persons and deletions; return, in order, why each failed, None if it did not.

        After a chunk has run out of tries or of time, those not yet started are not tried. While
        the workspace is paused, nothing is sent. After a pause the first request is tried once,
        and the rest waits for its success.
        """
        if not persons:
            return []
        try:
            is_probe = self._circuit_breaker.begin(workspace)
        except RetryableError as error:
            return [error] * len(persons)
        session = _Session(workspace, deadline, is_probe=is_probe)
        try:
            session.url = self._region_url(session)
            return self._post_all(session, persons)
        except RetryableError as error:
            session.abort(error)
            return [error] * len(persons)
        finally:
            self._circuit_breaker.end(workspace, session.failure, retry_after=session.retry_after)

    def _post_all(
        self, session: _Session, persons: Sequence[Person | Deletion]
    ) -> list[Failure | None]:
        failures: list[Failure | None] = [None] * len(persons)
        chunks = wire.chunks(
            wire.entities(person, owner=owner) for owner, person in enumerate(persons)
        )
        posts: dict[Future[_Failures], wire.Chunk] = {}
        while True:
            at_a_time = 1 if session.is_probe else CHUNKS_IN_FLIGHT
            for chunk in islice(chunks, at_a_time - len(posts)):
                posts[self._executor.submit(self._post, session, chunk)] = chunk
            if not posts:
                return failures
            # A request's timeouts bound each wait for a byte; this one bounds the whole delivery.
            seconds = session.deadline.seconds_left()
            done, _ = wait(posts, timeout=seconds, return_when=FIRST_COMPLETED)
            for post in done or [*posts]:
                for owner, failure in self._result(session, post, posts.pop(post)):
                    failures[owner] = _worse(failures[owner], failure)

    def _result(self, session: _Session, post: Future[_Failures], chunk: wire.Chunk) -> _Failures:
        if post.done():
            return post.result()
        post.cancel()
        late = transport.out_of_time()
        session.abort(late)
        return [(entity.owner, late) for entity in chunk.entities]

    def _post(self, session: _Session, chunk: wire.Chunk) -> _Failures:
        """Post a chunk; if it is refused as a whole, its halves, down to the refused entity."""
        try:
            read = partial(wire.read_answer, count=len(chunk.entities))
            answer = self._ask(session, "/api/v2/batch", read, body=chunk.body)
        except RetryableError as error:
            session.abort(error)
            return [(entity.owner, error) for entity in chunk.entities]
        if isinstance(answer, wire.Refused) and len(chunk.entities) > 1:
            first, second = chunk.halves()
            posted = self._post(session, first)
            rejected = {
                owner for owner, failure in posted if isinstance(failure, PersonRejectedError)
            }
            # Customer.io would reject their events, or accept them without the person.
            rest = second.without_events_of(rejected)
            return posted + self._post(session, rest) if rest.entities else posted
        refusals = {0: answer.reason} if isinstance(answer, wire.Refused) else answer
        return [_rejected(chunk.entities[place], refusals[place]) for place in sorted(refusals)]

    def _region_url(self, session: _Session) -> str:
        """Return the URL of the workspace's region; if that is `auto`, ask Customer.io once."""
        workspace = session.workspace
        if self._url or workspace.region != "auto":
            return self._url or self._region_urls[workspace.region]
        if workspace not in self._detected_urls:
            session.url = self._region_urls["us"]
            path = "/api/v1/accounts/region"
            answer = self._executor.submit(self._ask, session, path, wire.read_region)
            try:
                region = answer.result(session.deadline.seconds_left())
            except TimeoutError:
                raise transport.out_of_time() from None
            self._detected_urls[workspace] = self._region_urls[region]
        return self._detected_urls[workspace]

    def _ask(
        self,
        session: _Session,
        path: str,
        read: Callable[[int, bytes], _Answer],
        body: bytes | None = None,
    ) -> _Answer:
        """Send one request, and retry errors while tries and time are left; read the answer.

        Raises the RetryableError of the last try.
        """
        tries = 0
        while True:
            self._wait_for_turn(session)
            tries += 1
            retry_after = 0.0
            try:
                response = self._transport.request(
                    session.url + path, body, headers=session.headers, deadline=session.deadline
                )
                retry_after = response.retry_after
                answer = read(response.status, response.data)
            except (ThrottledError, UnavailableError) as error:
                session.last_error = error
                session.retry_after = max(session.retry_after, retry_after)
                wait = retry_after + full_jitter(tries, self._draw)
                is_last = session.is_probe or tries == MAX_TRIES
                if is_last or not session.deadline.allows(wait + SHORTEST_TRY_S):
                    raise
                self._telemetry.request_retried(error)
            else:
                session.is_probe, session.last_error = False, None
                self._circuit_breaker.close(session.workspace)
                return answer
            self._sleep(wait)

    def _wait_for_turn(self, session: _Session) -> None:
        """Wait until the rate limit allows a request.

        Raises OutOfTimeError if no time would be left, and the error that aborted the session.
        """
        session.check()
        within = session.deadline.seconds_left() - SHORTEST_TRY_S
        wait = self._rate_limit.reserve(session.workspace.site_id, within=within)
        if wait is None:
            raise OutOfTimeError("no time left for a request to Customer.io")
        if wait:
            self._sleep(wait)
            session.check()


class _Session(msgspec.Struct):
    """What all requests of one delivery to one workspace share."""

    workspace: Workspace
    deadline: Deadline
    is_probe: bool
    url: str = ""
    aborted_by: RetryableError | None = None
    last_error: RetryableError | None = None
    retry_after: float = 0.0

    @property
    def headers(self) -> dict[str, str]:
        authorization = make_headers(
            keep_alive=True,
            basic_auth=f"{self.workspace.site_id}:{self.workspace.api_key}",
            user_agent="audience-forwarder",
        )
        return {"Content-Type": "application/json", **authorization}

    def abort(self, error: RetryableError) -> None:
        """Let no other request begin. An error from Customer.io replaces a lack of time."""
        if self.aborted_by is None or isinstance(self.aborted_by, OutOfTimeError):
            self.aborted_by = error

    def check(self) -> None:
        """Raise the error that aborted the session, if there is one."""
        if self.aborted_by is not None:
            raise self.aborted_by.with_traceback(None)

    @property
    def failure(self) -> RetryableError | None:
        """The error that shows that the workspace is down; None if there is none.

        If time ran out, it is the error of the last request.
        """
        if isinstance(self.aborted_by, OutOfTimeError):
            return self.last_error
        return self.aborted_by


def _rejected(entity: wire.Entity, reason: str) -> tuple[int, Failure]:
    error = EventRejectedError if entity.is_event else PersonRejectedError
    return entity.owner, error(reason)


def _worse(first: Failure | None, second: Failure) -> Failure:
    """Return the worse of two failures of a person: retry, person rejected, event rejected."""
    worst_first = (RetryableError, PersonRejectedError, EventRejectedError)
    return next(each for kind in worst_first for each in (first, second) if isinstance(each, kind))

"""Server: the Track API on HTTP, with the control endpoint beside it.

track.py reads the body of a request, faults.py says what goes wrong with it, and this module does
that to the connection. The server listens on loopback only and logs nothing. Credentials are
compared and never kept in a record.
"""

from __future__ import annotations

import asyncio
import hmac
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeAlias

import msgspec
from aiohttp import BasicAuth, web

from local.fake_customerio import track
from local.fake_customerio.control import Control
from local.fake_customerio.faults import Fault, FaultKind
from local.fake_customerio.journal import RequestRecord
from local.fake_customerio.people import Entity, People
from local.fake_customerio.state import State
from local.fake_customerio.track import Answer, Call, Refusal

_HOST = "127.0.0.1"
# Far above the API's own limit, so that track.py answers a body that is too large, not aiohttp.
_MAX_BYTES = 16_000_000
_UNAUTHORIZED = track.fixed(
    track.json_answer(401, {"meta": {"error": "unauthorized"}}, "wrong credentials")
)
_NOT_FOUND = track.fixed(track.json_answer(404, {"meta": {"error": "not found"}}, "no such path"))
_NONSENSE = "<!doctype html><title>Welcome</title><p>Please sign in to use this network.</p>"

_Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]
_Reader: TypeAlias = Callable[[web.Request, bytes], Call]


class TrackServer:
    """The handlers of the Track API."""

    def __init__(self, state: State, region: str) -> None:
        """Answer for the accounts of this state, all of which are in one region."""
        self._state = state
        self._region = region

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.post("/api/v2/batch", self._track(lambda _, body: track.batch(body))),
            web.post("/api/v2/entity", self._track(lambda _, body: track.entity(body))),
            web.put("/api/v1/customers/{identifier}", self._track(_identify)),
            web.delete("/api/v1/customers/{identifier}", self._track(_delete)),
            web.get("/api/v1/accounts/region", self._track(self._region_of)),
            web.route("*", "/api/{anything:.*}", self._track(lambda *_: _NOT_FOUND)),
        ]

    def _track(self, read: _Reader) -> _Handler:
        """Return a handler; `read` turns its requests into calls."""

        async def handle(request: web.Request) -> web.StreamResponse:
            session, arrived, started = self._state.session, time.time(), time.monotonic()
            body = await request.read()
            site_id = self._site_id(request)
            call = read(request, body) if site_id else _UNAUTHORIZED
            faults = session.faults.take(request.path, call.read) if site_id else []
            fault = faults[0] if faults else None
            if fault and fault.delay:
                await asyncio.sleep(fault.delay)
            answer, refused = _answer(call, site_id, session.people, faults)
            is_dropped = fault is not None and fault.kind in {FaultKind.DROP, FaultKind.DROP_AFTER}
            session.journal.add(
                RequestRecord(
                    time=arrived,
                    method=request.method,
                    path=request.path,
                    site_id=site_id,
                    entities=len(call.entities),
                    refused=len(refused),
                    reason="" if is_dropped else answer.reason,
                    status=None if is_dropped else answer.status,
                    fault=fault.kind if fault else None,
                    duration=time.monotonic() - started,
                ),
                body,
            )
            return await _respond(request, answer, fault)

        return handle

    def _site_id(self, request: web.Request) -> str:
        """Return the site id of a request; empty if its credentials are wrong."""
        with suppress(ValueError):
            auth = BasicAuth.decode(request.headers.get("Authorization", ""), encoding="utf-8")
            site_id: str = auth.login
            expected = self._state.accounts.get(site_id, "")
            if expected and hmac.compare_digest(auth.password.encode(), expected.encode()):
                return site_id
        return ""

    def _region_of(self, request: web.Request, _body: bytes) -> Call:
        content = {
            "url": f"http://{request.host}",
            "region": self._region,
            "environment_id": list(self._state.accounts).index(self._site_id(request)) + 1,
        }
        return track.fixed(track.json_answer(200, content))


async def serve(state: State, *, region: str, port: int) -> None:
    """Serve on loopback until SIGTERM or Ctrl-C; print the address once the server listens."""
    app = web.Application(client_max_size=_MAX_BYTES)
    app.add_routes([*TrackServer(state, region).routes(), *Control(state).routes()])
    # Cut off requests in progress; a timeout of 0 would wait for them forever.
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, _HOST, port).start()
        stop = asyncio.Event()
        for signal_number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(signal_number, stop.set)
        url = f"http://{_HOST}:{runner.addresses[0][1]}"
        sys.stdout.write(msgspec.json.encode({"url": url}).decode() + "\n")
        sys.stdout.flush()
        await stop.wait()
    finally:
        await runner.cleanup()


def _identify(request: web.Request, body: bytes) -> Call:
    return track.customer("identify", request.match_info["identifier"], body)


def _delete(request: web.Request, _body: bytes) -> Call:
    return track.customer("delete", request.match_info["identifier"], b"")


def _answer(
    call: Call, site_id: str, people: People, faults: list[Fault]
) -> tuple[Answer, dict[int, Refusal]]:
    """Apply the request unless a fault prevents it; return the answer and the refusals."""
    refused: dict[int, Refusal] = {}
    # A fault with which the request is applied comes first, and refusals after it.
    match faults[-1:]:
        case [Fault(kind=FaultKind.STATUS) as fault]:
            answer = Answer(fault.status, fault.body.encode(), fault.headers)
        case [Fault(kind=FaultKind.NONSENSE) as fault]:
            headers = {"Content-Type": "text/html"} | fault.headers
            answer = Answer(200, (fault.body or _NONSENSE).encode(), headers)
        case [Fault(kind=FaultKind.REFUSE_BATCH) as fault]:
            answer = track.refused_whole(400, _refusal(fault))
        case [Fault(kind=FaultKind.DROP)]:
            answer = Answer(0, b"")
        case _:
            refusing = [fault for fault in faults if fault.kind is FaultKind.REFUSE]

            def refuse(entity: Entity) -> Refusal | None:
                return next((_refusal(each) for each in refusing if each.concerns(entity)), None)

            refused = track.perform(call, site_id, people, refuse)
            answer = call.answer(refused)
    return answer, refused


async def _respond(
    request: web.Request, answer: Answer, fault: Fault | None
) -> web.StreamResponse:
    """Send the answer, or break the connection if the fault asks for it."""
    kind = fault.kind if fault else None
    if kind is FaultKind.TRUNCATE:
        response = web.StreamResponse(status=answer.status, headers=answer.headers)
        response.content_length = len(answer.body)
        await response.prepare(request)
        await response.write(answer.body[: len(answer.body) // 2])
    if kind in {FaultKind.TRUNCATE, FaultKind.DROP, FaultKind.DROP_AFTER}:
        if request.transport:
            request.transport.abort()
        return web.Response()
    return web.Response(status=answer.status, headers=answer.headers, body=answer.body)


def _refusal(fault: Fault) -> Refusal:
    field = "name" if fault.event else "identifiers"
    return Refusal(fault.reason, field, "refused by a planned fault")

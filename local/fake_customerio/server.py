"""Server: the Track API, the control endpoint and the page, on HTTP.

Requests come in here and go on as bytes to track.py; what faults.py says about them is done to
the connection. It listens on loopback only and logs nothing; credentials are compared and never
kept in a record.

| control endpoint | |
| --- | --- |
| `GET /control/people?site_id=&search=&limit=` | the people, the one updated last at the end |
| `GET /control/requests?limit=` | the requests, oldest first |
| `GET /control/updates?person=` | what the latest requests said of a person, oldest first |
| `GET`, `POST`, `DELETE /control/faults` | the faults planned; plan one more; forget them all |
| `PUT /control/faults` | replace the faults planned by these, and return those as of then |
| `PUT /control/accounts` | replace the credentials: `{"site id": "API key"}` |
| `PUT /control/ordering` | what timestamps put in order: `"updates"` or `"attributes"` |
| `DELETE /control` | forget people, requests and faults; the ordering is that of the start |
"""

from __future__ import annotations

import asyncio
import hmac
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import resources
from typing import TypeAlias

import msgspec
from aiohttp import BasicAuth, web

from local.fake_customerio import track
from local.fake_customerio.faults import Fault, FaultKind, Faults, PlannedFault
from local.fake_customerio.journal import Journal, RequestRecord
from local.fake_customerio.people import Entity, Ordering, People
from local.fake_customerio.track import Answer, Call, Refusal

_HOST = "127.0.0.1"
# Far above what the API takes, so that the answer to too much is the API's and not aiohttp's.
_MOST_BYTES = 16_000_000
_UNAUTHORIZED = track.fixed(
    track.json_answer(401, {"meta": {"error": "unauthorized"}}, "wrong credentials")
)
_NOT_FOUND = track.fixed(track.json_answer(404, {"meta": {"error": "not found"}}, "no such path"))
_NONSENSE = "<!doctype html><title>Welcome</title><p>Please sign in to use this network.</p>"

# The page is one file and speaks to this server only, whatever people's attributes hold.
_PAGE_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data:; connect-src 'self'"
)

_Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]
_Reader: TypeAlias = Callable[[web.Request, bytes], Call]


@dataclass(frozen=True, slots=True)
class _State:
    """What a reset forgets; a request under way then still belongs to the state it met."""

    people: People
    journal: Journal = field(default_factory=Journal)
    faults: Faults = field(default_factory=Faults)


class FakeServer:
    """The accounts, the state, and the handlers that speak for them."""

    def __init__(self, accounts: Mapping[str, str], region: str, ordering: Ordering) -> None:
        """Accept these API keys by site id; each site id is a workspace of its own."""
        self._accounts = dict(accounts)
        self._region = region
        self._page = resources.files(__package__).joinpath("page.html").read_text("utf-8")
        self._ordering = ordering
        self._state = _State(People(ordering))

    def app(self) -> web.Application:
        """Return the application with all its routes."""
        app = web.Application(client_max_size=_MOST_BYTES)
        app.add_routes(
            [
                web.post("/api/v2/batch", self._track(lambda _, body: track.batch(body))),
                web.post("/api/v2/entity", self._track(lambda _, body: track.entity(body))),
                web.put("/api/v1/customers/{identifier}", self._track(_identify)),
                web.delete("/api/v1/customers/{identifier}", self._track(_delete)),
                web.get("/api/v1/accounts/region", self._track(self._region_of)),
                web.route("*", "/api/{anything:.*}", self._track(lambda *_: _NOT_FOUND)),
                web.get("/control/people", self._get_people),
                web.get("/control/requests", self._get_requests),
                web.get("/control/updates", self._get_updates),
                web.get("/control/faults", self._get_faults),
                web.put("/control/faults", self._replan_faults),
                web.post("/control/faults", self._plan_fault),
                web.delete("/control/faults", self._forget_faults),
                web.put("/control/accounts", self._put_accounts),
                web.put("/control/ordering", self._put_ordering),
                web.delete("/control", self._reset),
                web.get("/", self._get_page),
            ]
        )
        return app

    def _track(self, read: _Reader) -> _Handler:
        """Return a handler for one Track API call, which `read` makes of the request."""

        async def handle(request: web.Request) -> web.StreamResponse:
            state, arrived, started = self._state, time.time(), time.monotonic()
            body = await request.read()
            site_id = self._site_id(request)
            call = read(request, body) if site_id else _UNAUTHORIZED
            faults = state.faults.take(request.path, call.identifiers()) if site_id else []
            fault = faults[0] if faults else None
            if fault and fault.delay:
                await asyncio.sleep(fault.delay)
            answer, refused = _answer(call, site_id, state.people, faults)
            is_dropped = fault is not None and fault.kind in {FaultKind.DROP, FaultKind.DROP_AFTER}
            state.journal.add(
                RequestRecord(
                    time=arrived,
                    method=request.method,
                    path=request.path,
                    site_id=site_id,
                    people=len(call.entities),
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
        """Return whose credentials these are; empty when they are nobody's."""
        with suppress(ValueError):
            auth = BasicAuth.decode(request.headers.get("Authorization", ""), encoding="utf-8")
            site_id: str = auth.login
            expected = self._accounts.get(site_id, "")
            if expected and hmac.compare_digest(auth.password.encode(), expected.encode()):
                return site_id
        return ""

    def _region_of(self, request: web.Request, _body: bytes) -> Call:
        content = {
            "url": f"http://{request.host}",
            "region": self._region,
            "environment_id": list(self._accounts).index(self._site_id(request)) + 1,
        }
        return track.fixed(track.json_answer(200, content))

    async def _get_people(self, request: web.Request) -> web.Response:
        people = self._state.people.find(
            request.query.get("site_id"), request.query.get("search", "")
        )
        return _json({"total": len(people), "people": people[-_limit(request) :]})

    async def _get_requests(self, request: web.Request) -> web.Response:
        requests = list(self._state.journal.records)[-_limit(request) :]
        return _json({"total": self._state.journal.total, "requests": requests})

    async def _get_updates(self, request: web.Request) -> web.Response:
        person = request.query.get("person", "")
        updates = [
            {"request": record, "entity": each}
            for record, body in self._state.journal.naming(person)
            for each in track.batch(body).entities
            if isinstance(each, Entity) and person in each.identifiers.values()
        ]
        return _json({"updates": updates})

    async def _get_faults(self, _request: web.Request) -> web.Response:
        return _json(
            {"planned": self._state.faults.planned, "applied": self._state.faults.applied}
        )

    async def _plan_fault(self, request: web.Request) -> web.Response:
        try:
            fault = msgspec.json.decode(await request.read(), type=Fault)
        except msgspec.DecodeError as error:
            raise web.HTTPBadRequest(text=str(error)) from error
        self._state.faults.planned.append(PlannedFault(fault))
        return web.Response(status=204)

    async def _replan_faults(self, request: web.Request) -> web.Response:
        try:
            faults = msgspec.json.decode(await request.read(), type=list[Fault])
        except msgspec.DecodeError as error:
            raise web.HTTPBadRequest(text=str(error)) from error
        before = self._state.faults.planned
        self._state.faults.planned = [PlannedFault(fault) for fault in faults]
        return _json({"planned": before, "applied": self._state.faults.applied})

    async def _forget_faults(self, _request: web.Request) -> web.Response:
        self._state.faults.planned.clear()
        return web.Response(status=204)

    async def _put_accounts(self, request: web.Request) -> web.Response:
        try:
            self._accounts = msgspec.json.decode(await request.read(), type=dict[str, str])
        except msgspec.DecodeError as error:
            raise web.HTTPBadRequest(text=str(error)) from error
        return web.Response(status=204)

    async def _put_ordering(self, request: web.Request) -> web.Response:
        try:
            ordering = msgspec.json.decode(await request.read(), type=Ordering)
        except msgspec.DecodeError as error:
            raise web.HTTPBadRequest(text=str(error)) from error
        self._state.people.ordering = ordering
        return web.Response(status=204)

    async def _reset(self, _request: web.Request) -> web.Response:
        self._state = _State(People(self._ordering))
        return web.Response(status=204)

    async def _get_page(self, _request: web.Request) -> web.Response:
        headers = {"Content-Security-Policy": _PAGE_POLICY}
        return web.Response(text=self._page, content_type="text/html", headers=headers)


async def serve(server: FakeServer, port: int) -> None:
    """Serve on loopback until told to stop; print the address once it listens."""
    # Requests under way are cut off; a timeout of 0 would wait for them without end.
    runner = web.AppRunner(server.app(), access_log=None, shutdown_timeout=0.1)
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
    """Take the request unless a fault is in the way; return the answer and the refusals."""
    refused: dict[int, Refusal] = {}
    # A fault that lets the request be taken comes first, and refusals after it.
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
            unwanted = {
                fault.person: _refusal(fault)
                for fault in faults
                if fault.person and fault.kind is FaultKind.REFUSE
            }
            refused = track.perform(call, site_id, people, unwanted)
            answer = call.answer(refused)
    return answer, refused


async def _respond(
    request: web.Request, answer: Answer, fault: Fault | None
) -> web.StreamResponse:
    """Send the answer, or break the connection where the fault says so."""
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
    return Refusal(fault.reason, "identifiers", "refused by a planned fault")


def _limit(request: web.Request) -> int:
    """Return how many of the latest are wanted; 0, which slices nothing off, for all."""
    limit = request.query.get("limit", "0")
    if not limit.isdecimal():
        raise web.HTTPBadRequest(text="limit is a number")
    return int(limit)


def _json(content: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(content), content_type="application/json")

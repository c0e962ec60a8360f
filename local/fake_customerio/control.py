"""Control: the control endpoint, with which tests and people steer the fake, and the page.

| request | |
| --- | --- |
| `GET /control/people?site_id=&search=&limit=` | the people found, the last updated at the end |
| `GET /control/removals?limit=` | who was deleted or suppressed, the last removed at the end |
| `GET /control/requests?limit=` | the requests, oldest first |
| `GET /control/updates?person=` | the entities of a person in the latest requests, oldest first |
| `GET`, `POST`, `DELETE /control/faults` | the planned faults; plan one more; forget all |
| `PUT /control/faults` | replace the planned faults, and return them as they were until then |
| `PUT /control/accounts` | replace the credentials: `{"site id": "API key"}` |
| `PUT /control/ordering` | what timestamps put in order: `"updates"` or `"attributes"` |
| `DELETE /control` | forget people, requests and faults; order timestamps as at the start |
"""

from __future__ import annotations

from importlib import resources
from typing import TypeVar

import msgspec
from aiohttp import web

from local.fake_customerio import track
from local.fake_customerio.faults import Fault, PlannedFault
from local.fake_customerio.people import Entity, Ordering
from local.fake_customerio.search import matching
from local.fake_customerio.state import State

# The page is one file and speaks to this server only, whatever people's attributes contain.
_PAGE_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data:; connect-src 'self'"
)

_Content = TypeVar("_Content")


class Control:
    """The handlers of the control endpoint and of the page."""

    def __init__(self, state: State) -> None:
        """Show and change this state."""
        self._state = state
        self._page = resources.files(__package__).joinpath("page.html").read_text("utf-8")

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.get("/control/people", self._get_people),
            web.get("/control/removals", self._get_removals),
            web.get("/control/requests", self._get_requests),
            web.get("/control/updates", self._get_updates),
            web.get("/control/faults", self._get_faults),
            web.put("/control/faults", self._put_faults),
            web.post("/control/faults", self._post_fault),
            web.delete("/control/faults", self._delete_faults),
            web.put("/control/accounts", self._put_accounts),
            web.put("/control/ordering", self._put_ordering),
            web.delete("/control", self._reset),
            web.get("/", self._get_page),
        ]

    async def _get_people(self, request: web.Request) -> web.Response:
        people = matching(
            self._state.session.people.find(request.query.get("site_id")),
            request.query.get("search", ""),
        )
        return _json({"total": len(people), "people": people[-_limit(request) :]})

    async def _get_removals(self, request: web.Request) -> web.Response:
        removed = self._state.session.people.removals.people()
        return _json({"total": len(removed), "people": removed[-_limit(request) :]})

    async def _get_requests(self, request: web.Request) -> web.Response:
        journal = self._state.session.journal
        requests = list(journal.records)[-_limit(request) :]
        return _json({"total": journal.total, "requests": requests})

    async def _get_updates(self, request: web.Request) -> web.Response:
        person = request.query.get("person", "")
        updates = [
            {"request": record, "entity": each}
            for record, body in self._state.session.journal.naming(person)
            for each in track.batch(body).entities
            if isinstance(each, Entity) and person in each.identifiers.values()
        ]
        return _json({"updates": updates})

    async def _get_faults(self, _request: web.Request) -> web.Response:
        faults = self._state.session.faults
        return _json({"planned": faults.planned, "applied": faults.applied})

    async def _post_fault(self, request: web.Request) -> web.Response:
        fault = await _read(request, Fault)
        self._state.session.faults.planned.append(PlannedFault(fault))
        return web.Response(status=204)

    async def _put_faults(self, request: web.Request) -> web.Response:
        planned = await _read(request, list[Fault])
        faults = self._state.session.faults
        before, faults.planned = faults.planned, [PlannedFault(fault) for fault in planned]
        return _json({"planned": before, "applied": faults.applied})

    async def _delete_faults(self, _request: web.Request) -> web.Response:
        self._state.session.faults.planned.clear()
        return web.Response(status=204)

    async def _put_accounts(self, request: web.Request) -> web.Response:
        self._state.accounts = await _read(request, dict[str, str])
        return web.Response(status=204)

    async def _put_ordering(self, request: web.Request) -> web.Response:
        self._state.session.people.ordering = await _read(request, Ordering)
        return web.Response(status=204)

    async def _reset(self, _request: web.Request) -> web.Response:
        self._state.reset()
        return web.Response(status=204)

    async def _get_page(self, _request: web.Request) -> web.Response:
        headers = {"Content-Security-Policy": _PAGE_POLICY}
        return web.Response(text=self._page, content_type="text/html", headers=headers)


async def _read(request: web.Request, kind: type[_Content]) -> _Content:
    try:
        return msgspec.json.decode(await request.read(), type=kind)
    except msgspec.DecodeError as error:
        raise web.HTTPBadRequest(text=str(error)) from error


def _limit(request: web.Request) -> int:
    """Return how many of the latest are asked for; 0 means all, as `[-0:]` cuts nothing off."""
    limit = request.query.get("limit", "0")
    if not limit.isdecimal():
        raise web.HTTPBadRequest(text="limit is not a number")
    return int(limit)


def _json(content: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(content), content_type="application/json")

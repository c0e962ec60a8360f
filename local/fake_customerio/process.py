"""Process: starts the fake from Python, in a process of its own, and talks to it.

with FakeCustomerio.start({"site-a": "key-a"}) as fake:
    fake.misbehave(Fault(FaultKind.STATUS, status=429, headers={"Retry-After": "1"}))
    ...
    print(fake.people())
"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec
import urllib3

from local.fake_customerio.faults import Fault, FaultKind, PlannedFault
from local.fake_customerio.journal import RequestRecord
from local.fake_customerio.people import Entity, Ordering, PersonRecord
from local.fake_customerio.removals import RemovedPerson

_PROJECT = Path(__file__).parents[2]
_SECONDS_TO_STOP = 5.0


class _Address(msgspec.Struct):
    url: str


class _People(msgspec.Struct):
    people: list[PersonRecord]


class _Removals(msgspec.Struct):
    people: list[RemovedPerson]


class Update(msgspec.Struct):
    """The entity of one person in one request."""

    request: RequestRecord
    entity: Entity


class _Updates(msgspec.Struct):
    updates: list[Update]


class _Requests(msgspec.Struct):
    requests: list[RequestRecord]


class _Faults(msgspec.Struct):
    planned: list[PlannedFault]
    applied: dict[FaultKind, int]


class FakeCustomerio:
    """A fake Customer.io that runs somewhere on this machine."""

    def __init__(self, url: str) -> None:
        """Talk to the fake at this address."""
        self.url = url
        self._http = urllib3.PoolManager(retries=False, timeout=30)

    @classmethod
    def at(cls, url: str) -> FakeCustomerio:
        """Return the fake that runs at this address."""
        return cls(url.rstrip("/"))

    @classmethod
    @contextmanager
    def start(
        cls,
        accounts: Mapping[str, str],
        *,
        region: str = "us",
        ordering: Ordering = Ordering.UPDATES,
    ) -> Iterator[FakeCustomerio]:
        """Run a fake that accepts these API keys by site id, until the block ends."""
        command = [sys.executable, "-m", "local.fake_customerio", "--port", "0"]
        command += ["--region", region, "--ordering", ordering]
        command += [f"--account={site_id}:{api_key}" for site_id, api_key in accounts.items()]
        with subprocess.Popen(command, cwd=_PROJECT, stdout=subprocess.PIPE) as process:
            try:
                yield cls.at(_address(process))
            finally:
                _stop(process)

    def people(self, site_id: str | None = None) -> list[PersonRecord]:
        """Return the people of one workspace, or of all, the last updated at the end."""
        query = {} if site_id is None else {"site_id": site_id}
        return msgspec.json.decode(self._ask("GET", "/people", query), type=_People).people

    def removed(self) -> list[RemovedPerson]:
        """Return who was deleted or suppressed and is not back, the last removed at the end."""
        return msgspec.json.decode(self._ask("GET", "/removals"), type=_Removals).people

    def requests(self) -> list[RequestRecord]:
        """Return the last 10,000 requests, oldest first."""
        return msgspec.json.decode(self._ask("GET", "/requests"), type=_Requests).requests

    def updates(self, person: str) -> list[Update]:
        """Return the entities of a person in the latest batch requests, oldest first."""
        answer = self._ask("GET", "/updates", {"person": person})
        return msgspec.json.decode(answer, type=_Updates).updates

    def misbehave(self, *faults: Fault) -> None:
        """Plan faults, after those that are planned already."""
        for fault in faults:
            self._ask("POST", "/faults", content=fault)

    def replan(self, *faults: Fault) -> list[PlannedFault]:
        """Replace the planned faults; return them, with how often each applied."""
        return msgspec.json.decode(
            self._ask("PUT", "/faults", content=faults), type=_Faults
        ).planned

    def behave(self) -> None:
        """Remove the planned faults; the counts of `applied` stay."""
        self._ask("DELETE", "/faults")

    def faults(self) -> list[PlannedFault]:
        """Return the planned faults, also used-up ones, and how often each applied."""
        return msgspec.json.decode(self._ask("GET", "/faults"), type=_Faults).planned

    def applied(self) -> Counter[FaultKind]:
        """Return how often each kind of fault applied since the last reset."""
        return Counter(msgspec.json.decode(self._ask("GET", "/faults"), type=_Faults).applied)

    def rotate(self, accounts: Mapping[str, str]) -> None:
        """Accept these API keys by site id, and no others."""
        self._ask("PUT", "/accounts", content=accounts)

    def order_by(self, ordering: Ordering) -> None:
        """Order updates or attributes by timestamps, until the next reset."""
        self._ask("PUT", "/ordering", content=ordering)

    def reset(self) -> None:
        """Forget people, requests and faults; the credentials stay."""
        self._ask("DELETE", "")

    def _ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        content: object = None,
    ) -> bytes:
        body = None if content is None else msgspec.json.encode(content)
        url = f"{self.url}/control{path}"
        response = self._http.request(method, url, fields=query, body=body)
        if response.status not in {200, 204}:
            message = f"the fake Customer.io answered {response.status} to {method} {url}"
            raise RuntimeError(message)
        return response.data


def _address(process: subprocess.Popen[bytes]) -> str:
    line = process.stdout.readline() if process.stdout else b""
    if not line:
        message = f"the fake Customer.io ended with status {process.wait()} before it listened"
        raise RuntimeError(message)
    return msgspec.json.decode(line, type=_Address).url


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_SECONDS_TO_STOP)
    except subprocess.TimeoutExpired:
        process.kill()

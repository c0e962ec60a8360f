"""Track API: what the tool itself asks of Customer.io.

It takes the credentials of a workspace. What Customer.io holds of a person cannot be read with
them.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

import urllib3
from urllib3.exceptions import HTTPError
from urllib3.util import make_headers, parse_url

from handler.customerio.client import REGION_URLS
from handler.customerio.transport import Response, Transport
from handler.customerio.wire import Refused, read_answer, read_region
from handler.domain.attributes import MEMBERSHIP
from handler.domain.workspace import Workspace
from handler.errors import RetryableError
from handler.settings import LOOPBACK
from ops.stack import NO_DEADLINE

_TIMEOUT_S: Final = 10.0


class _NoTelemetry:
    def request(self, *, status: int, seconds: float) -> None:
        pass

    def request_retried(self, error: RetryableError) -> None:
        pass


@dataclass(frozen=True, slots=True)
class CustomerIo:
    """One workspace; `track_api_url` is empty if its region decides."""

    workspace: Workspace
    track_api_url: str
    region_urls: Mapping[str, str] = field(default_factory=lambda: REGION_URLS)

    def region(self) -> Literal["us", "eu"]:
        """Return the region of the workspace, according to Customer.io.

        Raises CredentialsRefusedError if it does not accept the credentials, or another
        RetryableError.
        """
        # Both regions know all workspaces.
        url = self.track_api_url or self.region_urls["us"]
        response = self._request(f"{url}/api/v1/accounts/region")
        return read_region(response.status, response.data)

    def delete_person(self, customer_id: str) -> str:
        """Delete a person; return why Customer.io refused, or an empty text.

        Raises RetryableError if it could not be asked.
        """
        region = self.workspace.region
        if region == "auto":
            region = self.region()
        url = self.track_api_url or self.region_urls[region]
        entity = {"type": "person", "action": "delete", "identifiers": {"id": customer_id}}
        body = json.dumps({"batch": [entity]}).encode()
        response = self._request(f"{url}/api/v2/batch", body)
        answer = read_answer(response.status, response.data, count=1)
        return answer.reason if isinstance(answer, Refused) else answer.get(0, "")

    def shown_locally(self, customer_id: str) -> str:
        """Return what the Customer.io of `make local` shows of a person; empty if nothing.

        It is the only one that can be asked: the real one needs other credentials for that.
        """
        if parse_url(self.track_api_url).host not in LOOPBACK:
            return ""
        pool = urllib3.PoolManager(retries=False, timeout=_TIMEOUT_S)
        url = f"{self.track_api_url}/control/people"
        try:
            response = pool.request("GET", url, fields={"search": customer_id})
            (person,) = json.loads(response.data)["people"]
            membership = person["attributes"][MEMBERSHIP]
        except (HTTPError, ValueError, TypeError, KeyError):
            return ""
        return f"its page at {self.track_api_url} shows the person, {MEMBERSHIP} = {membership}"

    def _request(self, url: str, body: bytes | None = None) -> Response:
        pool = urllib3.PoolManager(ssl_context=ssl.create_default_context())
        credentials = f"{self.workspace.site_id}:{self.workspace.api_key}"
        headers = make_headers(basic_auth=credentials, user_agent="audience-forwarder")
        return Transport(pool, _NoTelemetry()).request(
            url,
            body,
            headers={"Content-Type": "application/json", **headers},
            deadline=NO_DEADLINE.within(_TIMEOUT_S),
        )

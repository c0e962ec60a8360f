"""Track API: what the tool itself asks of Customer.io.

It takes the credentials of a workspace. What Customer.io holds of a person cannot be asked there.
"""

from __future__ import annotations

import json
import ssl
from typing import Final, Literal

import urllib3
from urllib3.util import make_headers

from handler.customerio.client import REGION_URLS
from handler.customerio.transport import Response, Transport
from handler.customerio.wire import Refused, read_answer, read_region
from handler.domain.workspace import Workspace
from handler.errors import RetryableError
from ops.stack import NO_DEADLINE

_TIMEOUT_S: Final = 10.0


class _NoTelemetry:
    def request(self, *, status: int, seconds: float) -> None:
        pass

    def request_retried(self, error: RetryableError) -> None:
        pass


def region(workspace: Workspace, *, track_api_url: str) -> Literal["us", "eu"]:
    """Return the region of the workspace, according to Customer.io.

    Raises CredentialsRefusedError if it does not accept the credentials, or another
    RetryableError.
    """
    # Both regions know all workspaces.
    url = track_api_url or REGION_URLS["us"]
    response = _request(workspace, f"{url}/api/v1/accounts/region")
    return read_region(response.status, response.data)


def delete_person(workspace: Workspace, customer_id: str, *, track_api_url: str) -> str:
    """Delete a person from the workspace; return why Customer.io refused, or an empty text.

    Raises RetryableError if it could not be asked.
    """
    url = track_api_url
    if not url:
        known = workspace.region
        url = REGION_URLS[region(workspace, track_api_url="") if known == "auto" else known]
    entity = {"type": "person", "action": "delete", "identifiers": {"id": customer_id}}
    body = json.dumps({"batch": [entity]}).encode()
    response = _request(workspace, f"{url}/api/v2/batch", body)
    answer = read_answer(response.status, response.data, count=1)
    return answer.reason if isinstance(answer, Refused) else answer.get(0, "")


def _request(workspace: Workspace, url: str, body: bytes | None = None) -> Response:
    pool = urllib3.PoolManager(ssl_context=ssl.create_default_context())
    credentials = f"{workspace.site_id}:{workspace.api_key}"
    headers = make_headers(basic_auth=credentials, user_agent="audience-forwarder")
    return Transport(pool, _NoTelemetry()).request(
        url,
        body,
        headers={"Content-Type": "application/json", **headers},
        deadline=NO_DEADLINE.within(_TIMEOUT_S),
    )

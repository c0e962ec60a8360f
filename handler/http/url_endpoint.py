"""URL endpoint: answers requests over HTTP, as the function URL hands them over.

It authenticates a request and reads its body; a job does the rest.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from aws_lambda_powertools import Logger

from handler.clock import TimeLeft
from handler.domain import firehose
from handler.domain.firehose import RequestType
from handler.errors import PermanentError
from handler.http.token_auth import SECRET_REST_S, RefusedError, TokenAuth

MAX_BODY_BYTES: Final = 4_000_000
"""Of a request over HTTP. Lambda takes 6 MB, of which base64 may take a quarter."""

MAX_UNSIGNED_BYTES: Final = 10_000
"""Of a request without a token; more than a registration request has ever had."""


class Receiver(Protocol):
    """The job that answers requests; see jobs/receive.py."""

    def receive(self, request: Any, *, time_left: TimeLeft) -> dict[str, Any]:
        """Put what a request brings on the queue, and return the answer to it."""


@dataclass(frozen=True, slots=True)
class UrlEndpoint:
    """Decides which requests over HTTP are let in: who may, how large, and in which form."""

    receiver: Receiver
    auth: TokenAuth
    logger: Logger

    def answer(self, event: Mapping[str, Any], *, time_left: TimeLeft) -> dict[str, Any]:
        """Return the HTTP answer to a function URL's event.

        Raises RetryableError or MisconfiguredError, which Lambda turns into a 502: mParticle
        sends the request again for any 5xx, but not for a 4xx.
        """
        try:
            request = self._authenticate(event, time_left)
            return _http(200, self.receiver.receive(request, time_left=time_left))
        except RefusedError as refusal:
            return self._refuse(refusal.status, refusal.reason)
        except PermanentError as error:
            return self._refuse(400, f"{error.error_type}: {error}")

    def _refuse(self, status: int, reason: str) -> dict[str, Any]:
        self.logger.warning("firehose.refused", extra={"status": status, "reason": reason})
        return _http(status, {"error": reason})

    def _authenticate(self, event: Mapping[str, Any], time_left: TimeLeft) -> Any:
        """Return the request of an event. Registration, which mParticle asks for before it can
        hand out a token, and which tells nothing that is not public, needs none.
        """
        headers: Mapping[str, str] = event.get("headers") or {}
        if event["requestContext"]["http"].get("method") != "POST":
            raise RefusedError(405, "only POST is answered")
        if headers.get("content-type", "").split(";")[0].strip().lower() != "application/json":
            raise RefusedError(415, "the content type must be application/json")
        refusal = self.auth.check(headers.get("authorization", ""), time_left=time_left)
        body = _body(event)
        if len(body) > MAX_BODY_BYTES:
            raise RefusedError(413, f"the body is over {MAX_BODY_BYTES} bytes")
        if refusal is None:
            return _json(body)
        try:
            request = _json(body) if len(body) <= MAX_UNSIGNED_BYTES else None
            if firehose.request_type(request) is RequestType.REGISTRATION:
                return request
        except (RefusedError, PermanentError):
            raise refusal from None
        raise refusal


def _body(event: Mapping[str, Any]) -> bytes:
    text: str = event.get("body") or ""
    if not event.get("isBase64Encoded"):
        return text.encode("utf-8", "surrogatepass")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise RefusedError(400, "the body is not base64") from None


def _json(body: bytes) -> Any:
    try:
        return json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise RefusedError(400, "the body is not JSON") from None


def _refuse_constant(name: str) -> None:
    raise RefusedError(400, f"the body is not JSON, which does not know {name}")


def _http(status: int, content: Mapping[str, Any]) -> dict[str, Any]:
    headers = {"content-type": "application/json"}
    if status == 401:
        headers["www-authenticate"] = "Token"
    if status == 405:
        headers["allow"] = "POST"
    if status == 503:
        headers["retry-after"] = str(SECRET_REST_S)
    return {"statusCode": status, "headers": headers, "body": json.dumps(content)}

"""URL endpoint: answers HTTP requests from the function's URL.

It checks a request's token; a job does the rest. mParticle sends a request again after 408, 429,
500, 502, 503 and 504, and never after any other error (its partner documentation, "Outbound
Integrations"). So a request with a token gets no other error.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from aws_lambda_powertools import Logger

from handler.clock import Deadline
from handler.domain import firehose
from handler.domain.firehose import RequestType
from handler.errors import PermanentError
from handler.http.token_auth import SECRET_REREAD_S, TokenAuth, TokenCheck
from handler.jobs.receive import Receiver

MAX_REGISTRATION_BYTES: Final = 10_000
"""The largest registration, which is parsed without a token. Real ones are smaller."""


class UrlEndpoint(msgspec.Struct, frozen=True):
    """Answers requests with a token, and registration without one."""

    receiver: Receiver
    auth: TokenAuth
    logger: Logger

    def answer(self, event: Mapping[str, Any], *, deadline: Deadline) -> dict[str, Any]:
        """Return the HTTP answer to a function URL's event.

        Raises RetryableError or MisconfiguredError, which Lambda turns into a 502.
        """
        body = _body(event)
        if not _is_registration(body):
            headers: Mapping[str, str] = event.get("headers") or {}
            match self.auth.check(headers.get("authorization", ""), deadline=deadline):
                case TokenCheck.MISSING:
                    reason = "the header Authorization must be: Token <the shared secret>"
                    return self._refuse(401, reason)
                case TokenCheck.UNKNOWN:
                    return self._refuse(503, "this token is not known: send the request again")
        try:
            return _http(200, self.receiver.receive_body(body, deadline=deadline))
        except PermanentError as error:
            return self._refuse(503, f"{error.error_type}: {error}")

    def _refuse(self, status: int, reason: str) -> dict[str, Any]:
        self.logger.warning("firehose.refused", extra={"status": status, "reason": reason})
        return _http(status, {"error": reason})


def _body(event: Mapping[str, Any]) -> bytes:
    text: str = event.get("body") or ""
    if event.get("isBase64Encoded"):
        return base64.b64decode(text)
    return text.encode("utf-8", "surrogatepass")


def _is_registration(body: bytes) -> bool:
    """Tell whether a request is a registration, which has no token yet and a public answer."""
    if len(body) > MAX_REGISTRATION_BYTES:
        return False
    try:
        return firehose.request_type(json.loads(body)) is RequestType.REGISTRATION
    except (ValueError, RecursionError):
        return False


def _http(status: int, content: Mapping[str, Any]) -> dict[str, Any]:
    headers = {"content-type": "application/json"}
    if status == 401:
        headers["www-authenticate"] = "Token"
    if status == 503:
        headers["retry-after"] = str(SECRET_REREAD_S)
    return {"statusCode": status, "headers": headers, "body": json.dumps(content)}

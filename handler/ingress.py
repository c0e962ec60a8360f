"""Ingress: mParticle's own front door. Answers its requests once what they bring is on the queue.

mParticle invokes a partner's function with the request itself, or posts it to a URL. What is
acknowledged is on the queue; whatever stands in the way of that is an error, for which mParticle
sends the request again. Answers are to come within 100 ms: nothing is imported or read that the
stack's settings do not ask for.
"""

from __future__ import annotations

import base64
import binascii
import functools
import hmac
import json
import math
import os
import random
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from aws_lambda_powertools import Logger

from handler import aws, clock
from handler.clock import Now, TimeLeft
from handler.domain import firehose
from handler.domain.firehose import RequestType
from handler.errors import MisconfiguredError, PermanentError
from handler.queue import Entrance
from handler.secret import Secret
from handler.settings import IngressSettings
from handler.table.suspensions import Suspensions

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

MAX_BODY_BYTES: Final = 4_000_000
"""Of a request over HTTP. Lambda takes 6 MB, of which base64 may take a quarter."""

SENDS_IN_FLIGHT: Final = 8
"""Calls to SQS at a time. A request of 4 MB takes 17, as each carries 256 kB at most."""

MAX_UNSIGNED_BYTES: Final = 10_000
"""Of a request without a token; more than a registration request has ever had."""

TOKENS_KEPT_S: Final = 60
SECRET_REST_S: Final = 5
"""Between two tries to read the shared secret, whatever tokens are sent meanwhile."""

MIN_TOKEN_LENGTH: Final = 16


def lambda_handler(event: Any, context: LambdaContext) -> dict[str, Any]:
    """Answer one of mParticle's requests, invoked with it or by the function's URL."""
    logger().append_keys(function_request_id=context.aws_request_id)
    time_left = clock.time_left(context)
    if _came_over_http(event):
        return url_door().answer(event, time_left=time_left)
    return ingress().answer(event, time_left=time_left)


def _came_over_http(event: Any) -> bool:
    context = event.get("requestContext") if isinstance(event, dict) else None
    return isinstance(context, dict) and isinstance(context.get("http"), dict)


@functools.cache
def logger() -> Logger:
    """Where log lines go; the service's name and the level come from the environment."""
    return Logger()


@functools.cache
def ingress() -> Ingress:
    """Wire what every request needs, once per execution environment."""
    settings = IngressSettings.from_environ(os.environ)
    return Ingress(
        Entrance(
            _client()("sqs"),
            # It starts no thread before a request is too large for a single call.
            ThreadPoolExecutor(SENDS_IN_FLIGHT, thread_name_prefix="sqs"),
            queue_url=settings.queue_url,
            draw=random.uniform,
            sleep=clock.sleep,
        ),
        Suspensions(_client()("dynamodb"), settings.table_name) if settings.suspends else None,
        logger(),
        now=clock.now,
        new_id=lambda: str(uuid.uuid4()),
    )


@functools.cache
def url_door() -> UrlDoor:
    """Wire what requests over HTTP need besides."""
    name = IngressSettings.from_environ(os.environ).url_secret_name
    if not name:
        raise MisconfiguredError("setting URL_SECRET_NAME is missing: there is to be no URL")
    secret = Secret(_client()("secretsmanager"), name, kept_s=0, now=clock.now)  # kept as tokens
    return UrlDoor(ingress(), Tokens(secret, now=clock.now), logger())


@functools.cache
def _client() -> Callable[[str], Any]:
    return aws.clients(aws.connections(SENDS_IN_FLIGHT))


@dataclass(frozen=True, slots=True)
class Ingress:
    """Answers requests. Without `marks` no account is ever suspended."""

    entrance: Entrance
    marks: Suspensions | None
    logger: Logger
    now: Now
    new_id: Callable[[], str]

    def answer(self, request: Any, *, time_left: TimeLeft) -> dict[str, Any]:
        """Put what a request brings on the queue, and return the answer to it.

        Raises PermanentError for a request that is none of ours, and RetryableError where not all
        of it is on the queue.
        """
        kind = firehose.request_type(request)
        bodies, refusal = firehose.parts(request)
        self.entrance.enqueue(bodies, time_left=time_left)
        if refusal is not None:
            raise refusal
        suspended = kind is RequestType.MEMBERSHIP_CHANGE and self._suspended(request, time_left)
        self.logger.info(
            "firehose.answered",
            extra={"type": kind.value, "messages": len(bodies), "suspended": suspended},
        )
        return firehose.answer(
            request, answer_id=self.new_id(), now=self.now(), suspended=suspended
        )

    def _suspended(self, request: Mapping[str, Any], time_left: TimeLeft) -> bool:
        account_id = firehose.account_id(request)
        if self.marks is None or account_id is None:
            return False
        return self.marks.is_suspended(account_id, now=self.now(), time_left=time_left)


@dataclass(frozen=True, slots=True)
class UrlDoor:
    """Lets requests over HTTP in: who may, how large, and in which form."""

    ingress: Ingress
    tokens: Tokens
    logger: Logger

    def answer(self, event: Mapping[str, Any], *, time_left: TimeLeft) -> dict[str, Any]:
        """Return the HTTP answer to a function URL's event.

        Raises RetryableError or MisconfiguredError, which Lambda turns into a 502: mParticle
        sends the request again for any 5xx, but not for a 4xx.
        """
        try:
            request = self._let_in(event, time_left)
            return _http(200, self.ingress.answer(request, time_left=time_left))
        except _RefusedError as refusal:
            return self._refuse(refusal.status, refusal.reason)
        except PermanentError as error:
            return self._refuse(400, f"{error.error_type}: {error}")

    def _refuse(self, status: int, reason: str) -> dict[str, Any]:
        self.logger.warning("firehose.refused", extra={"status": status, "reason": reason})
        return _http(status, {"error": reason})

    def _let_in(self, event: Mapping[str, Any], time_left: TimeLeft) -> Any:
        """Return the request of an event. Registration, which mParticle asks for before it can
        hand out a token, and which tells nothing that is not public, needs none.
        """
        headers: Mapping[str, str] = event.get("headers") or {}
        if event["requestContext"]["http"].get("method") != "POST":
            raise _RefusedError(405, "only POST is answered")
        if headers.get("content-type", "").split(";")[0].strip().lower() != "application/json":
            raise _RefusedError(415, "the content type must be application/json")
        refusal = self.tokens.refusal(headers.get("authorization", ""), time_left=time_left)
        body = _body(event)
        if len(body) > MAX_BODY_BYTES:
            raise _RefusedError(413, f"the body is over {MAX_BODY_BYTES} bytes")
        if refusal is None:
            return _json(body)
        try:
            request = _json(body) if len(body) <= MAX_UNSIGNED_BYTES else None
            if firehose.request_type(request) is RequestType.REGISTRATION:
                return request
        except (_RefusedError, PermanentError):
            raise refusal from None
        raise refusal


class _RefusedError(Exception):
    """A request over HTTP is not let in: the status and the reason that are answered."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class Tokens:
    """The shared secret: one token, or while it is changed several, parted by white space."""

    def __init__(self, secret: Secret, *, now: Now) -> None:
        """Keep where to read; nothing is read yet."""
        self._secret = secret
        self._now = now
        self._kept: list[bytes] = []
        self._kept_until = 0.0
        self._tried_at = -math.inf

    def refusal(self, authorization: str, *, time_left: TimeLeft) -> _RefusedError | None:
        """Return why an Authorization header is refused; None where it has one of the tokens,
        each of which it is compared with in constant time.

        A 401 is for good, so it takes a secret that was read after the request came. Where it is
        too early to read it again, the refusal is a 503, and the sender tries again.
        Raises UnavailableError, OutOfTimeError, or MisconfiguredError that names the secret.
        """
        scheme, _, token = authorization.partition(" ")
        given = token.strip().encode("utf-8", "replace")
        wrong = _RefusedError(401, "the header Authorization must be: Token <the shared secret>")
        if scheme.lower() != "token" or not given:
            return wrong
        if self._now() < self._kept_until and _is_one_of(self._kept, given):
            return None
        if self._now() < self._tried_at + SECRET_REST_S:
            reason = f"this token is not known yet: send it again in {SECRET_REST_S} seconds"
            return _RefusedError(503, reason)
        return None if _is_one_of(self._read(time_left), given) else wrong

    def _read(self, time_left: TimeLeft) -> Sequence[bytes]:
        self._tried_at = self._now()
        tokens = tokens_in(self._secret.text(time_left=time_left))
        if not tokens or min(map(len, tokens)) < MIN_TOKEN_LENGTH:
            reason = f"secret {self._secret.name}: every token needs {MIN_TOKEN_LENGTH} characters"
            raise MisconfiguredError(reason)
        self._kept, self._kept_until = tokens, self._now() + TOKENS_KEPT_S
        return tokens


def tokens_in(text: str) -> list[bytes]:
    """Return the tokens that the shared secret's text holds."""
    return text.encode("utf-8", "replace").split()


def _is_one_of(tokens: Sequence[bytes], given: bytes) -> bool:
    return any(hmac.compare_digest(given, one) for one in tokens)


def _body(event: Mapping[str, Any]) -> bytes:
    text: str = event.get("body") or ""
    if not event.get("isBase64Encoded"):
        return text.encode("utf-8", "surrogatepass")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise _RefusedError(400, "the body is not base64") from None


def _json(body: bytes) -> Any:
    try:
        return json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise _RefusedError(400, "the body is not JSON") from None


def _refuse_constant(name: str) -> None:
    raise _RefusedError(400, f"the body is not JSON, which does not know {name}")


def _http(status: int, content: Mapping[str, Any]) -> dict[str, Any]:
    headers = {"content-type": "application/json"}
    if status == 401:
        headers["www-authenticate"] = "Token"
    if status == 405:
        headers["allow"] = "POST"
    if status == 503:
        headers["retry-after"] = str(SECRET_REST_S)
    return {"statusCode": status, "headers": headers, "body": json.dumps(content)}

"""An ingress with everything around it in memory."""

from __future__ import annotations

import base64
import io
import json
import math
import uuid
from typing import Any

from aws_lambda_powertools import Logger

from handler.http.token_auth import SECRET_KEPT_S, TokenAuth
from handler.http.url_endpoint import UrlEndpoint
from handler.jobs.receive import Receiver
from handler.secret import Secret
from tests.builders import NOW, deadline

TOKEN = "a-token-of-mparticle"


class MemorySender:
    def __init__(self) -> None:
        self.bodies: list[str] = []
        self.error: Exception | None = None

    def send(self, bodies, *, account_id, deadline) -> None:
        if self.error:
            raise self.error
        self.bodies += bodies


class MemorySuspensions:
    def __init__(self) -> None:
        self.accounts: set[int] = set()

    def is_suspended(self, account_id, *, now, deadline) -> bool:
        return account_id in self.accounts


class MemorySecrets:
    """Secrets Manager, which fails with `error` until it was asked `passes_after` times."""

    def __init__(self) -> None:
        self.text: str | None = TOKEN
        self.error: Exception | None = None
        self.passes_after: float = math.inf
        self.reads = 0

    def get_secret_value(self, *, SecretId):  # noqa: N803
        self.reads += 1
        if self.error and self.reads <= self.passes_after:
            raise self.error
        return {} if self.text is None else {"SecretString": self.text}


class IngressHouse:
    """An ingress, its URL's endpoint, and all they talk to."""

    def __init__(self) -> None:
        self.sender = MemorySender()
        self.suspensions = MemorySuspensions()
        self.secrets = MemorySecrets()
        self.now = NOW
        self.log = io.StringIO()
        secrets: Any = self.secrets
        logger = Logger(service=f"test-{uuid.uuid4()}", stream=self.log)
        ids = iter(f"0b5e5a3e-92a8-4fd7-9b7c-{n:012}" for n in range(1000))
        self.receiver = Receiver(
            self.sender,
            self.suspensions,
            logger,
            now=self.clock,
            new_id=ids.__next__,
            version="test",
        )
        secret = Secret(secrets, "the-secret", kept_s=SECRET_KEPT_S, now=self.clock)
        self.endpoint = UrlEndpoint(self.receiver, TokenAuth(secret, now=self.clock), logger)

    def clock(self) -> float:
        return self.now

    def receive(self, request, seconds=30.0):
        return self.receiver.receive(request, deadline=deadline(seconds))

    def receive_body(self, body, seconds=30.0):
        return self.receiver.receive_body(body, deadline=deadline(seconds))

    def post(self, content, seconds=30.0, **event):
        return self.endpoint.answer(posted(content, **event), deadline=deadline(seconds))


def posted(content, *, method="POST", encode=False, headers=None, **more) -> dict[str, Any]:
    body = content if isinstance(content, str) else json.dumps(content)
    usual = {"content-type": "application/json", "authorization": f"Token {TOKEN}"}
    return {
        "requestContext": {"http": {"method": method}},
        "headers": usual | (headers or {}),
        "body": base64.b64encode(body.encode()).decode() if encode else body,
        "isBase64Encoded": encode,
        **more,
    }

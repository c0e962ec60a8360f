"""A real ingress, with stand-ins for everything around it."""

from __future__ import annotations

import base64
import io
import json
import uuid
from typing import Any

from aws_lambda_powertools import Logger

from handler.http.token_auth import SECRET_TTL_S, TokenAuth
from handler.http.url_endpoint import UrlEndpoint
from handler.jobs.receive import Receiver
from handler.secret import Secret
from tests.builders import NOW, deadline
from tests.stand_ins.aws import MemorySecrets
from tests.stand_ins.ports import MemorySender, MemorySuspensions

TOKEN = "a-token-of-mparticle"


class IngressHouse:
    """An ingress, its URL's endpoint, and all they talk to."""

    def __init__(self) -> None:
        self.sender = MemorySender()
        self.suspensions = MemorySuspensions()
        self.secrets = MemorySecrets(TOKEN)
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
            customer_id_type="customer",
        )
        secret = Secret(secrets, "the-secret", ttl_s=SECRET_TTL_S, now=self.clock)
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

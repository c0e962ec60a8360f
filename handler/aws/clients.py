"""Clients: the only place that creates AWS clients for the functions.

botocore finds the endpoint and the credentials, signs each request, and names the errors.
transport.py sends; dynamodb_json.py writes and reads the large batches.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import botocore.session
from botocore.config import Config

from handler.aws import dynamodb_json, transport

if TYPE_CHECKING:
    import urllib3
    from botocore.awsrequest import AWSPreparedRequest, AWSResponse


def client_factory(pool: urllib3.PoolManager) -> Callable[[str], Any]:
    """Return a function that returns the client of a service by its name; all share the pool.

    Each is created once. It tries each call once and raises botocore's errors. Callers retry while
    time is left; see clock.AWS_CALL_S.
    """
    session = botocore.session.get_session()
    session.register_component("response_parser_factory", dynamodb_json.ParserFactory())
    config = Config(
        retries={"mode": "standard", "total_max_attempts": 1},
        parameter_validation=False,  # takes a fifth of a batch call's CPU; its errors quote values
        user_agent="audience-forwarder",  # botocore builds its own again for every call
    )

    def send(request: AWSPreparedRequest, **_: object) -> AWSResponse:
        return transport.send(pool, request)

    @functools.cache
    def client_of(service: str) -> Any:
        client: Any = session.create_client(service, config=config)
        # botocore uses the result of this event as the service's answer.
        client.meta.events.register("before-send", send)
        if service == "dynamodb":
            dynamodb_json.write_with_msgspec(client.meta.events)
        return client

    return client_of

"""Transport: sends botocore's signed requests over the connections that Customer.io shares.

All connections share one TLS context. Loading its trusted authorities takes 20 ms, which
botocore's own transport spends on every connection.
"""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

import urllib3
from botocore import exceptions
from botocore.awsrequest import AWSResponse
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    NewConnectionError,
    ProtocolError,
    ReadTimeoutError,
    SSLError,
)

if TYPE_CHECKING:
    from botocore.awsrequest import AWSPreparedRequest
    from botocore.exceptions import BotoCoreError

_TIMEOUT: Final = urllib3.Timeout(connect=1.0, read=2.0)  # seconds; see clock.AWS_CALL_S
_LAST_READ_S: Final = 2.0  # after a call's start, because the read timeout is for each read

# urllib3's errors, and the errors that botocore's own transport makes of them.
_BOTOCORE_ERRORS: Final[Sequence[tuple[type[HTTPError], Callable[..., BotoCoreError]]]] = (
    (NewConnectionError, exceptions.EndpointConnectionError),
    (ConnectTimeoutError, exceptions.ConnectTimeoutError),
    (ProtocolError, exceptions.ConnectionClosedError),
    (ReadTimeoutError, exceptions.ReadTimeoutError),
    (SSLError, exceptions.SSLError),
    (HTTPError, exceptions.HTTPClientError),
)


def connection_pool(per_host: int) -> urllib3.PoolManager:
    """Return a pool that keeps up to `per_host` connections to each host.

    It trusts the authorities that Python trusts, and those in the file AWS_CA_BUNDLE.
    """
    context = ssl.create_default_context()
    if bundle := os.environ.get("AWS_CA_BUNDLE"):
        context.load_verify_locations(bundle)
    return urllib3.PoolManager(maxsize=per_host, ssl_context=context)


def send(pool: urllib3.PoolManager, request: AWSPreparedRequest) -> AWSResponse:
    """Send a signed request once and return the whole answer.

    Raises botocore's errors. Their texts have the error and the URL, and nothing else.
    """
    started = time.monotonic()
    try:
        response: Any = pool.urlopen(
            request.method,
            request.url,
            body=request.body,
            headers=request.headers,
            timeout=_TIMEOUT,
            retries=False,
            redirect=False,
            preload_content=False,
            decode_content=False,
        )
        pieces = list(_pieces(response, request.url, started))
    except HTTPError as error:
        translated = next(after for before, after in _BOTOCORE_ERRORS if isinstance(error, before))
        raise translated(endpoint_url=request.url, error=type(error).__name__) from None
    raw = SimpleNamespace(stream=lambda: pieces)
    return AWSResponse(request.url, response.status, response.headers, raw)


def _pieces(response: urllib3.BaseHTTPResponse, url: str, started: float) -> Iterator[bytes]:
    while piece := response.read1(1 << 16):
        yield piece
        if response.length_remaining != 0 and time.monotonic() > started + _LAST_READ_S:
            response.close()
            raise exceptions.ReadTimeoutError(endpoint_url=url)
    response.release_conn()

"""Relay: stands between the deployed function and all that it calls, AWS and Customer.io.

What the function calls goes through here, each call by its name, so that a test can act at the
very moment before a call reaches the other side or before its answer comes back, change what is
asked, and see what was asked and answered. The function talks plain HTTP to it, on loopback; the
relay itself talks TLS to the emulator, as the queues want it.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final

import psutil
import urllib3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from local.emulator import ACCESS_KEY

if TYPE_CHECKING:
    from local.stack import Stack

LOAD: Final = "BatchGetItem"
VERSIONS: Final = "BatchGetItem of versions"
SAVE: Final = "BatchExecuteStatement"
SECRET: Final = "GetSecretValue"
POST: Final = "/api/v2/batch"
SET_ASIDE: Final = "SendMessageBatch"
MOVE: Final = "SendMessageBatch to the retry queue"
QUERY: Final = "Query"
SCAN: Final = "Scan"
START: Final = "StartExecution"
SUSPEND: Final = "PutItem"
DELAY: Final = "ChangeMessageVisibilityBatch"

_HOP_BY_HOP: Final = {"connection", "content-length", "keep-alive", "transfer-encoding"}


class Moment(StrEnum):
    """When a call is cut off."""

    BEFORE = "before"
    """It never reaches the other side."""
    AFTER = "after"
    """It is carried out there, and its answer never comes back."""


@dataclass(slots=True)
class Call:
    """One call of the function's; status 0 while it is not answered."""

    name: str
    body: bytes
    port: int
    """The caller's end of the connection."""
    status: int = 0
    answer: bytes = b""

    @property
    def content(self) -> Any:
        """What is asked."""
        return json.loads(self.body)


@dataclass(slots=True)
class Cut:
    """A call to be cut off, once."""

    name: str
    moment: Moment
    act: Callable[[Call], None]
    """What to do at that moment."""
    done: threading.Event = field(default_factory=threading.Event)


def caller(call: Call) -> psutil.Process:
    """Return the process that made a call, one of those that the emulator runs."""
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):  # It may end while it is looked at.
            for connection in process.net_connections(kind="tcp4"):
                if connection.laddr.port == call.port:
                    return process
    raise LookupError(call.name)


def unchanged(call: Call) -> bytes:
    """Return what is asked as it is."""
    return call.body


class Relay:
    """One that listens; `url` takes the place of AWS's and of Customer.io's."""

    def __init__(self, url: str, aws_url: str, certificate: str, customerio_url: str) -> None:
        """Pass calls on to these addresses."""
        self.url = url
        self.calls: list[Call] = []
        # Changes what AWS is asked. What is changed is asked in the name of the root user.
        self.rewrite: Callable[[Call], bytes] = unchanged
        self._cuts: list[Cut] = []
        self._lock = threading.Lock()
        self._aws_url = aws_url
        self._customerio_url = customerio_url
        self._http = urllib3.PoolManager(
            ca_certs=certificate, maxsize=20, retries=False, timeout=30
        )

    def cut(self, name: str, moment: Moment, act: Callable[[Call], None]) -> Cut:
        """Cut the next call of this name off at this moment."""
        cut = Cut(name, moment, act)
        with self._lock:
            self._cuts.append(cut)
        return cut

    def forget(self) -> None:
        """Pass all on unchanged again, and forget what was called."""
        with self._lock:
            self._cuts.clear()
        self.calls.clear()
        self.rewrite = unchanged

    def names(self) -> list[str]:
        """Return what was called, in order."""
        return [call.name for call in self.calls]

    def pass_on(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes, port: int
    ) -> urllib3.BaseHTTPResponse | None:
        """Return the other side's answer, or None for a call that was cut off."""
        target = headers.get("X-Amz-Target", "")
        call = Call(_name(target, path, body), body, port)
        self.calls.append(call)
        if self._is_cut(call, Moment.BEFORE):
            return None
        url = (self._aws_url if target else self._customerio_url) + path
        passed = {k: v for k, v in headers.items() if k.lower() not in _HOP_BY_HOP}
        asked = self.rewrite(call) if body else b""
        if asked != body:
            passed = _signed(method, url, passed, asked)
        response = self._http.request(
            method,
            url,
            headers=passed,
            body=asked or None,
            redirect=False,
            decode_content=False,
        )
        call.status, call.answer = response.status, response.data
        return None if self._is_cut(call, Moment.AFTER) else response

    def _is_cut(self, call: Call, moment: Moment) -> bool:
        with self._lock:
            for cut in self._cuts:
                if (cut.name, cut.moment) == (call.name, moment):
                    self._cuts.remove(cut)
                    break
            else:
                return False
        cut.act(call)
        cut.done.set()
        return True


@contextmanager
def running(stack: Stack) -> Iterator[Relay]:
    """Run one for a stack as long as the block lasts; `between` has the function use it."""
    server = _Server(("127.0.0.1", 0), _Handler)
    relay = server.relay = Relay(
        f"http://127.0.0.1:{server.server_port}",
        stack.emulator.url,
        str(stack.emulator.certificate),
        stack.customerio.url,
    )
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield relay
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def between(stack: Stack, name: str = "") -> Iterator[Relay]:
    """Have a deployed function make all its calls through a relay while the block lasts.

    The function that forwards, where no other is named.
    """
    functions, name = stack.functions, name or stack.function_name
    deployed = functions.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
    with running(stack) as relay:
        urls = {"AWS_ENDPOINT_URL": relay.url, "TRACK_API_URL": relay.url}
        functions.update_function_configuration(
            FunctionName=name, Environment={"Variables": deployed | urls}
        )
        try:
            yield relay
        finally:
            functions.update_function_configuration(
                FunctionName=name, Environment={"Variables": deployed}
            )


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    relay: Relay


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        response = self.server.relay.pass_on(
            self.command, self.path, dict(self.headers), body, self.client_address[1]
        )
        if response is None:
            self.close_connection = True
            return
        # Whoever asked may be gone by now.
        with contextlib.suppress(ConnectionError):
            self.send_response(response.status)
            for name, value in response.headers.items():
                if name.lower() not in _HOP_BY_HOP:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(response.data)))
            self.end_headers()
            self.wfile.write(response.data)

    do_GET = do_POST = _handle  # noqa: N815 - the names that http.server looks for

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as inherited
        """Say nothing."""


def _signed(method: str, url: str, headers: Mapping[str, str], body: bytes) -> dict[str, str]:
    """Return the headers of a call to AWS, signed for another body by the emulator's root user."""
    unsigned = {name: headers[name] for name in ("Content-Type", "X-Amz-Target")}
    request = AWSRequest(method, url, unsigned, body)
    # As in: AWS4-HMAC-SHA256 Credential=KEY/20261124/us-east-1/sqs/aws4_request, ...
    _, _, region, service, _ = headers["Authorization"].partition(",")[0].split("/")
    SigV4Auth(Credentials(ACCESS_KEY, ACCESS_KEY), service, region).add_auth(request)
    return dict(request.headers.items())


def _name(target: str, path: str, body: bytes) -> str:
    if not target:
        return path
    name = target.rpartition(".")[2]
    if name == LOAD and b"ProjectionExpression" in body:
        return VERSIONS
    if name == SET_ASIDE and json.loads(body)["QueueUrl"].endswith("-retries"):
        return MOVE
    return name

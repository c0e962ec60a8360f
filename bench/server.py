"""Server: Customer.io, and the measured operations of AWS, with as little CPU as possible.

It accepts everything, answers at once or after a delay, and counts. It shares the machine with the
measured handlers, so it must be cheap. It checks nothing; the emulator and the fake Customer.io in
local/ do that.

Start it with `python -m bench.server`; it prints its port. `GET /counts` returns the counts.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import re
import ssl
from collections import Counter
from collections.abc import Callable
from functools import lru_cache
from itertools import starmap
from typing import Any, Final
from urllib.parse import unquote

import msgspec
import uvloop

_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_TARGET: Final = re.compile(rb"\r\nx-amz-target: *[^.]+\.(\w+)", re.IGNORECASE)
_COLUMN: Final = re.compile(r"""['"](\w+)['"](?:: |=)\?""")

_Item = dict[str, Any]


class World:
    """The state that all connections share: the items and the counts."""

    def __init__(self, options: argparse.Namespace) -> None:
        """Start empty."""
        self.options = options
        self.items: dict[tuple[str, str], _Item] = {}
        self.requests: Counter[str] = Counter()
        self.sizes: list[int] = []
        self.memberships: dict[str, str] = {}

    def answer(self, method: bytes, path: str, target: str, body: bytes) -> tuple[bytes, float]:
        """Return the answer to a request, and the seconds to wait before sending it."""
        if path == "/counts":
            return self._counts(), 0.0
        if target:
            act: Callable[[Any], Any] = getattr(self, f"_{target}")
            self.requests[target + " to verify" * (b"ProjectionExpression" in body)] += 1
            return msgspec.json.encode(act(msgspec.json.decode(body))), self._aws_latency(target)
        self.requests["Customer.io"] += 1
        self.sizes.append(len(body))
        if self.options.remember:
            self._remember(method, path, msgspec.json.decode(body))
        return b"{}", self.options.customerio_ms / 1000

    def _aws_latency(self, target: str) -> float:
        others = {"GetSecretValue": 0.0, "SendMessageBatch": self.options.sqs_ms}
        latency: float = others.get(target, self.options.dynamodb_ms)
        return latency / 1000

    def _counts(self) -> bytes:
        digest = hashlib.sha256(repr(sorted(self.memberships.items())).encode())
        counts = {
            "requests": self.requests,
            "sizes": self.sizes,
            "people": len(self.memberships),
            "memberships": digest.hexdigest(),
        }
        self.requests, self.sizes, self.memberships = Counter(), [], {}
        return msgspec.json.encode(counts)

    def _remember(self, method: bytes, path: str, body: _Item) -> None:
        """Keep the membership list of each person, from any of the APIs."""
        if method == b"PUT":
            self._keep(unquote(path.rpartition("/")[2]), body)
        for entry in body.get("batch", ()):
            if "traits" in entry:
                self._keep(entry["userId"], entry["traits"])
            else:
                self._keep(entry["identifiers"]["id"], entry["attributes"])

    def _keep(self, customer_id: str, attributes: _Item) -> None:
        self.memberships[customer_id] = attributes["SegmentMembership"]

    # --- AWS, by the name of the operation ---

    def _GetSecretValue(self, _: _Item) -> _Item:  # noqa: N802
        return {"Name": "credentials", "SecretString": self.options.secret}

    def _SendMessageBatch(self, parameters: _Item) -> _Item:  # noqa: N802
        sent = [{"Id": entry["Id"], "MessageId": entry["Id"]} for entry in parameters["Entries"]]
        return {"Successful": sent, "Failed": []}

    def _BatchGetItem(self, parameters: _Item) -> _Item:  # noqa: N802
        responses = {}
        for table, request in parameters["RequestItems"].items():
            keys = [(table, key["pk"]["S"]) for key in request["Keys"]]
            items = [self.items[key] for key in keys if key in self.items]
            if "ProjectionExpression" in request:
                items = [{"pk": item["pk"], "version": item["version"]} for item in items]
            responses[table] = items
        return {"Responses": responses, "UnprocessedKeys": {}}

    def _BatchExecuteStatement(self, parameters: _Item) -> _Item:  # noqa: N802
        statements = [(each["Statement"], each["Parameters"]) for each in parameters["Statements"]]
        return {"Responses": list(starmap(self._execute, statements))}

    def _execute(self, statement: str, parameters: list[Any]) -> _Item:
        table, is_insert, columns = _parsed(statement)
        values = parameters if is_insert else parameters[:-1]
        item = dict(zip(columns, values, strict=False))
        key = (table, item["pk"]["S"])
        before = self.items.get(key)
        if is_insert and before is not None:
            return {"Error": {"Code": "DuplicateItem"}}
        if not is_insert and (before is None or before["version"] != parameters[-1]):
            return {"Error": {"Code": "ConditionalCheckFailed"}}
        self.items[key] = item
        return {"TableName": table}

    def _GetItem(self, parameters: _Item) -> _Item:  # noqa: N802
        item = self.items.get((parameters["TableName"], parameters["Key"]["mpid"]["S"]))
        return {"Item": item} if item else {}

    def _PutItem(self, parameters: _Item) -> _Item:  # noqa: N802
        self.items[parameters["TableName"], parameters["Item"]["mpid"]["S"]] = parameters["Item"]
        return {}


@lru_cache
def _parsed(statement: str) -> tuple[str, bool, list[str]]:
    """Return the table of a PartiQL statement, whether it inserts, and the column of each `?`."""
    return statement.split('"')[1], statement.startswith("INSERT"), _COLUMN.findall(statement)


class Connection(asyncio.Protocol):
    """One kept-alive HTTP/1.1 connection, without pipelining."""

    def __init__(self, world: World, loop: asyncio.AbstractEventLoop) -> None:
        """Wait for a request."""
        self._world = world
        self._loop = loop
        self._read = bytearray()
        self._wanted = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport for answers."""
        self._transport: Any = transport

    def data_received(self, data: bytes) -> None:
        """Answer if the request is complete."""
        self._read += data
        if len(self._read) < self._wanted:
            return
        end = self._read.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(self._read[:end])
        length = _LENGTH.search(head)
        self._wanted = end + 4 + (int(length[1]) if length else 0)
        if len(self._read) < self._wanted:
            return
        body = bytes(self._read[end + 4 : self._wanted])
        del self._read[: self._wanted]
        self._wanted = 0
        method, path, _ = head.split(b" ", 2)
        target = _TARGET.search(head)
        answer, latency = self._world.answer(
            method, path.decode(), target[1].decode() if target else "", body
        )
        response = (
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
            % (len(answer), answer)
        )
        if latency:
            self._loop.call_later(latency, self._transport.write, response)
        else:
            self._transport.write(response)


async def serve(options: argparse.Namespace) -> None:
    """Serve until killed."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(options.certificate, options.key)
    world = World(options)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Connection(world, loop), "127.0.0.1", 0, ssl=context, backlog=512
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--certificate", required=True)
    parser.add_argument("--key", required=True)
    parser.add_argument("--secret", required=True, help="the text of the credentials secret")
    parser.add_argument("--dynamodb-ms", type=float, default=0.0)
    parser.add_argument("--sqs-ms", type=float, default=0.0)
    parser.add_argument("--customerio-ms", type=float, default=0.0)
    parser.add_argument("--remember", action="store_true", help="keep the membership lists")
    uvloop.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()

"""Measure: the servers, the built function, and processes that run one handler or one start."""

from __future__ import annotations

import compileall
import json
import os
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import boto3
import msgspec

from bench import events
from bench.events import Shape
from local import emulator
from local.emulator import Emulator
from tools import package
from tools.template import table_schema

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

PROJECT: Final = Path(__file__).parents[1]
PYTHON: Final = PROJECT / ".tools/bench/bin/python"
SITE_ID: Final = "bench-workspace"
API_KEY: Final = "bench-api-key"

OURS: Final = "handler.app"
WALKER: Final = "handler.walker"
PEERS: Final = {
    "one by one, customerio": "bench.peers.one_by_one",
    "customerio, batch": "bench.peers.official_batch",
    "async-customerio, batch": "bench.peers.async_batch",
    "customerio-cdp-analytics": "bench.peers.cdp",
}

_SECRET: Final = json.dumps({"site_id": SITE_ID, "api_key": API_KEY})
# Other people than those measured, and enough to open all connections of a handler.
WARM_UP: Final = Shape(1000, first=50_000_000)
_PEERS_WARM_UP: Final = Shape(10, first=50_000_000)


class Usage(msgspec.Struct, frozen=True):
    """Time and memory of one invocation."""

    cpu_s: float
    wall_s: float
    rss_bytes: int
    event_bytes: int


class Counts(msgspec.Struct, frozen=True):
    """The requests that a server got since the last time it was asked."""

    requests: dict[str, int]
    sizes: list[int]
    people: int
    memberships: str


@dataclass(frozen=True, slots=True)
class Server:
    """A running server of server.py."""

    port: int
    certificate: Path

    @property
    def url(self) -> str:
        """The server's address."""
        return f"https://127.0.0.1:{self.port}"

    def counts(self) -> Counts:
        """Return what the server counted, and reset its counts."""
        context = ssl.create_default_context(cafile=self.certificate)
        with urllib.request.urlopen(f"{self.url}/counts", context=context) as answer:  # noqa: S310 - our own server
            return msgspec.json.decode(answer.read(), type=Counts)


class Bench:
    """The built function and the servers, and processes that run handlers against them."""

    def __init__(self, folder: Path, aws: Emulator, stop: ExitStack) -> None:
        """Build the function as `make build` does."""
        self.folder = folder
        self.aws = aws
        self._stop = stop
        self._made = 0
        self._last_ms = int(time.time() * 1000) - 3_600_000
        self.dynamodb: DynamoDBClient = boto3.client("dynamodb", **aws.client_options)
        boto3.client("secretsmanager", **aws.client_options).create_secret(
            Name="credentials", SecretString=_SECRET
        )
        self.artifact = folder / "artifact"
        package.build(self.artifact)
        # As on Lambda, a connection loads the usual hundred and more authorities. Add our own.
        self.authorities = folder / "authorities.pem"
        usual = (self.artifact / "botocore/cacert.pem").read_text()
        self.authorities.write_text(usual + aws.certificate.read_text())
        # pip and Lambda have compiled modules; uv does not compile what it installs.
        installed = next(PROJECT.glob(".tools/bench/lib/python*/site-packages"))
        compileall.compile_dir(installed, quiet=2, workers=0)

    def server(self, *options: str) -> Server:
        """Start a server that runs as long as the benchmark."""
        key = self.aws.directory / "key.pem"
        always = (f"--certificate={self.aws.certificate}", f"--key={key}", f"--secret={_SECRET}")
        process = subprocess.Popen(
            [str(PYTHON), "-m", "bench.server", *always, *options],
            cwd=PROJECT,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._stop.callback(process.wait)
        self._stop.callback(process.kill)
        assert process.stdout  # noqa: S101 - it is a pipe
        return Server(int(process.stdout.readline()), self.aws.certificate)

    def table(self, key: str) -> str:
        """Create a table, for `pk` the template's, and return its name."""
        self._made += 1
        name = f"table-{self._made}"
        schema: Any = {
            "BillingMode": "PAY_PER_REQUEST",
            "AttributeDefinitions": [{"AttributeName": key, "AttributeType": "S"}],
            "KeySchema": [{"AttributeName": key, "KeyType": "HASH"}],
        }
        if key == "pk":
            schema = table_schema()
        self.dynamodb.create_table(TableName=name, **schema)
        return name

    def event(self, shape: Shape) -> Path:
        """Write an event that is newer than those before."""
        self._last_ms += 1000
        self._made += 1
        path = self.folder / f"event-{self._made}.json"
        content = events.make(shape, at_ms=self._last_ms)
        path.write_text(json.dumps(content, separators=(",", ":")))
        return path

    def invoke(
        self,
        handler: str,
        event: Path,
        customerio: Server,
        *,
        table: str,
        aws: Server | None = None,
        warm_up: Sequence[Shape] | None = None,
        artifact: Path | None = None,
    ) -> Usage:
        """Invoke a handler with an event in a new process; `artifact` is another build of ours.

        Events of the shapes in `warm_up`, or else of other people, are handled before.
        """
        shapes = [WARM_UP if handler == OURS else _PEERS_WARM_UP] if warm_up is None else warm_up
        before = [self.event(shape) for shape in shapes]
        environ = self.environ(customerio, table, aws)
        return self._invoke(handler, [*before, event], environ, artifact)

    def walk(self, customerio: Server, table: str, *steps: Any) -> Usage:
        """Invoke the walker with the last of these steps in a new process, after the others."""
        paths = []
        for step in steps:
            self._made += 1
            paths.append(self.folder / f"step-{self._made}.json")
            paths[-1].write_text(json.dumps(step))
        return self._invoke(WALKER, paths, self.environ(customerio, table))

    def _invoke(
        self,
        handler: str,
        events: Sequence[Path],
        environ: Mapping[str, str],
        artifact: Path | None = None,
    ) -> Usage:
        """Invoke a handler with the last of these events in a new process, after the others."""
        result = self.folder / "result.json"
        is_ours = handler in {OURS, WALKER}
        places = [artifact or self.artifact, PROJECT] if is_ours else [PROJECT]
        done = subprocess.run(
            [PYTHON, "-m", "bench.invoked", handler, events[-1], result, *events[:-1]],
            cwd=self.folder,
            env={**environ, "PYTHONPATH": os.pathsep.join(map(str, places))},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            sys.exit(f"{handler} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
        return msgspec.json.decode(result.read_bytes(), type=Usage)

    def environ(self, customerio: Server, table: str, aws: Server | None = None) -> dict[str, str]:
        """Return the environment of the function and of its peers."""
        authorities = str(self.authorities)
        return {
            "PATH": os.environ["PATH"],
            "AWS_ACCESS_KEY_ID": emulator.ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": emulator.ACCESS_KEY,
            "AWS_REGION": emulator.REGION,
            "AWS_DEFAULT_REGION": emulator.REGION,
            "AWS_ENDPOINT_URL": aws.url if aws else self.aws.url,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "SSL_CERT_FILE": authorities,
            "REQUESTS_CA_BUNDLE": authorities,
            "NO_PROXY": "*",
            "TABLE_NAME": table,
            "QUEUE_URL": f"{self.aws.url}/queue",
            "RETRY_QUEUE_URL": f"{self.aws.url}/retries",
            "MAX_RETRY_HOURS": "168",
            "DEAD_LETTER_QUEUE_URL": f"{self.aws.url}/dead-letters",
            "WALKS_ARN": "walks",
            "CREDENTIALS_SECRET_NAME": "credentials",
            "TRACK_API_URL": customerio.url,
            # High enough that nothing waits, as the peers have no such limit.
            "REQUESTS_PER_SECOND": "1000",
            "MAXIMUM_CONCURRENCY": "1",
            "RETRY_CONCURRENCY": "1",
            "WALK_CONCURRENCY": "1",
            "WALK_PEOPLE_PER_SECOND": "9999",  # no pause while it is measured
            "POWERTOOLS_SERVICE_NAME": "bench",
            "POWERTOOLS_METRICS_NAMESPACE": "AudienceForwarder",
            "POWERTOOLS_LOG_LEVEL": "INFO",
            "SITE_ID": SITE_ID,
            "API_KEY": API_KEY,
            "TRACK_API_HOST": "127.0.0.1",
            "TRACK_API_PORT": str(customerio.port),
            # On Lambda the code's folder is read-only.
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def started(
        self,
        code: str,
        customerio: Server,
        *,
        artifact: Path | None = None,
        aws: Server | None = None,
    ) -> tuple[float, float]:
        """Return the CPU and wall time, in seconds, of code in a new process.

        Without an artifact, the code imports libraries as pip installs them.
        """
        timed = (
            "import time; w, c = time.perf_counter(), time.process_time()\n"
            f"{code}\n"
            "print(time.process_time() - c, time.perf_counter() - w)"
        )
        done = subprocess.run(
            [PYTHON, "-c", timed],
            cwd=self.folder,
            env=self.environ(customerio, "no-table", aws) | {"PYTHONPATH": str(artifact or "")},
            capture_output=True,
            text=True,
            check=True,
        )
        cpu, wall = map(float, done.stdout.split()[-2:])
        return cpu, wall


@contextmanager
def running(folder: Path) -> Iterator[Bench]:
    """Run the benchmark's servers until the block ends."""
    emulator.isolate(os.environ)
    with emulator.running(folder) as aws, ExitStack() as stop:
        yield Bench(folder, aws, stop)


def item_bytes(item: Mapping[str, Any]) -> int:
    """Return the size of an item as DynamoDB calculates it, for the types in our items."""
    return sum(len(name.encode()) + _value_bytes(value) for name, value in item.items())


def _value_bytes(value: Mapping[str, Any]) -> int:
    match value:
        case {"N": str(digits)}:
            return len(digits) // 2 + 2  # at most: a byte for two digits, and two more
        case {"S": str(text)}:
            return len(text.encode())
        case {"B": bytes(content)}:
            return len(content)
        case _:
            return 1

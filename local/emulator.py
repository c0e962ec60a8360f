"""Emulator: AWS on this machine, in a process of its own, on loopback only.

It enforces IAM policies, and it speaks TLS, since the stack's queues refuse plain HTTP.
deployment.py deploys to it.
"""

from __future__ import annotations

import http.client
import ipaddress
import os
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator, MutableMapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, TypedDict

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from local.command import FailedError

REGION: Final = "us-east-1"
ACCESS_KEY: Final = "test"
"""The emulator's root user, whom no policy restricts. The functions use their roles."""

_MINISTACK: Final = Path(__file__).parents[1] / ".tools/ministack/bin/ministack"
_SERVICES: Final = (
    "cloudformation,cloudwatch,dynamodb,firehose,iam,kms,lambda,logs,s3,secretsmanager,sqs,"
    "stepfunctions,sts"
)
_HOST: Final = "127.0.0.1"
_PORTS_TRIED: Final = 3
_SECONDS_TO_START: Final = 60.0


class ClientOptions(TypedDict):
    """What boto3 needs to talk to the emulator."""

    endpoint_url: str
    verify: str
    region_name: str
    aws_access_key_id: str
    aws_secret_access_key: str


@dataclass(frozen=True, slots=True)
class Emulator:
    """An emulator that answers."""

    url: str
    directory: Path
    """The folder of all files that it writes."""

    @property
    def certificate(self) -> Path:
        """Its certificate, which clients must trust; made for this run."""
        return self.directory / "certificate.pem"

    @property
    def log(self) -> Path:
        """The log of the emulator and of the functions that it runs."""
        return self.directory / "emulator.log"

    @property
    def client_options(self) -> ClientOptions:
        """Return the arguments for boto3.client."""
        return {
            "endpoint_url": self.url,
            "verify": str(self.certificate),
            "region_name": REGION,
            "aws_access_key_id": ACCESS_KEY,
            "aws_secret_access_key": ACCESS_KEY,
        }

    @property
    def variables(self) -> dict[str, str]:
        """Return the variables by which command line tools find it."""
        return {"AWS_ENDPOINT_URL": self.url, "AWS_CA_BUNDLE": str(self.certificate)}

    def answers(self) -> bool:
        """Tell whether it is up."""
        port = int(self.url.rpartition(":")[2])
        try:
            context = ssl.create_default_context(cafile=self.certificate)
            connection = http.client.HTTPSConnection(_HOST, port, timeout=2, context=context)
            with closing(connection):
                connection.request("GET", "/_ministack/health")
                return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False


def isolate(environ: MutableMapping[str, str]) -> None:
    """Hide the user's AWS account and proxies, so that nothing started here can reach them."""
    for name in [name for name in environ if name.startswith(("AWS_", "SAM_CLI_"))]:
        del environ[name]
    environ.update(
        AWS_ACCESS_KEY_ID=ACCESS_KEY,
        AWS_SECRET_ACCESS_KEY=ACCESS_KEY,
        AWS_DEFAULT_REGION=REGION,
        AWS_CONFIG_FILE=os.devnull,
        AWS_SHARED_CREDENTIALS_FILE=os.devnull,
        AWS_EC2_METADATA_DISABLED="true",
        NO_PROXY="*",
        no_proxy="*",
        SAM_CLI_TELEMETRY="0",
    )


@contextmanager
def running(directory: Path) -> Iterator[Emulator]:
    """Run an emulator until the block ends; it writes only to the directory."""
    with ExitStack() as stop:
        yield _started(directory, stop)


def _started(directory: Path, stop: ExitStack) -> Emulator:
    # Another process may take a free port before the emulator listens.
    for _ in range(_PORTS_TRIED - 1):
        try:
            return stop.enter_context(_running_at(_free_port(), directory))
        except FailedError as error:
            if "Address already in use" not in str(error):
                raise
    return stop.enter_context(_running_at(_free_port(), directory))


@contextmanager
def _running_at(port: int, directory: Path) -> Iterator[Emulator]:
    emulator = Emulator(url=f"https://{_HOST}:{port}", directory=directory)
    key = _certify(emulator)
    environ = {
        **os.environ,
        "AUTH": "true",
        "AWS_CA_BUNDLE": str(emulator.certificate),
        "BIND_HOST": _HOST,
        "GATEWAY_PORT": str(port),
        "IOT_MTLS_ENABLED": "0",
        "MINISTACK_HOST": _HOST,
        "MINISTACK_SSL_CERT": str(emulator.certificate),
        "MINISTACK_SSL_KEY": str(key),
        "SERVICES": _SERVICES,
        "SFN_WAIT_SCALE": "0.05",  # a failed step is retried after half a second, not after ten
        "TMPDIR": str(directory),
        "USE_SSL": "1",
    }
    with (
        emulator.log.open("wb") as log,
        subprocess.Popen(
            [_MINISTACK],
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        ) as process,
    ):
        try:
            _wait_for(emulator, process)
            yield emulator
        finally:
            _stop(process)


def _wait_for(emulator: Emulator, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _SECONDS_TO_START
    while not emulator.answers():
        if process.poll() is not None or time.monotonic() > deadline:
            message = f"the emulator did not start:\n{emulator.log.read_text()[-2000:]}"
            raise FailedError(message)
        time.sleep(0.05)


def _stop(process: subprocess.Popen[bytes]) -> None:
    # Kill it at once, as there is nothing to save, and with its group, which includes the
    # processes that run the functions. One that did not start is gone.
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind((_HOST, 0))
        port: int = listener.getsockname()[1]
        return port


def _certify(emulator: Emulator) -> Path:
    """Write a certificate for loopback, valid for a week, and return the file of its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "emulator on this machine")])
    names = x509.SubjectAlternativeName(
        [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address(_HOST))]
    )
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=7))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]),
            critical=False,
        )
        .add_extension(
            x509.SubjectKeyIdentifier.from_public_key(key.public_key()),
            critical=False,
        )
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    emulator.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file = emulator.directory / "key.pem"
    key_file.touch(mode=0o600)
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return key_file

"""The clients of AWS against a server on loopback: answers, and botocore's errors."""

from __future__ import annotations

import json
import socket
import threading
import time
from contextlib import closing, contextmanager, suppress
from typing import Any

import pytest
import urllib3
from botocore import exceptions

from handler.aws import transport
from handler.aws.clients import client_factory

REQUEST: Any = {"RequestItems": {"people": {"Keys": [{"pk": {"S": "s3cret"}}]}}}
SILENCE = None


@pytest.fixture
def pool():
    pool = transport.connection_pool(1)
    yield pool
    pool.clear()


@pytest.fixture
def dynamodb(pool, monkeypatch):
    """Makes a client for a URL; it waits 0.2 s for each read."""
    monkeypatch.setattr(transport, "_TIMEOUT", urllib3.Timeout(connect=5.0, read=0.2))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")

    def at(url: str) -> Any:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        return client_factory(pool)("dynamodb")

    return at


@contextmanager
def answering(answer: bytes | None):
    """A server that answers one request with these bytes."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with closing(connection), suppress(ConnectionError):
                if answer is not SILENCE:
                    connection.sendall(answer)
                    connection.shutdown(socket.SHUT_WR)
                while connection.recv(1 << 16):
                    pass  # until the client closes

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        thread.join(10)


def http(status: str, content: object) -> bytes:
    body = json.dumps(content).encode()
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body


def test_an_answer_comes_over_the_pool_and_has_botocores_form(dynamodb, pool) -> None:
    content = {"Responses": {"people": [{"pk": {"S": "p"}, "memberships": {"B": "AAE="}}]}}

    with answering(http("200 OK", content)) as address:
        answer = dynamodb(f"http://{address}").batch_get_item(**REQUEST)

    assert answer["Responses"] == {"people": [{"pk": {"S": "p"}, "memberships": {"B": b"\0\1"}}]}
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert len(pool.pools) == 1


def test_the_client_of_a_service_is_created_once(pool, monkeypatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")

    client_of = client_factory(pool)

    assert client_of("sqs") is client_of("sqs")
    assert client_of("sqs") is not client_of("dynamodb")


def test_an_error_of_the_service_has_its_code(dynamodb) -> None:
    content = {"__type": "com.amazonaws.dynamodb.v20120810#ThrottlingException", "message": "m"}

    with (
        answering(http("400 Bad Request", content)) as address,
        pytest.raises(exceptions.ClientError) as raised,
    ):
        dynamodb(f"http://{address}").batch_get_item(**REQUEST)

    assert raised.value.response["Error"]["Code"] == "ThrottlingException"


@pytest.mark.parametrize(
    ("scheme", "answer", "raised"),
    [
        ("http", SILENCE, exceptions.ReadTimeoutError),
        ("http", b"", exceptions.ConnectionClosedError),
        (
            "http",
            b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{",
            exceptions.ConnectionClosedError,
        ),
        ("https", b"HTTP/1.1 400 Bad Request\r\n\r\n", exceptions.SSLError),
    ],
)
def test_an_error_of_the_connection_has_botocores_name_and_nothing_of_the_request(
    dynamodb, scheme, answer, raised
) -> None:
    with answering(answer) as address, pytest.raises(raised) as failed:
        dynamodb(f"{scheme}://{address}").batch_get_item(**REQUEST)

    assert "s3cret" not in str(failed.value)
    assert failed.value.__cause__ is None


@pytest.mark.parametrize("length", ["Content-Length: 1000", "Transfer-Encoding: chunked"])
def test_a_slow_answer_is_not_read_for_longer_than_the_limit(
    dynamodb, monkeypatch, length
) -> None:
    monkeypatch.setattr(transport, "_LAST_READ_S", 0.3)
    stop = threading.Event()

    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with closing(connection), suppress(ConnectionError):
                connection.sendall(f"HTTP/1.1 200 OK\r\n{length}\r\n\r\n".encode())
                while not stop.wait(0.05):
                    connection.sendall(b" " if "Content" in length else b"1\r\n \r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        started = time.monotonic()
        with pytest.raises(exceptions.ReadTimeoutError):
            dynamodb(f"http://127.0.0.1:{server.getsockname()[1]}").batch_get_item(**REQUEST)
        took = time.monotonic() - started
        stop.set()
        thread.join(10)

    assert 0.3 < took < 5


def test_a_connection_is_used_again(dynamodb, pool) -> None:
    answer = http("200 OK", {"Responses": {}}).replace(b"Connection: close\r\n", b"")
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()  # one connection only
            with closing(connection):
                for _ in range(2):
                    received = b""
                    while b"s3cret" not in received:
                        received += connection.recv(1 << 16)
                    connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        client = dynamodb(f"http://127.0.0.1:{server.getsockname()[1]}")
        assert client.batch_get_item(**REQUEST)["Responses"] == {}
        assert client.batch_get_item(**REQUEST)["Responses"] == {}
        thread.join(10)


def test_a_refused_connection_has_botocores_name(dynamodb) -> None:
    with pytest.raises(exceptions.EndpointConnectionError):
        dynamodb("http://127.0.0.1:1").batch_get_item(**REQUEST)

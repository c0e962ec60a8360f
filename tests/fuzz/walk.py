"""The whole walk from SQS event to outcome, of the real rooms; only what lies outside is made up.

SQS, DynamoDB and Customer.io are stood in for at their clients, with their limits, and all that
is written is kept to be searched.
"""

from __future__ import annotations

import base64
import functools
import json
import logging
import re
import traceback
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor, Future
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from io import BytesIO, StringIO
from typing import Any, Final

from aws_lambda_powertools import Logger, Metrics
from botocore.exceptions import ClientError

from handler import queue
from handler.clock import Deadline
from handler.credentials import Credentials
from handler.customerio.client import TrackApi
from handler.domain.options import AttributeOptions
from handler.errors import RetryableError
from handler.jobs.deliver import Deliverer
from handler.jobs.forward import Forwarder
from handler.jobs.run import Outside
from handler.queue import Queue
from handler.table.people import People
from handler.telemetry import Telemetry
from tests.builders import NOW, deadline
from tests.hostile import API_KEY, SITE_ID

SQS_BYTES: Final = 1 << 20
NOT_FOR_SQS: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@functools.cache
def _handler() -> logging.StreamHandler[StringIO]:
    return logging.StreamHandler(StringIO())


@functools.cache
def _logger() -> Logger:
    # Powertools keeps one logger for each service name, so the worlds share one.
    return Logger(service="walk", logger_handler=_handler())


class AtOnce(Executor):
    """Does what it is given before it returns: no threads, so that every run is the same."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **fields: Any) -> Future[Any]:
        done: Future[Any] = Future()
        try:
            done.set_result(fn(*args, **fields))
        except Exception as error:  # noqa: BLE001 - a future holds whatever was raised
            done.set_exception(error)
        return done


class Sqs:
    """A dead-letter queue and its limits, and what the source queue was told."""

    def __init__(self) -> None:
        self.letters: list[dict[str, Any]] = []
        self.refused: list[str] = []
        self.delayed: list[str] = []

    def send_message_batch(self, *, QueueUrl: str, Entries: Any) -> Any:  # noqa: N803
        texts = [text for entry in Entries for text in _texts(entry)]
        if len(Entries) > 10 or sum(len(_utf8(text)) for text in texts) > SQS_BYTES:
            self.refused.append("too large")
            raise _refused("AWS.SimpleQueueService.BatchRequestTooLong")
        failed = [entry for entry in Entries if any(map(NOT_FOR_SQS.search, _texts(entry)))]
        self.refused += ["characters"] * len(failed)
        taken = [entry for entry in Entries if entry not in failed]
        self.letters += taken
        return {
            "Successful": [{"Id": entry["Id"]} for entry in taken],
            "Failed": [{"Id": entry["Id"], "Code": "InvalidMessageContents"} for entry in failed],
        }

    def change_message_visibility_batch(self, *, QueueUrl: str, Entries: Any) -> Any:  # noqa: N803
        assert all(0 <= entry["VisibilityTimeout"] <= 43_200 for entry in Entries)
        self.delayed += [entry["ReceiptHandle"] for entry in Entries]
        return {}


def _texts(entry: Mapping[str, Any]) -> list[str]:
    attributes = entry["MessageAttributes"].items()
    told = [name + value["DataType"] for name, value in attributes]
    return [entry["MessageBody"], *told, *(value["StringValue"] for _, value in attributes)]


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _refused(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": ""}}, "made up")


class DynamoDb:
    """A table of items, as far as the store asks of it, with the limit on an item."""

    def __init__(self) -> None:
        self.items: dict[str, dict[str, Any]] = {}

    def batch_get_item(self, *, RequestItems: Any) -> Any:  # noqa: N803
        ((table, request),) = RequestItems.items()
        keys = [key["pk"]["S"] for key in request["Keys"]]
        assert len(set(keys)) == len(keys) <= 100
        found = [self.items[key] for key in keys if key in self.items]
        return {"Responses": {table: found}, "UnprocessedKeys": {}}

    def batch_execute_statement(self, *, Statements: Any) -> Any:  # noqa: N803
        return {"Responses": [self._execute(**statement) for statement in Statements]}

    def _execute(self, *, Statement: str, Parameters: Any) -> Any:  # noqa: N803
        names = ("version", "timestamp", "identifier", "memberships", "expires_at")
        if Statement.startswith("INSERT"):
            key, fields, before = Parameters[0], Parameters[1:], None
        else:
            fields, key, before = Parameters[:-2], Parameters[-2], Parameters[-1]
        item = {"pk": key, **dict(zip(names, fields, strict=True))}
        assert len(item["identifier"]["S"].encode()) <= 1024
        if len(item["memberships"]["B"]) > 390_000:
            return {"Error": {"Code": "ValidationError"}}
        if self.items.get(key["S"], {}).get("version") != before:
            return {
                "Error": {"Code": "DuplicateItem" if before is None else "ConditionalCheckFailed"}
            }
        self.items[key["S"]] = item
        return {}


Refusal = Callable[[dict[str, Any]], str | None]
"""What Customer.io writes of an entity that it refuses, in free text; None if it takes it."""


class CustomerIo:
    """Customer.io behind urllib3's pool: checks its own limits, refuses what it is told to."""

    def __init__(self) -> None:
        self.people: dict[str, dict[str, Any]] = {}
        self.refusal: Refusal = lambda _: None
        self.answers_400 = False

    def request(self, method: str, url: str, *, body: bytes, headers: Any, **_: Any) -> Any:
        assert (method, url) == ("POST", "https://track.customer.io/api/v2/batch")
        assert (
            headers["authorization"].split()[1]
            == base64.b64encode(f"{SITE_ID}:{API_KEY}".encode()).decode()
        )
        assert len(body) < 500_000
        entities = json.loads(body, parse_constant=_no_json)["batch"]
        refused = {place: self.refusal(one) for place, one in enumerate(entities)}
        errors = [
            {"batch_index": place, "reason": "invalid", "field": "attributes", "message": text}
            for place, text in refused.items()
            if text is not None
        ]
        if errors and self.answers_400:
            return Answer(400, {"errors": errors})
        for place, entity in enumerate(entities):
            check_entity(entity)
            if refused[place] is None:
                (value,) = entity["identifiers"].values()
                self.people.setdefault(value, {}).update(entity["attributes"])
        return Answer(207, {"errors": errors}) if errors else Answer(200, {})


def _no_json(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")


def check_entity(entity: dict[str, Any]) -> None:
    """Fail where an entity breaks one of Customer.io's limits."""
    assert set(entity) == {"type", "action", "identifiers", "timestamp", "attributes"}
    assert (entity["type"], entity["action"]) == ("person", "identify")
    assert len(json.dumps(entity, ensure_ascii=False, separators=(",", ":")).encode()) <= 32_000
    ((kind, value),) = entity["identifiers"].items()
    assert kind in {"id", "email"}
    assert value.strip() == value
    assert 0 < len(value.encode()) <= 150
    assert NOW - 100 <= entity["timestamp"] < NOW + 1_000_000
    assert len(entity["attributes"]) <= 300
    for name, attribute in entity["attributes"].items():
        assert 0 < len(name.encode()) <= 150
        assert attribute is None or isinstance(attribute, bool | str)
        assert not isinstance(attribute, str) or len(attribute.encode()) <= 1000


class Answer:
    """An answer of Customer.io, as urllib3 hands it over."""

    def __init__(self, status: int, told: Any) -> None:
        self.status = status
        self.headers: dict[str, str] = {}
        self.read1 = BytesIO(json.dumps(told).encode()).read1

    def release_conn(self) -> None:
        """Nothing is held."""

    close = release_conn


class Secret:
    """The credentials secret, with an entry for account 1001 alone."""

    name = "credentials"

    def text(self, *, deadline: Deadline, refresh: bool = False) -> str:
        entry = {"site_id": SITE_ID, "api_key": API_KEY}
        return json.dumps({"accounts": {"1001": entry}})


@dataclass(slots=True)
class Ending:
    """How an invocation ended: the messages left on the queue; what was raised if all were."""

    left: list[str] = field(default_factory=list)
    raised: RetryableError | None = None


class Walk:
    """The function, wired as app.py does it, in a world of its own."""

    def __init__(self) -> None:
        self.sqs = Sqs()
        self.dynamodb = DynamoDb()
        self.customerio = CustomerIo()
        self._written = StringIO()
        self._telemetry = Telemetry(
            _logger(), Metrics(namespace="Test", service="test"), version="test"
        )
        at_once = AtOnce()
        world: Any = self
        credentials = Credentials(Secret())
        self._forwarder = Forwarder(
            deliverer=Deliverer(
                Outside(
                    people=People(
                        world.dynamodb, "people", at_once, backoff=float, sleep=_no_sleep
                    ),
                    credentials=credentials,
                    customerio=TrackApi(
                        world.customerio,
                        at_once,
                        self._telemetry,
                        draw=_middle,
                        sleep=_no_sleep,
                        now=lambda: NOW,
                        requests_per_second=1000,
                    ),
                    telemetry=self._telemetry,
                    executor=at_once,
                    now=lambda: NOW,
                    sleep=_no_sleep,
                    backoff=float,
                    options=AttributeOptions(),
                )
            ),
            credentials=credentials,
            queue=Queue(
                world.sqs,
                at_once,
                queue_url="source",
                retry_queue_url="retry",
                dead_letter_queue_url="dead",
                draw=_middle,
            ),
            telemetry=self._telemetry,
            now=lambda: NOW,
            one_attribute_per_audience=True,
            retry_for_s=86_400.0,
        )

    def invoke(self, bodies: Iterable[str]) -> Ending:
        """Let an event in, with a message for each body, named m-0, m-1, …"""
        event = {"Records": [_record(f"m-{n}", text) for n, text in enumerate(bodies)]}
        ending = Ending()
        _handler().setStream(self._written)
        with redirect_stdout(self._written):
            try:
                failed = self._forwarder.process(
                    queue.messages(event, retry_queue_url="retry"), deadline=deadline()
                )
                answer = queue.partial_batch_response(failed)
                ending.left = [one["itemIdentifier"] for one in answer["batchItemFailures"]]
            except RetryableError as error:
                ending.raised = error
                ending.left = [record["messageId"] for record in event["Records"]]
                # Lambda logs the traceback of what the function raises.
                self._written.write("".join(traceback.format_exception(error)))
            finally:
                self._telemetry.flush()
        return ending

    @property
    def written(self) -> str:
        """All lines so far: the log's, the metrics', and of what was raised."""
        lines = self._written.getvalue()
        # JSON's escapes hide letters from a search, so both forms are searched.
        return lines + re.sub(r"\\u([0-9a-f]{4})", lambda found: chr(int(found[1], 16)), lines)


def _record(message_id: str, text: str) -> dict[str, Any]:
    return {
        "messageId": message_id,
        "receiptHandle": f"handle-{message_id}",
        "body": text,
        "attributes": {"ApproximateReceiveCount": "1"},
    }


def _middle(low: float, high: float, /) -> float:
    return (low + high) / 2


def _no_sleep(seconds: float) -> None:
    raise AssertionError(f"nothing here is worth waiting {seconds} s for")

"""The whole walk from SQS event to outcome, of the real rooms; only what lies outside is made up.

SQS, DynamoDB and Customer.io are stood in for at their clients, with their limits, and all that
is written is kept to be searched.
"""

from __future__ import annotations

import functools
import json
import logging
import re
import traceback
from collections.abc import Iterable
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from typing import Any

from aws_lambda_powertools import Logger, Metrics

from handler import queue
from handler.clock import Deadline
from handler.credentials import Credentials
from handler.customerio.client import TrackApi
from handler.domain.options import DeliveryOptions
from handler.errors import RetryableError
from handler.queue import Queue
from handler.table.table import open_table
from handler.telemetry import Telemetry
from tests.builders import NOW, deadline
from tests.hostile import API_KEY, SITE_ID
from tests.stand_ins.aws import DynamoDb, Sqs
from tests.stand_ins.customerio import CustomerIo
from tests.stand_ins.executors import AtOnce
from tests.stand_ins.forwarder import forwarder


@functools.cache
def _handler() -> logging.StreamHandler[StringIO]:
    return logging.StreamHandler(StringIO())


@functools.cache
def _logger() -> Logger:
    # Powertools keeps one logger for each service name, so the worlds share one.
    return Logger(service="walk", logger_handler=_handler())


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
        table = open_table(
            world.dynamodb, "people", at_once, backoff=float, now=lambda: NOW, sleep=_no_sleep
        )
        self._forwarder = forwarder(
            people=table.people,
            audiences=table.audiences,
            erasures=table.erasures,
            credentials=Credentials(Secret()),
            customerio=TrackApi(
                world.customerio,
                at_once,
                self._telemetry,
                draw=_middle,
                sleep=_no_sleep,
                now=lambda: NOW,
                requests_per_second=1000,
            ),
            queue=Queue(
                world.sqs,
                at_once,
                queue_url="source",
                retry_queue_url="retry",
                dead_letter_queue_url="dead",
                draw=_middle,
            ),
            telemetry=self._telemetry,
            executor=at_once,
            options=DeliveryOptions(one_attribute_per_audience=True, on_erasure="delete"),
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

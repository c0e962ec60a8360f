"""The front door, wired to the emulator and the fake Customer.io, in this process."""

from __future__ import annotations

import gc
import json
import uuid
from contextlib import closing
from types import SimpleNamespace
from typing import Any, Final

import boto3
import pytest

from handler import app
from handler.clock import now
from handler.errors import MisconfiguredError
from local.fake_customerio.faults import Fault, FaultKind
from tests.builders import audience, body, profile, record

# The function keeps its connections as long as its environment lives; here that is one test.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

CONTEXT: Any = SimpleNamespace(aws_request_id="r-1", get_remaining_time_in_millis=lambda: 60_000)


@pytest.fixture
def queues(aws):
    with closing(boto3.client("sqs", **aws.client_options)) as sqs:
        yield [sqs.create_queue(QueueName=f"{name}-{uuid.uuid4()}")["QueueUrl"] for name in "qrd"]


@pytest.fixture
def environ(aws, fake, queues, table, monkeypatch):
    name = f"app-{uuid.uuid4()}"
    credentials = json.dumps({"site_id": "site-a", "api_key": "key-a"})
    with closing(boto3.client("secretsmanager", **aws.client_options)) as secretsmanager:
        secretsmanager.create_secret(Name=name, SecretString=credentials)
    made = {
        **aws.variables,
        "AWS_ACCESS_KEY_ID": aws.client_options["aws_access_key_id"],
        "AWS_SECRET_ACCESS_KEY": aws.client_options["aws_secret_access_key"],
        "AWS_DEFAULT_REGION": aws.client_options["region_name"],
        "POWERTOOLS_SERVICE_NAME": f"test-{uuid.uuid4()}",
        "POWERTOOLS_METRICS_NAMESPACE": "Test",
        "TABLE_NAME": table,
        "QUEUE_URL": queues[0],
        "RETRY_QUEUE_URL": queues[1],
        "DEAD_LETTER_QUEUE_URL": queues[2],
        "WALKS_ARN": "arn:aws:states:us-east-1:000000000000:stateMachine:none",
        "MAX_RETRY_HOURS": "168",
        "CREDENTIALS_SECRET_NAME": name,
        "TRACK_API_URL": fake.url,
        "REQUESTS_PER_SECOND": "500",
        "MAXIMUM_CONCURRENCY": "10",
        "RETRY_CONCURRENCY": "2",
        "WALK_CONCURRENCY": "2",
        "WALK_PEOPLE_PER_SECOND": "2000",
    }
    for variable, value in made.items():
        monkeypatch.setenv(variable, value)
    yield made
    app.forwarder.cache_clear()
    app.settings.cache_clear()
    app.telemetry.cache_clear()
    gc.collect()


def test_an_event_ends_as_attributes_and_the_metrics_are_written(fake, environ, capsys) -> None:
    text = body(profile(audience(7)), at_ms=int(now() * 1000))

    answer = app.lambda_handler({"Records": [record(body=text)]}, CONTEXT)

    assert answer == {"batchItemFailures": []}
    (person,) = fake.people()
    assert person.attributes == {"SegmentMembership": "'7'"}
    metrics = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert metrics["PeopleDelivered"] == [1.0]


def test_the_forwarder_is_wired_once(environ) -> None:
    assert app.forwarder() is app.forwarder()


def test_a_message_to_be_retried_moves_to_the_retry_queue(fake, environ, aws, capsys) -> None:
    fake.misbehave(Fault(FaultKind.STATUS, status=404, times=None))

    answer = app.lambda_handler({"Records": [record(body=body(profile()))]}, CONTEXT)

    assert answer == {"batchItemFailures": []}
    assert delayed(aws, environ["RETRY_QUEUE_URL"]) == 1
    metrics = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert metrics["RecordsRetried"] == [1.0]


def test_a_batch_that_stays_on_the_retry_queue_is_answered_and_its_metrics_are_written(
    fake, environ, capsys
) -> None:
    fake.misbehave(Fault(FaultKind.STATUS, status=404, times=None))
    retries = environ["RETRY_QUEUE_URL"].rpartition("/")[2]
    again = record(
        body=body(profile()),
        eventSourceARN=f"arn:aws:sqs:us-east-1:000000000000:{retries}",
        attributes={"ApproximateReceiveCount": "1", "SentTimestamp": str(int(now() * 1000))},
    )

    answer = app.lambda_handler({"Records": [again]}, CONTEXT)

    assert answer == {"batchItemFailures": [{"itemIdentifier": again["messageId"]}]}
    metrics = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert metrics["RecordsRetried"] == [1.0]


def delayed(aws, url) -> int:
    name: Final = "ApproximateNumberOfMessagesDelayed"
    with closing(boto3.client("sqs", **aws.client_options)) as sqs:
        answer = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=[name])
    return int(answer["Attributes"][name])


def test_a_missing_setting_stops_the_function_and_is_named(environ, monkeypatch) -> None:
    monkeypatch.delenv("TABLE_NAME")

    with pytest.raises(MisconfiguredError, match="TABLE_NAME"):
        app.lambda_handler({"Records": [record(body=body(profile()))]}, CONTEXT)

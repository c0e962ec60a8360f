"""AWS in memory, by moto, with the queues of a stack."""

from dataclasses import replace
from types import SimpleNamespace

import boto3
import pytest
from moto import mock_aws
from moto.core.base_backend import BackendDict

from ops.dead_letter_queue import DeadLetterQueue
from tests.unit.ops.builders import STACK, STREAM, text_attributes


@pytest.fixture(scope="session")
def clients():
    """Create each client once, as that takes longer than a test."""
    with mock_aws():
        clients = {
            name: boto3.client(name)
            for name in ("sqs", "dynamodb", "logs", "s3", "firehose", "iam")
        }
        return {**clients, "secrets": boto3.client("secretsmanager")}


@pytest.fixture(scope="module")
def mocked(clients):
    """Start moto once for a module, as that takes longer than most tests."""
    with mock_aws():
        yield


@pytest.fixture
def aws(clients, mocked):
    """The clients, with nothing there yet."""
    BackendDict.reset()
    return SimpleNamespace(**clients)


@pytest.fixture
def stack(aws):
    urls = {name: aws.sqs.create_queue(QueueName=name)["QueueUrl"] for name in "qrd"}
    return replace(
        STACK, queue_url=urls["q"], retry_queue_url=urls["r"], dead_letter_queue_url=urls["d"]
    )


@pytest.fixture
def store(aws):
    """Put an object into the bucket of the stream."""
    aws.s3.create_bucket(Bucket=STREAM.bucket)

    def put(key, data):
        aws.s3.put_object(Bucket=STREAM.bucket, Key=key, Body=data)

    return put


@pytest.fixture
def queue(aws, stack):
    return DeadLetterQueue(aws.sqs, stack, sleep=lambda _: None, poll_s=0)


@pytest.fixture
def set_aside(aws, stack):
    """Put a message into the dead-letter queue, as the function does."""

    def send(error_type="NoIdentity", source="m-1", body="{}"):
        aws.sqs.send_message(
            QueueUrl=stack.dead_letter_queue_url,
            MessageBody=body,
            MessageAttributes=text_attributes(
                ErrorType=error_type, ErrorMessage="why", SourceMessageId=source
            ),
        )

    return send


@pytest.fixture
def receive(aws, stack):
    """Receive a message of the dead-letter queue, which hides it from others."""

    def received():
        (message,) = aws.sqs.receive_message(QueueUrl=stack.dead_letter_queue_url)["Messages"]
        return message

    return received


@pytest.fixture
def bodies(aws):
    """Return the bodies that are visible on a queue."""

    def visible(url):
        messages = aws.sqs.receive_message(
            QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=0
        )
        return sorted(message["Body"] for message in messages.get("Messages", ()))

    return visible


@pytest.fixture
def on_sending(aws):
    """Return what has a function called at each request that sends messages."""
    event, functions = "before-call.sqs.SendMessageBatch", []

    def register(function):
        aws.sqs.meta.events.register(event, function)
        functions.append(function)

    yield register
    for function in functions:
        aws.sqs.meta.events.unregister(event, function)


@pytest.fixture
def taking_last_only(on_sending):
    """Have SQS take only the second of the two messages in a batch request."""
    answer = {"Successful": [{"Id": "1", "MessageId": "new"}], "Failed": [{"Id": "0"}]}

    def send_message_batch(**_):
        return SimpleNamespace(status_code=200), answer

    on_sending(send_message_batch)

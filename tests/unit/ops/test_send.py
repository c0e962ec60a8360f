"""Sending one message to the queue or to the ingress."""

import io
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from handler.errors import UnavailableError
from ops.send import to_ingress, to_queue
from ops.stack import Aws, Ingress

BY_INVOCATION = Ingress("arn:i:live", "i", "li")
BY_URL = Ingress("arn:i:live", "i", "li", "https://abc.lambda-url.us-east-1.on.aws/")
AT = 1767323045
HEADERS = {"HTTPHeaders": {"date": "Fri, 02 Jan 2026 03:04:05 GMT"}}


def test_a_message_is_put_on_the_queue(aws, stack, bodies) -> None:
    sent = to_queue(aws, stack, "a message")

    assert bodies(stack.queue_url) == ["a message"]
    assert sent.at > AT


@pytest.fixture
def invoked():
    """Invoke an ingress that answers so, and has a URL that leads nowhere."""

    def invoke(payload, ingress=BY_URL, **fields):
        functions = boto3.client("lambda")
        aws: Any = SimpleNamespace(functions=functions, is_emulated=True)
        answer = {"Payload": io.BytesIO(payload), "ResponseMetadata": HEADERS, **fields}
        with Stubber(functions) as stubbed:
            asked = {"FunctionName": ingress.arn, "Payload": b"{}"}
            stubbed.add_response("invoke", answer, asked)
            return to_ingress(aws, ingress, "{}")

    return invoke


@pytest.mark.parametrize("ingress", [BY_INVOCATION, BY_URL])
def test_an_ingress_without_a_url_that_leads_to_it_is_invoked(invoked, ingress) -> None:
    sent = invoked(b"{}", ingress)

    assert "invoked" in sent.how
    assert sent.at == AT


@pytest.mark.parametrize(
    ("payload", "error_type"),
    [(b'{"errorType": "OutOfTimeError"}', "OutOfTimeError"), (b"[]", "")],
)
def test_an_ingress_that_fails_is_an_error_with_its_type(invoked, payload, error_type) -> None:
    with pytest.raises(UnavailableError, match=f"the ingress failed: {error_type}"):
        invoked(payload, FunctionError="Unhandled")


def test_a_secret_without_a_token_is_an_error_that_names_it(aws) -> None:
    variables = {"QUEUE_URL": "q", "TABLE_NAME": "t", "URL_SECRET_NAME": "mparticle/token"}
    aws.secrets.create_secret(Name="mparticle/token", SecretString=" ")
    aws.is_emulated = False
    aws.functions = SimpleNamespace(
        get_function_configuration=lambda **_: {"Environment": {"Variables": variables}}
    )

    with pytest.raises(UnavailableError, match="mparticle/token has no token"):
        to_ingress(aws, BY_URL, "{}")


@pytest.mark.parametrize(
    ("endpoint_url", "is_emulated"), [("https://127.0.0.1:4566", True), (None, False)]
)
def test_another_address_than_one_of_aws_is_an_emulator_s(endpoint_url, is_emulated) -> None:
    aws = Aws(region="us-east-1", profile=None, endpoint_url=endpoint_url)

    assert aws.is_emulated is is_emulated

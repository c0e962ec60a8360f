"""Send: puts one message on the queue, or sends it to the ingress or into the audience stream as
mParticle does.
"""

from __future__ import annotations

import json
import ssl
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final

import urllib3
from urllib3.exceptions import HTTPError

from handler.errors import UnavailableError
from handler.http.token_auth import tokens_in
from handler.settings import IngressSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ops.stack import AudienceStream, Aws, Ingress, Stack

_TIMEOUT_S: Final = 20.0
_BUFFER_S: Final = 60  # AWS's own, if the template names none


@dataclass(frozen=True, slots=True)
class Sent:
    """Which way a message went, and when by AWS's clock, in Unix seconds; a laptop's may be
    wrong.
    """

    how: str
    at: float


def to_queue(aws: Aws, stack: Stack, body: str) -> Sent:
    """Put a message on the source queue."""
    answer = aws.sqs.send_message(QueueUrl=stack.queue_url, MessageBody=body)
    return Sent("put on the queue", _answered_at(answer["ResponseMetadata"]["HTTPHeaders"]))


def to_ingress(aws: Aws, ingress: Ingress, body: str) -> Sent:
    """Post a request to the ingress's URL, or invoke the ingress if it has none.

    Raises UnavailableError if the ingress does not accept it.
    """
    # The URL of an emulated function leads nowhere.
    if ingress.url and not aws.is_emulated:
        return _post(aws, ingress, body)
    answer = aws.functions.invoke(FunctionName=ingress.arn, Payload=body.encode())
    payload = answer["Payload"].read()
    if answer.get("FunctionError"):
        raise UnavailableError(f"the ingress failed: {_error_type(payload)}")
    at = _answered_at(answer["ResponseMetadata"]["HTTPHeaders"])
    return Sent("accepted by the ingress, which was invoked", at)


def _post(aws: Aws, ingress: Ingress, body: str) -> Sent:
    """Post with the token of the secret that the ingress reads."""
    function = aws.functions.get_function_configuration(FunctionName=ingress.arn)
    settings = IngressSettings.from_environ(function["Environment"]["Variables"])
    secret = aws.secrets.get_secret_value(SecretId=settings.url_secret_name)
    tokens = tokens_in(secret.get("SecretString", ""))
    if not tokens:
        raise UnavailableError(f"the secret {settings.url_secret_name} has no token")
    pool = urllib3.PoolManager(ssl_context=ssl.create_default_context(), retries=False)
    try:
        response = pool.request(
            "POST",
            ingress.url,
            body=body.encode(),
            headers={
                "Authorization": f"Token {tokens[0].decode()}",
                "Content-Type": "application/json",
            },
            timeout=_TIMEOUT_S,
        )
    except HTTPError as error:
        raise UnavailableError(f"the ingress's URL: {type(error).__name__}") from None
    if response.status != 200:
        raise UnavailableError(f"the ingress's URL answered {response.status}")
    return Sent("accepted by the ingress, at its URL", _answered_at(response.headers))


def to_stream(aws: Aws, stream: AudienceStream, record: str) -> Sent:
    """Put a record into the audience stream."""
    answer = aws.firehose.put_record(
        DeliveryStreamName=stream.name, Record={"Data": record.encode()}
    )
    at = _answered_at(answer["ResponseMetadata"]["HTTPHeaders"])
    return Sent("put into the audience stream", at)


def buffer_s(aws: Aws, stream: AudienceStream) -> int:
    """Return how many seconds the stream collects records before it passes them on."""
    described = aws.firehose.describe_delivery_stream(DeliveryStreamName=stream.name)
    (destination,) = described["DeliveryStreamDescription"]["Destinations"]
    processing = destination["ExtendedS3DestinationDescription"]["ProcessingConfiguration"]
    values = [
        int(parameter["ParameterValue"])
        for processor in processing["Processors"]
        for parameter in processor["Parameters"]
        if parameter["ParameterName"] == "BufferIntervalInSeconds"
    ]
    return max(values, default=_BUFFER_S)


def _answered_at(headers: Mapping[str, str]) -> float:
    lower = {name.lower(): value for name, value in headers.items()}
    return parsedate_to_datetime(lower["date"]).timestamp()


def _error_type(payload: bytes) -> str:
    content: Any = json.loads(payload)
    return str(content.get("errorType", "unknown")) if isinstance(content, dict) else "unknown"

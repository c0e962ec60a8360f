"""Streams: whether the audience stream takes records, and what it could not pass on."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from ops.stream_archive import Folder, find

if TYPE_CHECKING:
    from ops.stack import AudienceStream, Aws

ACTIVE: Final = "ACTIVE"
"""The status of a stream that takes records."""

_A_DAY_S: Final = 24 * 3600


def status(aws: Aws, stream: AudienceStream) -> str:
    """Return the status of the stream."""
    answer = aws.firehose.describe_delivery_stream(DeliveryStreamName=stream.name)
    return str(answer["DeliveryStreamDescription"]["DeliveryStreamStatus"])


def failed_objects(aws: Aws, stream: AudienceStream) -> int:
    """Return how many objects with failed records the last day has brought.

    They stay in the bucket when their records are replayed.
    """
    now = time.time()
    return len(find(aws.s3, stream.bucket, Folder.FAILED, start=now - _A_DAY_S, end=now))


def has_access_key(aws: Aws, stream: AudienceStream) -> bool:
    """Tell whether mParticle's user has an access key that is active."""
    keys = aws.iam.list_access_keys(UserName=stream.user_name)["AccessKeyMetadata"]
    return any(key["Status"] == "Active" for key in keys)

"""Queues: how many messages are on a queue, and how old the oldest is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ops.stack import Aws


@dataclass(frozen=True, slots=True)
class Depth:
    """How many messages are on a queue, as SQS estimates; `oldest_s` is None if unknown."""

    waiting: int
    hidden: int
    """Received by the function or by an operator, or delayed until the next try."""
    oldest_s: float | None

    @property
    def count(self) -> int:
        """Return how many messages there are."""
        return self.waiting + self.hidden


def depth(aws: Aws, url: str) -> Depth:
    """Return how many messages are on the queue at this URL, and how old they are."""
    counts = aws.sqs.get_queue_attributes(
        QueueUrl=url,
        AttributeNames=[
            "ApproximateNumberOfMessages",
            "ApproximateNumberOfMessagesDelayed",
            "ApproximateNumberOfMessagesNotVisible",
        ],
    )["Attributes"]
    waiting = int(counts["ApproximateNumberOfMessages"])
    hidden = sum(map(int, counts.values())) - waiting
    return Depth(waiting, hidden, _oldest(aws, url.rpartition("/")[2]) if waiting else None)


def _oldest(aws: Aws, queue_name: str) -> float | None:
    # Only CloudWatch knows the age, a minute or two late.
    now = datetime.now(UTC)
    points = aws.cloudwatch.get_metric_statistics(
        Namespace="AWS/SQS",
        MetricName="ApproximateAgeOfOldestMessage",
        Dimensions=[{"Name": "QueueName", "Value": queue_name}],
        StartTime=now - timedelta(minutes=10),
        EndTime=now,
        Period=60,
        Statistics=["Maximum"],
    )["Datapoints"]
    newest = max(points, key=lambda point: point["Timestamp"], default=None)
    return newest["Maximum"] if newest else None

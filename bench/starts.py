"""Starts: cold starts of both functions, and warm answers of the ingress."""

from __future__ import annotations

from typing import Final

from bench.measure import Server
from bench.report import Spread
from bench.session import Session

START_FORWARDER: Final = "from handler import app; app.telemetry(); app.forwarder()"
START_INGRESS: Final = "from handler import ingress; ingress.receiver()"

_SQS_MS: Final = 15
_LARGE_PROFILES: Final = 25_800

_QUEUE: Final = """
import os, boto3
os.environ["QUEUE_URL"] = boto3.client("sqs").create_queue(QueueName="q")["QueueUrl"]
"""
_ANSWER: Final = """
import types
from handler import ingress
context = types.SimpleNamespace(
    aws_request_id="r", get_remaining_time_in_millis=lambda: 10_000)
request = {{
    "type": "audience_membership_change_request", "id": "i", "timestamp_ms": 1790000000000,
    "firehose_version": "3.2.0", "account": {{"account_id": 1}}, "user_profiles": [{{
        "mpid": "1", "user_identities": [
            {{"type": "customer", "encoding": "raw", "value": "someone"}}],
        "audiences": [{{"audience_id": 1, "audience_name": "A", "action": "add"}}]}}] * {profiles},
}}
for _ in range({times}):
    ingress.lambda_handler(request, context)
"""


def cold_start(session: Session) -> None:
    """Measure import, wiring and first clients, and the least that any handler needs."""
    least = "import boto3; boto3.client('dynamodb')"
    ours, floor = session.cold_starts([(START_FORWARDER, True), (least, False)])
    for place, kind in enumerate(("CPU", "wall")):
        spreads = [Spread([start[place] * 1000 for start in starts]) for starts in (ours, floor)]
        ratio = spreads[0] / spreads[1]
        session.table.add(
            f"cold start, {kind}",
            "at most 1.1 times `import boto3` and a DynamoDB client",
            f"{ratio:.2f} times: {spreads[0].shown('ms')} over {spreads[1].shown('ms')}",
            met=ratio <= 1.1,
        )


def ingress(session: Session) -> None:
    """Measure how long mParticle waits for the ingress: a cold start, and warm answers."""
    least = "import boto3; boto3.client('sqs')"
    cold, floor = (
        Spread([wall_s * 1000 for _, wall_s in starts])
        for starts in session.cold_starts([(START_INGRESS, True), (least, False)])
    )
    away = session.bench.server(f"--sqs-ms={_SQS_MS}")
    runs = range(session.sizes.starts)
    # The queue is the emulator's, which takes most of the time of a warm answer.
    warm = Spread([_answer_ms(session, _QUEUE + _ANSWER, profiles=1, answers=50) for _ in runs])
    large = Spread(
        [_answer_ms(session, _ANSWER, profiles=_LARGE_PROFILES, answers=5, aws=away) for _ in runs]
    )
    session.table.note(
        "ingress, cold start, wall",
        f"{cold.shown('ms')}, {cold / floor:.2f} times `import boto3` and an SQS client",
    )
    session.table.note(
        "ingress, a warm answer to a request of one profile, wall", warm.shown("ms", 1)
    )
    session.table.note(
        f"ingress, a warm answer to a request of 4 MB, SQS {_SQS_MS} ms away, wall",
        large.shown("ms"),
    )


def _answer_ms(
    session: Session, code: str, *, profiles: int, answers: int, aws: Server | None = None
) -> float:
    """Return the milliseconds of a warm answer to a request with so many profiles.

    Two processes answer once, and once and `answers` times; the difference leaves out the start.
    """
    first, all_answers = (
        session.bench.started(
            code.format(profiles=profiles, times=times),
            session.fast,
            artifact=session.bench.artifact,
            aws=aws,
        )[1]
        for times in (1, 1 + answers)
    )
    return (all_answers - first) / answers * 1000

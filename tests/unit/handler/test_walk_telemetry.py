"""What a walk logs and counts."""

from __future__ import annotations

import json
import logging
import uuid
from io import StringIO

from aws_lambda_powertools import Logger, Metrics

from handler.domain.walk import Walk, WalkStep
from handler.errors import PersonRejectedError
from handler.walk_telemetry import WalkTelemetry


def test_a_step_and_who_was_skipped_are_logged_and_counted(capsys) -> None:
    lines = StringIO()
    logger = Logger(service=f"test-{uuid.uuid4()}", logger_handler=logging.StreamHandler(lines))
    Metrics.clear_metrics(Metrics(namespace="Test", service="test"))
    telemetry = WalkTelemetry(logger, Metrics(namespace="Test", service="test"), version="v1")
    walk = Walk(kind="resync")

    telemetry.walk_person_skipped("site#abc", PersonRejectedError("email: invalid"))
    telemetry.walk_step_done(
        WalkStep(walk, read=10, delivered=5),
        WalkStep(walk, read=40, delivered=30, skipped=1, done=True),
    )
    telemetry.flush()

    skipped, done = map(json.loads, lines.getvalue().splitlines())
    assert (skipped["message"], skipped["person"]) == ("walk.person_skipped", "abc")
    assert (skipped["error_type"], skipped["reason"]) == ("RejectedByCustomerIo", "email: invalid")
    assert (done["message"], done["read"], done["delivered"]) == ("walk.step_done", 30, 25)
    metrics = json.loads(capsys.readouterr().out)
    assert metrics["WalkPeopleRead"] == [30.0]
    assert metrics["WalkPeopleDelivered"] == [25.0]
    assert metrics["WalkPeopleSkipped"] == [1.0]

"""Walk telemetry: what a walk over the table logs and counts, beside what every delivery does."""

from __future__ import annotations

from handler.domain.update import hash_in
from handler.domain.walk import WalkStep
from handler.errors import Failure
from handler.metrics import MetricName
from handler.telemetry import Telemetry, reason_of


class WalkTelemetry(Telemetry):
    """Logs at once; metrics are summed up and written by `flush`. Safe to use from threads."""

    def walk_person_skipped(self, key: str, error: Failure) -> None:
        """Report a person whom a walk could not deliver, and goes on without."""
        self._logger.warning(
            "walk.person_skipped", extra={"person": hash_in(key), **reason_of(error)}
        )

    def walk_step_done(self, before: WalkStep, after: WalkStep) -> None:
        """Report what a step did."""
        read, delivered, skipped = (
            after.read - before.read,
            after.delivered - before.delivered,
            after.skipped - before.skipped,
        )
        self._count(MetricName.WalkPeopleRead, read)
        self._count(MetricName.WalkPeopleDelivered, delivered)
        self._count(MetricName.WalkPeopleSkipped, skipped)
        self._log(
            "walk.step_done",
            version=self._version,
            kind=after.walk.kind,
            segment=after.segment,
            done=after.done,
            read=read,
            delivered=delivered,
            skipped=skipped,
        )

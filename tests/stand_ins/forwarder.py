"""A real forwarder, with stand-ins for everything around it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any

from handler.domain.options import DeliveryOptions
from handler.jobs.forward import Forwarder
from handler.jobs.run import Outside
from tests.builders import NOW, deadline, message
from tests.stand_ins.executors import AtOnce
from tests.stand_ins.ports import (
    FixedCredentials,
    MemoryAudiences,
    MemoryErasures,
    MemoryPeople,
    MemoryQueue,
    MemorySuspensions,
    MemoryWalks,
    RecordingCustomerIo,
    RecordingTelemetry,
)

RETRY_FOR_S = 7 * 86_400.0


def forwarder(
    *,
    people: Any,
    customerio: Any,
    audiences: Any = None,
    erasures: Any = None,
    credentials: Any = None,
    queue: Any = None,
    telemetry: Any = None,
    executor: Executor | None = None,
    now: Callable[[], float] = lambda: NOW,
    sleep: Callable[[float], None] = lambda _: None,
    backoff: Callable[[int], float] = float,
    options: DeliveryOptions | None = None,
    suspensions: Any = None,
    walks: Any = None,
    retry_for_s: float = RETRY_FOR_S,
) -> Forwarder:
    """A forwarder with these rooms around it, and stand-ins for the others."""
    credentials = credentials or FixedCredentials()
    telemetry = telemetry or RecordingTelemetry()
    return Forwarder(
        Outside(
            people=people,
            audiences=audiences or MemoryAudiences(),
            erasures=erasures or MemoryErasures(),
            credentials=credentials,
            customerio=customerio,
            telemetry=telemetry,
            executor=executor or AtOnce(),
            now=now,
            sleep=sleep,
            backoff=backoff,
            options=options or DeliveryOptions(),
        ),
        queue=queue or MemoryQueue(),
        telemetry=telemetry,
        retry_for_s=retry_for_s,
        suspensions=suspensions,
        walks=walks,
    )


class House:
    """A forwarder and all it talks to."""

    def __init__(self, **settings) -> None:
        self.audiences = MemoryAudiences()
        self.erasures = MemoryErasures()
        self.people = MemoryPeople(self.audiences)
        self.customerio = RecordingCustomerIo()
        self.credentials = FixedCredentials()
        self.queue = MemoryQueue()
        self.suspensions = MemorySuspensions()
        self.walks = MemoryWalks()
        self.telemetry = RecordingTelemetry()
        self.now = NOW
        self.slept: list[float] = []
        options = settings.get("delivery_options") or DeliveryOptions(
            one_attribute_per_audience=settings.get("one_attribute", False)
        )
        self.forwarder = forwarder(
            people=self.people,
            audiences=self.audiences,
            erasures=self.erasures,
            customerio=self.customerio,
            credentials=self.credentials,
            queue=self.queue,
            telemetry=self.telemetry,
            executor=settings.get("executor"),
            now=lambda: self.now,
            sleep=self.slept.append,
            options=options,
            suspensions=self.suspensions if settings.get("suspends") else None,
            walks=self.walks if options.clear_removed_audiences else None,
        )

    def process(self, *bodies, seconds=60.0):
        batch = [message(text, f"m-{place}") for place, text in enumerate(bodies)]
        return self.forwarder.process(batch, deadline=deadline(seconds))

    def process_retried(self, *bodies, since=NOW):
        """Process messages as they come from the retry queue."""
        batch = [
            message(text, f"m-{place}", retried_since=since) for place, text in enumerate(bodies)
        ]
        return self.forwarder.process(batch, deadline=deadline())

    def set_aside(self) -> list[tuple[str, str, int]]:
        return [
            (letter.outcome.message.source_id, letter.error.error_type, letter.profiles)
            for letter in self.queue.letters
        ]

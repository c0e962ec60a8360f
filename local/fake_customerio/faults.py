"""Faults: what goes wrong with requests, for whom, and how often.

The control endpoint plans faults. The first planned fault that matches a request applies to it. If
that fault refuses entities, all other matching refusals of entities apply too. If the request is
accepted in spite of the fault, matching refusals apply as they would without it.
Faults apply only to requests with valid credentials.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from local.fake_customerio.people import Entity


class FaultKind(StrEnum):
    """Kinds of faults."""

    STATUS = "status"
    """The request is ignored, and `status`, `headers` and `body` are the answer."""
    DELAY = "delay"
    """After `delay` the request is accepted and answered, even if the client has gone."""
    DROP = "drop"
    """The request is ignored, and the connection breaks."""
    DROP_AFTER = "drop_after"
    """The request is accepted, and the connection breaks before the answer."""
    TRUNCATE = "truncate"
    """The request is accepted, and the connection breaks in the middle of the answer's body."""
    NONSENSE = "nonsense"
    """The request is ignored, and the answer is 200 with `body`, or with HTML."""
    REFUSE = "refuse"
    """`person` or `event` is refused with `reason`, and the rest of the request is accepted."""
    REFUSE_BATCH = "refuse_batch"
    """The whole request is refused with 400 because `person` or `event` is in it."""


_ACCEPTING = {FaultKind.DELAY, FaultKind.DROP_AFTER, FaultKind.TRUNCATE}
_REFUSING = {FaultKind.REFUSE, FaultKind.REFUSE_BATCH}


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault."""

    kind: FaultKind
    status: int = 503
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""
    reason: str = "invalid"
    delay: float = 0.0
    """Seconds to wait first, for any kind."""
    person: str | None = None
    """Only requests with exactly this identifier; None for any."""
    event: str | None = None
    """Only requests with an event of this name, of `person` if there is one; None for any."""
    path: str | None = None
    """Only requests whose path starts with this; None for any."""
    times: int | None = 1
    """How often the fault applies; None for always."""

    def __post_init__(self) -> None:
        """Raise ValueError if the kind needs a person or an event and none is named."""
        if self.kind in _REFUSING and not (self.person or self.event):
            message = f"a fault of kind {self.kind} names a person or an event"
            raise ValueError(message)

    def concerns(self, entity: Entity) -> bool:
        """Tell whether the entity is of the person and of the event that the fault names."""
        is_of_event = self.event is None or (entity.action, entity.name) == ("event", self.event)
        return is_of_event and (self.person is None or self.person in entity.identifiers.values())


@dataclass(slots=True)
class PlannedFault:
    """A fault, and how often it applied."""

    fault: Fault
    applied: int = 0

    def matches(self, path: str, entities: Sequence[Entity]) -> bool:
        """Tell whether the fault applies to this request."""
        fault = self.fault
        return (
            (fault.times is None or self.applied < fault.times)
            and (fault.path is None or path.startswith(fault.path))
            and ((fault.person or fault.event) is None or any(map(fault.concerns, entities)))
        )


class Faults:
    """The planned faults, in order, and how often each kind applied."""

    def __init__(self) -> None:
        """Start without faults."""
        self.planned: list[PlannedFault] = []
        self.applied: Counter[FaultKind] = Counter()

    def take(self, path: str, entities: Sequence[Entity]) -> list[Fault]:
        """Return and count the faults that apply to this request, the first planned one first."""
        matching = [planned for planned in self.planned if planned.matches(path, entities)]
        applying = matching[:1]
        if matching and matching[0].fault.kind in _ACCEPTING:
            matching = [each for each in matching if each.fault.kind in _REFUSING]
            applying += matching[:1]
        if matching and matching[0].fault.kind is FaultKind.REFUSE:
            applying += [each for each in matching[1:] if each.fault.kind is FaultKind.REFUSE]
        for planned in applying:
            planned.applied += 1
            self.applied[planned.fault.kind] += 1
        return [planned.fault for planned in applying]

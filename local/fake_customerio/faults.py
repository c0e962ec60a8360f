"""Faults: how the fake misbehaves, for whom, how often, and how often it did.

Faults come in from the control endpoint. The first one given that matches a request is the one
that applies to it; when that one refuses a person, all others of that kind that match do too. When
it lets the request be taken, the refusals that match hold as without it.
Only requests with good credentials meet a fault. Nothing here knows about HTTP.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import StrEnum


class FaultKind(StrEnum):
    """What goes wrong."""

    STATUS = "status"
    """Nothing is taken, and `status`, `headers` and `body` are the answer."""
    DELAY = "delay"
    """After `delay` the request is taken and answered as usual, even when nobody waits for it."""
    DROP = "drop"
    """The connection breaks, and nothing is taken."""
    DROP_AFTER = "drop_after"
    """The request is taken, and the connection breaks instead of an answer."""
    TRUNCATE = "truncate"
    """The request is taken, and the connection breaks half way through the answer's body."""
    NONSENSE = "nonsense"
    """Nothing is taken, and the answer is 200 with `body`, or with HTML."""
    REFUSE = "refuse"
    """`person` is refused with `reason`, and the rest of the request is taken."""
    REFUSE_BATCH = "refuse_batch"
    """The whole request is refused with 400 because `person` is in it."""


_TAKING = {FaultKind.DELAY, FaultKind.DROP_AFTER, FaultKind.TRUNCATE}
_REFUSING = {FaultKind.REFUSE, FaultKind.REFUSE_BATCH}


@dataclass(frozen=True, slots=True)
class Fault:
    """One way to misbehave."""

    kind: FaultKind
    status: int = 503
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""
    reason: str = "invalid"
    delay: float = 0.0
    """Seconds before anything else happens, whatever the kind."""
    person: str | None = None
    """Only requests that hold this identifier, letter by letter; None for any."""
    path: str | None = None
    """Only requests whose path starts so; None for any."""
    times: int | None = 1
    """How often; None until forgotten."""

    def __post_init__(self) -> None:
        """Insist on a person where the kind is about one."""
        if self.kind in _REFUSING and not self.person:
            message = f"a fault of kind {self.kind} names a person"
            raise ValueError(message)


@dataclass(slots=True)
class PlannedFault:
    """A fault and how often it was applied."""

    fault: Fault
    applied: int = 0

    def matches(self, path: str, people: AbstractSet[str]) -> bool:
        """Return whether the fault has turns left and is meant for this request."""
        fault = self.fault
        return (
            (fault.times is None or self.applied < fault.times)
            and (fault.path is None or path.startswith(fault.path))
            and (fault.person is None or fault.person in people)
        )


class Faults:
    """The faults planned, in the order given, and how often each kind was applied."""

    def __init__(self) -> None:
        """Start well-behaved."""
        self.planned: list[PlannedFault] = []
        self.applied: Counter[FaultKind] = Counter()

    def take(self, path: str, people: AbstractSet[str]) -> list[Fault]:
        """Return what applies to this request, the most striking first, and count it."""
        matching = [planned for planned in self.planned if planned.matches(path, people)]
        applying = matching[:1]
        if matching and matching[0].fault.kind in _TAKING:
            matching = [each for each in matching if each.fault.kind in _REFUSING]
            applying += matching[:1]
        if matching and matching[0].fault.kind is FaultKind.REFUSE:
            applying += [each for each in matching[1:] if each.fault.kind is FaultKind.REFUSE]
        for planned in applying:
            planned.applied += 1
            self.applied[planned.fault.kind] += 1
        return [planned.fault for planned in applying]

"""State: what the fake knows and does, shared by the Track API and the control endpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from local.fake_customerio.faults import Faults
from local.fake_customerio.journal import Journal
from local.fake_customerio.people import Ordering, People


@dataclass(frozen=True, slots=True)
class Session:
    """What a reset clears. A request in progress stays with the session it began in."""

    people: People
    journal: Journal = field(default_factory=Journal)
    faults: Faults = field(default_factory=Faults)


class State:
    """The accounts, by site id their API key, and the current session."""

    def __init__(self, accounts: Mapping[str, str], ordering: Ordering) -> None:
        """Start with these accounts and nobody known; each site id is a workspace of its own."""
        self.accounts = dict(accounts)
        self._ordering = ordering
        self.session = Session(People(ordering))

    def reset(self) -> None:
        """Forget people, requests and faults, and order timestamps as at the start."""
        self.session = Session(People(self._ordering))

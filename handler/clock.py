"""Time and chance: now, when the invocation must be done, a number between two.

Arguments everywhere, so tests can own them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

Now = Callable[[], float]
"""Unix time in seconds."""

Sleep = Callable[[float], None]
"""Wait for so many seconds."""

Draw = Callable[[float, float], float]
"""Chance: a number from the first to the second."""

AWS_CALL_S: Final = 4.0
"""How long a call to AWS can take, in seconds. aws/transport.py makes one try, with 1 s to
connect, 2 s for each read of the answer, and no read that begins more than 2 s after the start.
No call is begun with less time left."""


now: Now = time.time
sleep: Sleep = time.sleep


@dataclass(frozen=True, slots=True)
class Deadline:
    """A time at which work must be done. Every question asks the clock anew."""

    at: float
    now: Now

    @classmethod
    def of(cls, context: LambdaContext, *, now: Now) -> Deadline:
        """Return the time at which Lambda cuts the invocation off."""
        # `now` is Unix time, as Lambda's own deadline is. It goes on while Lambda freezes the
        # environment; a monotonic clock may stop.
        return cls(now() + context.get_remaining_time_in_millis() / 1000, now)

    def seconds_left(self) -> float:
        """Return the seconds until the deadline, 0 once it has passed."""
        return max(0.0, self.at - self.now())

    def allows(self, seconds: float) -> bool:
        """Tell whether something that takes so long can still be done."""
        return self.seconds_left() >= seconds

    def keeping(self, seconds: float) -> Deadline:
        """Return an earlier deadline, which keeps so many seconds for what comes after."""
        return Deadline(self.at - seconds, self.now)

    def within(self, seconds: float) -> Deadline:
        """Return a deadline so many seconds from now, or this one if that is earlier."""
        return Deadline(min(self.at, self.now() + seconds), self.now)

"""Clock: time, deadlines and random numbers. They are arguments, so that tests can set them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

Now = Callable[[], float]
"""Unix time in seconds."""

Sleep = Callable[[float], None]
"""Wait for a number of seconds."""

Draw = Callable[[float, float], float]
"""Return a random number from the first to the second."""

AWS_CALL_S: Final = 4.0
"""How long a call to AWS can take, in seconds. aws/transport.py makes one try, with 1 s to
connect and 2 s for each read of the answer, and begins no read later than 2 s after the start.
No call starts with less time left."""


now: Now = time.time
sleep: Sleep = time.sleep


class Deadline(msgspec.Struct, frozen=True):
    """A time at which work must be done. Every method reads the clock."""

    at: float
    now: Now

    @classmethod
    def of(cls, context: LambdaContext, *, now: Now) -> Deadline:
        """Return the time at which Lambda cuts the invocation off."""
        # `now` is Unix time, as is Lambda's own deadline. A monotonic clock may stop while Lambda
        # freezes the environment.
        return cls(now() + context.get_remaining_time_in_millis() / 1000, now)

    def seconds_left(self) -> float:
        """Return the seconds until the deadline, 0 once it has passed."""
        return max(0.0, self.at - self.now())

    def allows(self, seconds: float) -> bool:
        """Tell whether so many seconds are left."""
        return self.seconds_left() >= seconds

    def keeping(self, seconds: float) -> Deadline:
        """Return an earlier deadline, which reserves so many seconds for later work."""
        return Deadline(self.at - seconds, self.now)

    def within(self, seconds: float) -> Deadline:
        """Return a deadline so many seconds from now, or this one if that is earlier."""
        return Deadline(min(self.at, self.now() + seconds), self.now)

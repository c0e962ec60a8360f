"""Time and chance: now, what is left of the invocation, a number between two.

Arguments everywhere, so tests can own them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

Now = Callable[[], float]
"""Unix time in seconds."""

TimeLeft = Callable[[], float]
"""Seconds until the invocation is cut off."""

Sleep = Callable[[float], None]
"""Wait for so many seconds."""


class Draw(Protocol):
    """Chance: a number between two."""

    def __call__(self, low: float, high: float, /) -> float:
        """Return a number from `low` to `high`."""


AWS_CALL_S: Final = 4.0
"""How long a call to AWS can take, in seconds. aws/transport.py makes one try, with 1 s to
connect, 2 s for each read of the answer, and no read that begins more than 2 s after the start.
No call is begun with less time left."""


now: Now = time.time
sleep: Sleep = time.sleep


def time_left(context: LambdaContext) -> TimeLeft:
    """Return the remaining time of the invocation as a function, in seconds."""
    return lambda: context.get_remaining_time_in_millis() / 1000


def keeping(time_left: TimeLeft, seconds: float) -> TimeLeft:
    """Return the time left, less so many seconds that are kept for what comes after."""
    return lambda: time_left() - seconds

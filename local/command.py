"""Command: runs the commands of this folder and ends them cleanly."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Final

_STOPPING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class FailedError(Exception):
    """A command cannot go on; the text says why."""


def run(main: Callable[[], int]) -> None:
    """Run a command and end with its status.

    Ctrl-C, SIGTERM and a closed terminal also end it, without a traceback. Every `with` block is
    left, so every process stops.
    """
    for number in _STOPPING:
        signal.signal(number, _stop)
    try:
        sys.exit(main())
    except FailedError as error:
        sys.exit(str(error))


def _stop(stopping: int, _frame: FrameType | None) -> None:
    for number in _STOPPING:  # A second Ctrl-C would leave processes behind.
        signal.signal(number, signal.SIG_IGN)
    sys.exit(128 + stopping)

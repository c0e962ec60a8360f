"""Stand-ins for thread pools."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any


class AtOnce(Executor):
    """Calls at once, in the thread of whoever submits."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **how: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **how))
        except BaseException as error:  # noqa: BLE001 - as any executor does
            future.set_exception(error)
        return future

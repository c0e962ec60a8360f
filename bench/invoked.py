"""Invoked: runs one handler in a process of its own, and writes its time and memory.

`python -m bench.invoked HANDLER EVENT RESULT [WARM_UP ...]`, in the environment of the handler. As
on Lambda, the event is read and its JSON decoded before: the memory counts, the time does not.
"""

from __future__ import annotations

import importlib
import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

_BYTES_OF_RSS = 1 if sys.platform == "darwin" else 1024


def main(name: str, event: str, result: str, *warm_up: str) -> None:
    """Invoke the handler with each warm-up event, then with the event, and write its usage."""
    handler: Callable[[Any, object], Any] = importlib.import_module(name).lambda_handler
    for path in warm_up:
        _invoke(handler, json.loads(Path(path).read_bytes()))
    # Lambda's runtime also keeps the text while the function runs.
    text = Path(event).read_bytes()
    parsed = json.loads(text)
    wall, cpu = time.perf_counter(), time.process_time()
    _invoke(handler, parsed)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    usage = {
        "cpu_s": cpu,
        "wall_s": wall,
        "rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _BYTES_OF_RSS,
        "event_bytes": len(text),
    }
    Path(result).write_text(json.dumps(usage))


def _invoke(handler: Callable[[Any, object], Any], event: Any) -> None:
    deadline = time.monotonic() + 120  # the walker begins no page in the last minute
    context = SimpleNamespace(
        aws_request_id="00000000-0000-4000-8000-000000000000",
        get_remaining_time_in_millis=lambda: int((deadline - time.monotonic()) * 1000),
    )
    answer = handler(event, context)
    if answer is not None and answer != {"batchItemFailures": []} and not answer.get("done"):
        sys.exit(f"some messages failed, or a step is not done: {answer}")


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Mapping: the event source mappings, with which Lambda receives messages from the queues.

There are two: of the source queue, and of the retry queue.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ops.stack import Aws, Stack


QUEUES: Final = ("queue", "retry queue")
"""The tool's names of the queues that have a mapping."""


@dataclass(frozen=True, slots=True)
class EventSourceMapping:
    """One mapping. A `state` that ends in -ing changes soon.

    `queue` is one of `QUEUES`, or the name of a queue that does not belong to the stack.
    """

    uuid: str
    state: str
    queue: str
    reports_failures: bool
    """Whether only the failed messages of a batch return to the queue, not all of it."""


def find(aws: Aws, stack: Stack) -> list[EventSourceMapping]:
    """Return the mappings of the function; a stack in order has one for each queue."""
    urls = (stack.queue_url, stack.retry_queue_url)
    labels = {url.rpartition("/")[2]: queue for queue, url in zip(QUEUES, urls, strict=True)}
    answer = aws.functions.list_event_source_mappings(FunctionName=stack.function_name)
    mappings = []
    for item in answer["EventSourceMappings"]:
        name = item.get("EventSourceArn", "").rpartition(":")[2]
        reports = "ReportBatchItemFailures" in item.get("FunctionResponseTypes", ())
        mappings.append(
            EventSourceMapping(
                item["UUID"], item.get("State", ""), labels.get(name, name), reports
            )
        )
    return mappings


def states(aws: Aws, stack: Stack) -> dict[str, str]:
    """Return the state of the mapping of each queue; `none` if it has no mapping."""
    mappings = find(aws, stack)
    return dict.fromkeys(QUEUES, "none") | {each.queue: each.state for each in mappings}


def switch(aws: Aws, mapping: EventSourceMapping, *, is_enabled: bool) -> EventSourceMapping:
    """Enable or disable a mapping, and return it as it is now; the change can take minutes."""
    answer = aws.functions.update_event_source_mapping(UUID=mapping.uuid, Enabled=is_enabled)
    return replace(mapping, state=answer.get("State", ""))

"""Mapping: the event source mappings, by which Lambda receives messages from the queues.

There are two: of the source queue, and of the retry queue.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ops.stack import Aws, Stack


QUEUES: Final = ("queue", "retry queue")
"""What the tool calls the queues that have a mapping."""


@dataclass(frozen=True, slots=True)
class Mapping:
    """An event source mapping; a `state` that ends in -ing is on its way to another.

    `queue` is one of `QUEUES`, or the name of a queue that is not of the stack.
    """

    uuid: str
    state: str
    queue: str
    reports_failures: bool
    """Whether a message that fails comes back alone, not the whole batch."""


def find(aws: Aws, stack: Stack) -> list[Mapping]:
    """Return those of the function: one for each queue, in a stack that is in order."""
    urls = (stack.queue_url, stack.retry_queue_url)
    labels = {url.rpartition("/")[2]: queue for queue, url in zip(QUEUES, urls, strict=True)}
    answer = aws.functions.list_event_source_mappings(FunctionName=stack.function_name)
    found = []
    for each in answer["EventSourceMappings"]:
        name = each.get("EventSourceArn", "").rpartition(":")[2]
        reports = "ReportBatchItemFailures" in each.get("FunctionResponseTypes", ())
        found.append(Mapping(each["UUID"], each.get("State", ""), labels.get(name, name), reports))
    return found


def states(aws: Aws, stack: Stack) -> dict[str, str]:
    """Return the state of the mapping of each queue; `none` if it has no mapping."""
    return dict.fromkeys(QUEUES, "none") | {each.queue: each.state for each in find(aws, stack)}


def switch(aws: Aws, mapping: Mapping, *, is_enabled: bool) -> Mapping:
    """Enable or disable one, and return it as it is now; that takes up to some minutes."""
    answer = aws.functions.update_event_source_mapping(UUID=mapping.uuid, Enabled=is_enabled)
    return replace(mapping, state=answer.get("State", ""))

"""Mapping: the event source mapping, by which Lambda takes messages off the queue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ops.stack import Aws, Stack


@dataclass(frozen=True, slots=True)
class Mapping:
    """An event source mapping; a `state` that ends in -ing is on its way to another."""

    uuid: str
    state: str


def find(aws: Aws, stack: Stack) -> list[Mapping]:
    """Return those of the function: one, in a stack that is in order."""
    answer = aws.functions.list_event_source_mappings(FunctionName=stack.function_name)
    return [Mapping(one["UUID"], one.get("State", "")) for one in answer["EventSourceMappings"]]


def switch(aws: Aws, mapping: Mapping, *, is_enabled: bool) -> Mapping:
    """Enable or disable one, and return it as it is now; that takes up to some minutes."""
    answer = aws.functions.update_event_source_mapping(UUID=mapping.uuid, Enabled=is_enabled)
    return Mapping(mapping.uuid, answer.get("State", ""))

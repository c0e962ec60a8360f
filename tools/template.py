"""Template: the stack's template as Python values, with CloudFormation's short forms written out.

The tests and docs.py read it here.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, Final

import yaml

PROJECT: Final = Path(__file__).parents[1]


class _Loader(yaml.CSafeLoader):
    """YAML with CloudFormation's short forms: !Ref A is {"Ref": "A"}."""


def _short_form(loader: _Loader, tag: str, node: yaml.Node) -> dict[str, Any]:
    match node:
        case yaml.ScalarNode():
            value: object = loader.construct_scalar(node)
        case yaml.SequenceNode():
            value = loader.construct_sequence(node, deep=True)
        case yaml.MappingNode():
            value = loader.construct_mapping(node, deep=True)
        case _:
            raise TypeError(type(node))
    return {tag if tag in {"Condition", "Ref"} else f"Fn::{tag}": value}


_Loader.add_multi_constructor("!", _short_form)


@functools.cache
def read_template() -> dict[str, Any]:
    """Return the stack's template: the same value to all, so change nothing in it."""
    text = (PROJECT / "template.yaml").read_text()
    template: dict[str, Any] = _Loader(text).get_single_data()
    return template


def table_schema() -> dict[str, Any]:
    """Return how the table is keyed, indexed and billed, as arguments for create_table."""
    properties = read_template()["Resources"]["MembershipsTable"]["Properties"]
    names = ("AttributeDefinitions", "BillingMode", "GlobalSecondaryIndexes", "KeySchema")
    return {name: properties[name] for name in names}

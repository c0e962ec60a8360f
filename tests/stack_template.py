"""The stack's template, read for tests."""

from pathlib import Path
from typing import Any

import yaml

PROJECT = Path(__file__).parents[1]


class _Loader(yaml.SafeLoader):
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


def read_template() -> dict[str, Any]:
    text = (PROJECT / "template.yaml").read_text()
    template: dict[str, Any] = yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    return template


TEMPLATE = read_template()
RESOURCES = TEMPLATE["Resources"]


def properties(logical_id):
    return RESOURCES[logical_id]["Properties"]


def statements():
    """What the function's role may do."""
    (policy,) = properties("ForwarderRole")["Policies"]
    return policy["PolicyDocument"]["Statement"]


def role_statements(role):
    """What a role may do, with all settings: each statement, after its policy's name."""
    policies = [
        *properties(role)["Policies"],
        *(
            one["Properties"]
            for one in RESOURCES.values()
            if one["Type"] == "AWS::IAM::Policy" and {"Ref": role} in one["Properties"]["Roles"]
        ),
    ]
    return [
        (policy["PolicyName"], statement)
        for policy in policies
        for statement in policy["PolicyDocument"]["Statement"]
    ]


def ingress_statements():
    """What the ingress's role may do, with all settings."""
    return role_statements("IngressRole")

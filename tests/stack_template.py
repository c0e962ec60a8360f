"""The stack's template, read for tests."""

import re
from collections.abc import Callable
from typing import Any

from tools.template import PROJECT as PROJECT
from tools.template import read_template

TEMPLATE = read_template()
RESOURCES = TEMPLATE["Resources"]
PARAMETERS = TEMPLATE["Parameters"]
DEFAULTS = {name: str(parameter["Default"]) for name, parameter in PARAMETERS.items()}


def properties(logical_id):
    return RESOURCES[logical_id]["Properties"]


def of_type(kind):
    """The logical ids of all resources of a type."""
    return [name for name, resource in RESOURCES.items() if resource["Type"] == kind]


def existing(**parameters):
    """The logical ids of all resources that a stack with these parameters has."""
    return {
        name
        for name, resource in RESOURCES.items()
        if "Condition" not in resource
        or evaluate({"Condition": resource["Condition"]}, **parameters)
    }


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "Fn::And": lambda *conditions: all(conditions),
    "Fn::Equals": lambda one, other: one == other,
    "Fn::Not": lambda condition: not condition,
    "Fn::Or": lambda *conditions: any(conditions),
    "Fn::Select": lambda index, values: values[index],
    "Fn::Split": lambda separator, text: text.split(separator),
}


def evaluate(value, **parameters):
    """A value as CloudFormation computes it with these parameters, and defaults for all others.

    A reference to a resource becomes its logical id.
    """

    def of(part):
        return evaluate(part, **parameters)

    match value:
        case {"Ref": name}:
            return ({"AWS::NoValue": None} | DEFAULTS | parameters).get(name, name)
        case {"Condition": name}:
            return of(TEMPLATE["Conditions"][name])
        case {"Fn::If": [condition, then, otherwise]}:
            return of(then if of({"Condition": condition}) else otherwise)
        case {"Fn::Sub": [text, values]}:
            return re.sub(r"\$\{(\w+)\}", lambda name: of(values[name[1]]), text)
        case dict() if value.keys() <= _FUNCTIONS.keys():
            ((name, arguments),) = value.items()
            return _FUNCTIONS[name](*map(of, arguments))
    return value


def actions(statement):
    action = statement["Action"]
    return [action] if isinstance(action, str) else action


def role_statements(role):
    """What a role or user may do, with all settings: each statement, after its policy's name."""
    policies = [
        *properties(role)["Policies"],
        *(
            properties(name)
            for name in of_type("AWS::IAM::Policy")
            if {"Ref": role} in properties(name)["Roles"]
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

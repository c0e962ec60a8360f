"""The stack's template, read for tests."""

from tools.template import PROJECT as PROJECT
from tools.template import read_template

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

"""Ministack: how the emulator differs from AWS, and the changes that it needs.

deployment.py deploys the changed template and then changes the deployed stack.

A delivery stream passes on each record at once and alone, and archives it in an object of its own,
not compressed. A record whose transformation is answered `ProcessingFailed` is gone; if the
function fails, the record is archived as if it had succeeded. AWS writes both under the error
prefix, as JSON lines with `rawData` (base64), `errorCode`, `arrivalTimestamp` and `attemptsMade`.

Everything else is as on AWS.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

if TYPE_CHECKING:
    from mypy_boto3_iam.client import IAMClient
    from mypy_boto3_lambda.client import LambdaClient

# On AWS, a permission includes the batch call. The emulator also requires that of the batch call.
_BATCH_ACTIONS: Final = {
    "dynamodb:PartiQLUpdate": "dynamodb:BatchExecuteStatement",
    "sqs:ChangeMessageVisibility": "sqs:ChangeMessageVisibilityBatch",
    "sqs:SendMessage": "sqs:SendMessageBatch",
}


def without_metric_math(template: Path) -> Path:
    """Write a template beside this one whose alarms use one metric each, and return it.

    The emulator rejects metric math. An alarm with metric math uses the last of its metrics.
    The new template is JSON, since SAM reads its template seven times, and YAML takes it seconds.
    """
    content = yaml.load(template.read_text(), yaml.CSafeLoader)
    for resource in content["Resources"].values():
        properties = resource.get("Properties", {})
        if "Metrics" in properties:
            measured = properties.pop("Metrics")[-1]["MetricStat"]
            properties |= measured["Metric"]
            properties |= {"Period": measured["Period"], "Statistic": measured["Stat"]}
    changed = template.with_name("template-for-ministack.json")
    changed.write_text(json.dumps(content))
    return changed


def widen_policies(iam: IAMClient, roles: Iterable[str]) -> None:
    """Add the permissions that the emulator requires and AWS does not."""
    for role in roles:
        for name in iam.list_role_policies(RoleName=role)["PolicyNames"]:
            policy: Any = iam.get_role_policy(RoleName=role, PolicyName=name)
            document = policy["PolicyDocument"]
            document["Statement"] = [_widened(statement) for statement in document["Statement"]]
            iam.put_role_policy(
                RoleName=role, PolicyName=name, PolicyDocument=json.dumps(document)
            )


def _widened(statement: dict[str, Any]) -> dict[str, Any]:
    actions = statement["Action"]
    actions = [actions] if isinstance(actions, str) else actions
    batches = [_BATCH_ACTIONS[action] for action in actions if action in _BATCH_ACTIONS]
    resource = statement["Resource"]
    if "dynamodb:BatchExecuteStatement" in batches:
        resource = "*"  # The emulator does not know the table of this call.
    elif ":log-group:" in resource:
        resource = resource.removesuffix(":*")  # It knows log groups, not the streams in them.
    return statement | {"Action": [*actions, *batches], "Resource": resource}


def write_concurrency_as_number(functions: LambdaClient, function_name: str) -> None:
    """Set the maximum concurrency of a function's event source mappings again, as a number.

    CloudFormation passes parameters as text, and then the emulator fails.
    """
    mappings = functions.list_event_source_mappings(FunctionName=function_name)
    for mapping in mappings["EventSourceMappings"]:
        concurrency = int(mapping["ScalingConfig"]["MaximumConcurrency"])
        functions.update_event_source_mapping(
            UUID=mapping["UUID"], ScalingConfig={"MaximumConcurrency": concurrency}
        )

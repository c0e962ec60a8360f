"""What a role of the stack may do, asked of the emulator with the role's own credentials."""

import time
from uuid import uuid4

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

NOBODY = '{"kind": "resync", "site_id": "nobody"}'


def credentials(stack, role, **more):
    """What boto3 needs to call as a role, by its name in the template; `more` to assume it."""
    options = stack.emulator.client_options
    arn = stack.iam.get_role(RoleName=stack.physical_name(role))["Role"]["Arn"]
    session = boto3.client("sts", **options).assume_role(
        RoleArn=arn, RoleSessionName="lambda", **more
    )
    given = session["Credentials"]
    return options | {
        "aws_access_key_id": given["AccessKeyId"],
        "aws_secret_access_key": given["SecretAccessKey"],
        "aws_session_token": given["SessionToken"],
    }


def perform(client, call, arguments):
    """Make a call by the name that IAM has for it."""
    return client._make_api_call(call, arguments)


def write_log(stack, role, log_group):
    """Write a line to a log group as Lambda does; return the calls that a role may not make.

    The root user makes those.
    """
    where = {
        "logGroupName": stack.physical_name(log_group),
        "logStreamName": str(uuid4()),
    }
    line = {"timestamp": int(time.time() * 1000), "message": "END"}
    own = boto3.client("logs", **credentials(stack, role))
    root = boto3.client("logs", **stack.emulator.client_options)
    refused = set()
    for call, more in (("CreateLogStream", {}), ("PutLogEvents", {"logEvents": [line]})):
        try:
            perform(own, call, where | more)
        except ClientError as error:
            if "AccessDenied" not in error.response["Error"]["Code"]:
                raise
            refused.add(call)
            perform(root, call, where | more)
    return refused


def actions(statement):
    action = statement["Action"]
    return [action] if isinstance(action, str) else action


def less(statement, without):
    """A statement without some actions; None where no other is left."""
    left = [action for action in actions(statement) if action not in without]
    return statement | {"Action": left} if left else None


def resources(queue_url, table, secret, log_group, state_machine=""):
    """What each service's calls are about, by the names that they have for it.

    The state machine may be started: with this name it is only once, and finds nobody.
    """
    walk = {"stateMachineArn": state_machine, "name": "nobody", "input": NOBODY}
    table_arn = f"arn:aws:dynamodb:us-east-1:000000000000:table/{table}"
    group_arn = f"arn:aws:logs:us-east-1:000000000000:log-group:{log_group}"
    keys = {"Keys": [{"pk": {"S": "nobody"}}]}
    return {
        "sqs": {"QueueUrl": queue_url, "WaitTimeSeconds": 0},
        "dynamodb": {"TableName": table, "RequestItems": {table: keys}, "ResourceArn": table_arn},
        "secretsmanager": {"SecretId": secret},
        "logs": {"logGroupName": log_group, "resourceArn": group_arn},
        "stepfunctions": walk if state_machine else {},
    }


def allowed_calls(stack, role, service, about):
    """Of all calls that a service has, those that a role may make about something."""
    return calls_allowed_with(credentials(stack, role), service, about)


def calls_allowed_with(options, service, about):
    """The same of whoever has these credentials."""
    # Calls lack what they need to do anything: whether they may is asked first.
    config = Config(
        inject_host_prefix=False, parameter_validation=False, retries={"total_max_attempts": 1}
    )
    client = boto3.client(service, **options, config=config)
    calls = client.meta.service_model.operation_names
    return {call for call in calls if _is_allowed(client, call, about)}


def _is_allowed(client, call, about):
    shape = client.meta.service_model.operation_model(call).input_shape
    arguments = {name: about[name] for name in about if shape and name in shape.members}
    if call == "BatchWriteItem":
        arguments["RequestItems"] = {table: [] for table in about["RequestItems"]}
    try:
        perform(client, call, arguments)
    except ClientError as error:
        return "AccessDenied" not in error.response["Error"]["Code"]
    return True

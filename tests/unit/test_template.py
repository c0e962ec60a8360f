"""The template fits the code that it runs, the documents that explain it, and itself.

Nothing here needs AWS. tests/e2e deploys the template to an emulator, and proves there that the
roles may do what the functions call, and nothing else.
"""

import json
import re

import pytest

from handler.domain.transformation import MAX_ANSWER_BYTES, StreamRecord, answer
from handler.errors import MisconfiguredError
from handler.jobs.walk import PAGE_S
from handler.queue import retry_delay
from handler.settings import (
    DeliverySettings,
    IngressSettings,
    Settings,
    StreamSettings,
    version,
)
from handler.table.keys import IDENTIFIER_INDEX, account_key
from ops.stream_archive import Folder
from tests.builders import stream_record
from tests.stack_template import (
    PARAMETERS,
    PROJECT,
    RESOURCES,
    TEMPLATE,
    actions,
    evaluate,
    existing,
    of_type,
    properties,
    role_statements,
)
from tools import package

FUNCTIONS = {
    "ForwarderFunction": Settings.from_environ,
    "IngressFunction": IngressSettings.from_environ,
    "WalkerFunction": DeliverySettings.from_environ,
    "StreamFunction": StreamSettings.from_environ,
}
FUNCTION = properties("ForwarderFunction")
VARIABLES = FUNCTION["Environment"]["Variables"]
QUEUES = of_type("AWS::SQS::Queue")
QUEUE, RETRY_QUEUE, DEAD_LETTER_QUEUE = (
    VARIABLES[name]["Ref"] for name in ("QUEUE_URL", "RETRY_QUEUE_URL", "DEAD_LETTER_QUEUE_URL")
)
TABLE = properties("MembershipsTable")
DAY_S = 86_400
# Quotas of SQS: docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/
# quotas-messages.html and sqs-dead-letter-queues.html.
MOST_DAYS = 14
MOST_RECEIVES = 1000

ACCOUNTS = {"MParticlePrincipals": "111111111111,222222222222"}
URL = {"IngressUrlSecretName": "mparticle/token"}
STREAM = {"AudienceStream": "true"}
SUSPENDS = {"SuspendOnRefusedCredentials": "true"}


# --- queues ---


@pytest.mark.parametrize(
    ("mapping", "queue", "concurrency"),
    [("Changes", QUEUE, "MAXIMUM_CONCURRENCY"), ("Retries", RETRY_QUEUE, "RETRY_CONCURRENCY")],
)
def test_a_mapping_takes_from_the_queue_and_with_the_concurrency_that_the_function_knows(
    mapping, queue, concurrency
):
    event = FUNCTION["Events"][mapping]["Properties"]

    assert event["Queue"] == {"Fn::GetAtt": f"{queue}.Arn"}
    assert event["ScalingConfig"] == {"MaximumConcurrency": VARIABLES[concurrency]}
    assert event["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    # Lambda requires a window if a batch may hold more than ten messages.
    assert event["MaximumBatchingWindowInSeconds"] == {"Ref": "MaximumBatchingWindow"}
    assert PARAMETERS["MaximumBatchingWindow"]["MinValue"] >= 1
    assert len(FUNCTION["Events"]) == 2


@pytest.mark.parametrize("queue", [QUEUE, RETRY_QUEUE])
def test_a_message_stays_hidden_for_six_timeouts_and_the_longest_window(queue):
    longest_window = PARAMETERS["MaximumBatchingWindow"]["MaxValue"]

    assert properties(queue)["VisibilityTimeout"] >= 6 * FUNCTION["Timeout"] + longest_window


@pytest.mark.parametrize(
    ("queue", "receives"),
    [(QUEUE, {"Ref": "MaxReceiveCount"}), (RETRY_QUEUE, MOST_RECEIVES)],
)
def test_a_message_that_is_received_too_often_moves_to_the_dead_letter_queue(queue, receives):
    assert properties(queue)["RedrivePolicy"] == {
        "deadLetterTargetArn": {"Fn::GetAtt": f"{DEAD_LETTER_QUEUE}.Arn"},
        "maxReceiveCount": receives,
    }


def test_the_dead_letter_queue_takes_from_the_two_other_queues_only():
    arn = "arn:${AWS::Partition}:sqs:${AWS::Region}:${AWS::AccountId}:"
    names = [properties(queue)["QueueName"]["Fn::Sub"] for queue in (QUEUE, RETRY_QUEUE)]

    assert properties(DEAD_LETTER_QUEUE)["RedriveAllowPolicy"] == {
        "redrivePermission": "byQueue",
        "sourceQueueArns": [{"Fn::Sub": arn + name} for name in names],
    }


@pytest.mark.parametrize("queue", QUEUES)
def test_a_queue_keeps_messages_for_the_longest_that_sqs_allows(queue):
    assert properties(queue)["MessageRetentionPeriod"] == MOST_DAYS * DAY_S


def test_a_message_leaves_the_source_queue_before_sqs_deletes_it():
    receives = PARAMETERS["MaxReceiveCount"]["MaxValue"]

    assert sum(retry_delay(count, max) for count in range(1, receives + 1)) < MOST_DAYS * DAY_S / 2


def test_retries_end_before_sqs_deletes_a_message_or_counts_too_many_receives():
    longest_s = PARAMETERS["MaxRetryHours"]["MaxValue"] * 3600

    assert longest_s <= MOST_DAYS * DAY_S / 2
    assert sum(retry_delay(count, min) for count in range(1, MOST_RECEIVES + 1)) > longest_s


def test_a_setting_that_is_broken_for_half_a_day_sends_nothing_to_the_dead_letter_queue():
    receives = PARAMETERS["MaxReceiveCount"]["Default"]

    assert sum(retry_delay(count, min) for count in range(1, receives + 1)) > 12 * 3600


@pytest.mark.parametrize("queue", QUEUES)
def test_a_queue_refuses_plain_http(queue):
    policy = properties(f"{queue}Policy")

    assert policy["Queues"] == [{"Ref": queue}]
    assert policy["PolicyDocument"]["Statement"][0] == {
        "Sid": "RefusePlainHttp",
        "Effect": "Deny",
        "Principal": "*",
        "Action": "sqs:*",
        "Resource": {"Fn::GetAtt": f"{queue}.Arn"},
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }


def test_topics_of_this_account_may_send_by_the_one_condition_that_sns_is_known_to_meet():
    statement = properties("QueuePolicy")["PolicyDocument"]["Statement"][1]

    assert statement["Principal"] == {"Service": "sns.amazonaws.com"}
    topics = "arn:${AWS::Partition}:sns:${AWS::Region}:${AWS::AccountId}:*"
    assert statement["Condition"] == {"ArnLike": {"aws:SourceArn": {"Fn::Sub": topics}}}


# --- data at rest ---


def test_the_queues_are_encrypted_and_others_can_send_to_the_source_queue():
    for queue in map(properties, QUEUES):
        assert queue.get("SqsManagedSseEnabled") is True or queue["KmsMasterKeyId"]
    # With a key of KMS, SNS and other accounts could not send.
    assert properties(QUEUE)["SqsManagedSseEnabled"] is True
    assert "KmsMasterKeyId" not in properties(QUEUE)


def test_the_table_is_encrypted_and_can_be_restored():
    assert TABLE["SSESpecification"]["SSEEnabled"] is True
    assert TABLE["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}


@pytest.mark.parametrize("module", ["people", "suspensions"])
def test_items_expire_by_the_attribute_that_the_code_writes(module):
    expiry = TABLE["TimeToLiveSpecification"]

    assert expiry["Enabled"] is True
    written = (PROJECT / f"handler/table/{module}.py").read_text()
    assert re.search(rf"['\"]{expiry['AttributeName']}['\"]", written)


def test_the_index_is_the_one_that_the_code_asks_and_holds_keys_only():
    (index,) = TABLE["GlobalSecondaryIndexes"]

    assert index["IndexName"] == IDENTIFIER_INDEX
    assert index["Projection"] == {"ProjectionType": "KEYS_ONLY"}


@pytest.mark.parametrize("logical_id", [*QUEUES, *of_type("AWS::DynamoDB::Table"), "StreamBucket"])
def test_data_outlives_the_stack(logical_id):
    assert RESOURCES[logical_id]["DeletionPolicy"] == "RetainExceptOnCreate"
    assert RESOURCES[logical_id]["UpdateReplacePolicy"] == "Retain"


# --- settings ---


class Environ(dict[str, str]):
    """A function's environment, as deployed with some parameters; notes what is read of it."""

    def __init__(self, function, **parameters):
        variables = properties(function)["Environment"]["Variables"]
        super().__init__(
            {name: evaluate(value, **parameters) for name, value in variables.items()}
        )
        self.read = set()

    def get(self, name, default=None):
        self.read.add(name)
        return super().get(name, default)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_is_given_the_settings_that_it_reads_and_no_others(function):
    environ = Environ(function)

    FUNCTIONS[function](environ)

    assert environ.read == {name for name in environ if not name.startswith("POWERTOOLS_")}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_variable_has_the_name_of_its_parameter(function):
    for variable, value in properties(function)["Environment"]["Variables"].items():
        if isinstance(value, dict) and value["Ref"] in PARAMETERS:
            name = re.sub(r"(?<!^)(?=[A-Z])", "_", value["Ref"]).upper()
            assert name.endswith(variable) or variable.endswith(name)


def accepts(**parameters):
    try:
        for function, read in FUNCTIONS.items():
            read(Environ(function, **parameters))
    except MisconfiguredError:
        return False
    return True


@pytest.mark.parametrize("name", PARAMETERS)
def test_the_functions_accept_all_that_the_template_allows(name):
    parameter = PARAMETERS[name]
    limits = [parameter[limit] for limit in ("MinValue", "MaxValue") if limit in parameter]

    for value in [parameter["Default"], *parameter.get("AllowedValues", limits)]:
        assert accepts(**{name: str(value)})


@pytest.mark.parametrize(
    ("name", "value", "is_allowed"),
    [
        ("TrackApiUrl", "", True),
        ("TrackApiUrl", "https://track-eu.customer.io", True),
        ("TrackApiUrl", "https://track.customer.io/", True),
        ("TrackApiUrl", "http://127.0.0.1:8080", True),
        ("TrackApiUrl", "http://localhost", True),
        ("TrackApiUrl", "https://proxy.example.com:8443/customerio", True),
        ("TrackApiUrl", "http://track.customer.io", False),
        ("TrackApiUrl", "http://127.0.0.1.example.com", False),
        ("TrackApiUrl", "track.customer.io", False),
        ("DotsInNames", "_", True),
        ("DotsInNames", "-dot-", True),
        ("DotsInNames", "", False),
        ("DotsInNames", "a.b", False),
        ("DotsInNames", "elevenchars", False),
        ("AttributeMapping", '{"$City": "city", "*": "mp_*"}', True),
        ("AttributeMapping", "ltv=lifetime_value", False),
        # What SAM makes of a JSON object without quotes around it.
        ("AttributeMapping", "{", False),
    ],
)
def test_the_template_and_the_function_allow_the_same(name, value, is_allowed):
    assert bool(re.fullmatch(PARAMETERS[name]["AllowedPattern"], value)) is is_allowed
    assert accepts(**{name: value}) is is_allowed


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_parameter_says_what_it_is_and_what_it_may_be(name):
    parameter = PARAMETERS[name]
    description = parameter["Description"]

    assert description.endswith(".")
    assert parameter.keys() & {"AllowedValues", "AllowedPattern", "MinValue"}
    match parameter:
        case {"MinValue": least, "MaxValue": most}:
            assert f"{least:,} to {most:,}" in description
        case {"MinValue": least}:
            assert f"{least:,} or more" in description


def test_every_parameter_has_a_group():
    groups = TEMPLATE["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]

    assert sorted(name for group in groups for name in group["Parameters"]) == sorted(PARAMETERS)


def test_the_package_is_built_for_each_runtime_and_architecture_of_the_template():
    assert list(package.RUNTIMES) == PARAMETERS["PythonRuntime"]["AllowedValues"]
    assert list(package.ARCHITECTURES) == PARAMETERS["Architecture"]["AllowedValues"]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_build_without_make_has_no_version(function):
    assert Environ(function)["VERSION"] == version({})


# --- permissions ---

ROLES = of_type("AWS::IAM::Role")
USERS = of_type("AWS::IAM::User")
STATEMENTS = [statement for each in ROLES + USERS for _, statement in role_statements(each)]
# The services of types that are not called after theirs.
SERVICES = {"serverless": "lambda", "kinesisfirehose": "firehose"}


# AWS gives names to the executions of segments.
(EXECUTIONS,) = [
    statement for statement in STATEMENTS if "/Segments:*" in str(statement["Resource"])
]


@pytest.mark.parametrize("statement", STATEMENTS, ids=lambda statement: statement["Sid"])
def test_a_statement_names_each_action_and_one_resource_of_their_service(statement):
    (service,) = {action.partition(":")[0] for action in actions(statement)}

    assert statement["Effect"] == "Allow"
    objects = {"Fn::Sub": "${StreamBucket.Arn}/*"}
    is_named = "*" not in str(statement["Resource"]) or statement["Resource"] == objects
    assert statement == EXECUTIONS or is_named
    assert "*" not in str(statement["Action"])
    match statement["Resource"]:
        case {"Fn::GetAtt": arn}:
            kind = RESOURCES[arn.removesuffix(".Arn")]["Type"].split("::")[1].lower()
            assert SERVICES.get(kind, kind) == service
        case {"Ref": machine}:
            assert (RESOURCES[machine]["Type"], service) == (
                "AWS::StepFunctions::StateMachine",
                "states",
            )
        case {"Fn::Sub": arn}:
            index = "${MembershipsTable.Arn}/index/" + IDENTIFIER_INDEX
            assert arn in {index, *objects.values()} or f":{service}:" in arn


def test_only_items_of_accounts_are_read_and_written_one_by_one():
    single = [
        statement
        for statement in STATEMENTS
        if {*actions(statement)} & {"dynamodb:GetItem", "dynamodb:PutItem"}
    ]

    assert len(single) == 2
    keys = account_key(1001).replace("1001", "*")
    for statement in single:
        assert statement["Condition"] == {
            "ForAllValues:StringLike": {"dynamodb:LeadingKeys": [keys]}
        }


def test_the_functions_have_these_roles_and_the_roles_nothing_else():
    given = {properties(function)["Role"]["Fn::GetAtt"] for function in FUNCTIONS}
    delivery = properties("DeliveryStream")["ExtendedS3DestinationConfiguration"]["RoleARN"]
    others = {delivery["Fn::GetAtt"], properties("Walks")["RoleArn"]["Fn::GetAtt"]}
    assert given | others == {f"{role}.Arn" for role in ROLES}
    assert not [role for role in ROLES if "ManagedPolicyArns" in properties(role)]
    assert not [function for function in FUNCTIONS if "Policies" in properties(function)]


@pytest.mark.parametrize(
    ("role", "parameters", "allowed"),
    [
        ("ForwarderRole", {}, set()),
        ("ForwarderRole", SUSPENDS, {"dynamodb:PutItem"}),
        ("ForwarderRole", {"OnAudienceRemoved": "clear"}, {"states:StartExecution"}),
        ("IngressRole", SUSPENDS, set()),
        ("IngressRole", ACCOUNTS, set()),
        ("IngressRole", URL, {"secretsmanager:GetSecretValue"}),
        ("IngressRole", ACCOUNTS | SUSPENDS, {"dynamodb:GetItem"}),
    ],
)
def test_a_setting_allows_a_role_what_it_needs_only(role, parameters, allowed):
    policies = existing(**parameters) & {*of_type("AWS::IAM::Policy")}

    assert allowed == {
        action
        for policy in policies
        if properties(policy)["Roles"] == [{"Ref": role}]
        for statement in properties(policy)["PolicyDocument"]["Statement"]
        for action in actions(statement)
    }


# --- walks ---

DEFINITION = properties("Walks")["DefinitionString"]["Fn::Sub"]


def test_every_segment_of_the_table_is_walked_once():
    machine = json.loads(DEFINITION.replace("${WalkConcurrency}", "2"))
    cut, segments = machine["States"]["Cut"], machine["States"]["Segments"]

    ranges = re.fullmatch(r"States\.ArrayRange\(0, (\d+), 1\)", cut["Parameters"]["segments.$"])
    assert ranges
    assert segments["ItemSelector"]["segments"] == int(ranges[1]) + 1
    assert segments["MaxConcurrency"] == 2
    assert int(ranges[1]) + 1 >= PARAMETERS["WalkConcurrency"]["MaxValue"]


def test_a_step_is_retried_for_a_week_like_a_message():
    steps = json.loads(DEFINITION.replace("${WalkConcurrency}", "2"))["States"]["Segments"]
    (retry,) = steps["ItemProcessor"]["States"]["Step"]["Retry"]

    # With full jitter, a wait is half as long on average.
    seconds = retry["MaxAttempts"] * retry["MaxDelaySeconds"] / 2
    assert seconds >= PARAMETERS["MaxRetryHours"]["Default"] * 3600


def test_no_page_of_a_step_starts_in_the_last_minute_of_the_timeout():
    assert properties("WalkerFunction")["Timeout"] == 900 > PAGE_S


# --- the ingress ---

PERMISSIONS = {*of_type("AWS::Lambda::Permission")}
OPEN = {name for name in PERMISSIONS if properties(name)["Principal"] == "*"}


def test_there_is_an_ingress_only_with_accounts_or_a_secret_for_its_url():
    ingress = {name for name in RESOURCES if name.startswith(("Ingress", "Principal"))}

    assert not existing() & ingress
    assert not existing(**SUSPENDS) & ingress
    assert {"IngressFunction", "IngressAlias", "IngressRole"} < existing(**ACCOUNTS) & ingress
    assert {"IngressFunction", "IngressAlias", "IngressRole"} < existing(**URL) & ingress


@pytest.mark.parametrize("number", range(6))
def test_the_accounts_may_invoke_the_alias_and_nobody_else(number):
    accounts = [str(digit) * 12 for digit in range(number)]
    parameters = {"MParticlePrincipals": ",".join(accounts)}
    permissions = [properties(name) for name in existing(**parameters) & PERMISSIONS]

    allowed = {evaluate(permission["Principal"], **parameters) for permission in permissions}
    assert allowed == {*accounts}
    for permission in permissions:
        assert permission["FunctionName"] == {"Ref": "IngressAlias"}
        assert permission["Action"] == "lambda:InvokeFunction"


def test_others_invoke_the_ingress_by_its_url_only_and_only_if_there_is_a_secret():
    of_url = OPEN | {*of_type("AWS::Lambda::Url")}

    assert not existing(**ACCOUNTS) & of_url
    assert existing(**URL) & (PERMISSIONS | of_url) == of_url
    for permission in map(properties, OPEN):
        by_url = permission.get("InvokedViaFunctionUrl")
        assert by_url or permission["Action"] == "lambda:InvokeFunctionUrl"
    # Lambda requires both.
    assert len(OPEN) == 2


def test_the_alias_follows_a_change_of_settings():
    assert properties("IngressAlias")["FunctionVersion"] == "$LATEST"


ACCOUNT = "123456789012"


@pytest.mark.parametrize(
    ("text", "is_allowed"),
    [
        ("", True),
        (ACCOUNT, True),
        (",".join([ACCOUNT] * 5), True),
        (",".join([ACCOUNT] * 6), False),
        (f"{ACCOUNT},", False),
        (f",{ACCOUNT}", False),
        (f"{ACCOUNT}, {ACCOUNT}", False),
        (ACCOUNT[1:], False),
        (f"{ACCOUNT}3", False),
        ("*", False),
    ],
)
def test_up_to_five_account_ids_are_allowed_and_nothing_else(text, is_allowed):
    parameter = PARAMETERS["MParticlePrincipals"]

    # CloudFormation would check each entry of a list alone.
    assert parameter["Type"] == "String"
    assert bool(re.fullmatch(parameter["AllowedPattern"], text)) is is_allowed


@pytest.mark.parametrize(("number", "reserved"), [("0", None), ("1", "1"), ("50", "50")])
def test_the_ingress_has_a_share_of_the_accounts_concurrency_and_no_more(number, reserved):
    # Zero in the function itself would refuse every request.
    concurrency = properties("IngressFunction")["ReservedConcurrentExecutions"]

    assert evaluate(concurrency, IngressReservedConcurrency=number) == reserved


# --- the audience stream ---

S3 = properties("DeliveryStream")["ExtendedS3DestinationConfiguration"]
(PROCESSOR,) = S3["ProcessingConfiguration"]["Processors"]
PROCESSING = {each["ParameterName"]: each["ParameterValue"] for each in PROCESSOR["Parameters"]}


def test_there_is_a_stream_only_if_the_stack_says_so():
    stream = {name for name in RESOURCES if name.startswith(("Stream", "Deliver"))}

    assert not existing() & stream
    assert existing(**STREAM) & stream == stream


def test_only_streams_of_this_account_have_the_role_of_the_stream():
    (statement,) = properties("DeliveryRole")["AssumeRolePolicyDocument"]["Statement"]

    assert statement["Principal"] == {"Service": "firehose.amazonaws.com"}
    account = {"sts:ExternalId": {"Ref": "AWS::AccountId"}}
    assert statement["Condition"] == {"StringEquals": account}


def test_what_the_stream_passes_on_becomes_less_than_half_of_what_an_answer_may_have():
    buffer = int(PROCESSING["BufferSizeInMBs"]) * 1_048_576
    record = stream_record(UserIdentities={"CustomerId": "42"}).encode()
    records = [StreamRecord("9" * 56, record, 0)] * (buffer // len(record))

    assert len(json.dumps(answer(records, failed=()))) < MAX_ANSWER_BYTES / 2


def test_what_is_archived_and_what_failed_is_where_the_operators_tool_looks():
    assert S3["Prefix"].startswith(Folder.RECORDS)
    assert S3["ErrorOutputPrefix"].startswith(Folder.FAILED)
    for prefix in (S3["Prefix"], S3["ErrorOutputPrefix"]):
        assert prefix.endswith("/!{timestamp:yyyy/MM/dd/HH}/")


def test_the_bucket_is_private_encrypted_over_tls_only_and_empty_after_30_days():
    bucket = properties("StreamBucket")
    (rule,) = bucket["LifecycleConfiguration"]["Rules"]
    (statement,) = properties("StreamBucketPolicy")["PolicyDocument"]["Statement"]

    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert bucket["BucketEncryption"]
    assert (rule["Status"], rule["ExpirationInDays"]) == ("Enabled", 30)
    assert (statement["Effect"], statement["Action"]) == ("Deny", "s3:*")
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_mparticles_user_can_write_records_and_nothing_else():
    ((_, statement),) = role_statements("StreamUser")

    assert actions(statement) == ["firehose:PutRecord", "firehose:DescribeDeliveryStream"]
    assert statement["Resource"] == {"Fn::GetAtt": "DeliveryStream.Arn"}
    assert not of_type("AWS::IAM::AccessKey")


def test_a_check_that_the_scanner_skips_has_its_reason_above():
    lines = (PROJECT / ".checkov.yaml").read_text().splitlines()
    skipped = [at for at, line in enumerate(lines) if line.startswith("  - CKV_")]

    assert skipped
    assert all(lines[at - 1].startswith("  # ") for at in skipped)

"""The template keeps the promises that hold without AWS."""

import json
import re

import pytest

from handler.customerio.wire import MAX_ATTRIBUTES
from handler.queue import retry_delay
from handler.settings import IngressSettings, Settings
from handler.telemetry import MetricName
from tests.stack_template import PROJECT, RESOURCES, TEMPLATE, properties, statements
from tools import package

PARAMETERS = TEMPLATE["Parameters"]
FUNCTION = properties("ForwarderFunction")
MAPPINGS = {name: event["Properties"] for name, event in FUNCTION["Events"].items()}
QUEUE = properties("Queue")
RETRY_QUEUE = properties("RetryQueue")
DEAD_LETTER_QUEUE = properties("DeadLetterQueue")
DAY_S = 86_400
# Quotas of SQS, of docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/
# quotas-messages.html and sqs-dead-letter-queues.html.
MOST_DAYS = 14
MOST_RECEIVES = 1000
ALARMS = [name for name, resource in RESOURCES.items() if resource["Type"].endswith("::Alarm")]


def filled(value, conditions):
    """A text of the template, as a stack makes it in which these conditions hold."""
    match value:
        case {"Fn::If": [condition, text, other]}:
            return filled(text if condition in conditions else other, conditions)
        case {"Fn::Sub": [text, values]}:
            for name, one in values.items():
                text = text.replace(f"${{{name}}}", filled(one, conditions))
            return text
        case {"Fn::Sub": text}:
            return text
    return value


def widgets(*conditions):
    """The dashboard's, with {Name} for what the stack fills in; a bare number is 0."""
    body = filled(properties("Dashboard")["DashboardBody"], conditions)
    return json.loads(re.sub(r"\$(\{\w+\})(?!\")", "0", body).replace("${", "{"))["widgets"]


WIDGETS = widgets("HasIngress", "HasIngressUrl")
GRAPHS = [one for one in WIDGETS if one["type"] == "metric"]

# What AWS emits, as far as it is used here, by namespace and dimension. Sources, of
# docs.aws.amazon.com: AWSSimpleQueueService/latest/SQSDeveloperGuide/
# sqs-available-cloudwatch-metrics.html, lambda/latest/dg/monitoring-metrics-types.html and
# urls-monitoring.html,
# amazondynamodb/latest/developerguide/metrics-dimensions.html.
AWS_METRICS = {
    ("AWS/SQS", "QueueName"): {
        "ApproximateAgeOfOldestMessage",
        "ApproximateNumberOfMessagesNotVisible",
        "ApproximateNumberOfMessagesVisible",
    },
    ("AWS/Lambda", "FunctionName"): {
        *("ConcurrentExecutions", "Duration", "Errors", "Invocations", "Throttles"),
        *("Url4xxCount", "Url5xxCount", "UrlRequestCount"),
    },
    ("AWS/DynamoDB", "TableName"): {"ReadThrottleEvents", "WriteThrottleEvents"},
}
NAMED_BY = {
    "QueueName": {"Queue.QueueName", "RetryQueue.QueueName", "DeadLetterQueue.QueueName"},
    "FunctionName": {"ForwarderFunction", "IngressFunction"},
    "TableName": {"MembershipsTable"},
}


def shown():
    """Every metric on the dashboard: namespace, name, dimension, and what the dimension names."""
    return [
        (namespace, name, dimension, value.strip("{}"))
        for graph in GRAPHS
        for namespace, name, dimension, value, _ in graph["properties"]["metrics"]
    ]


def alarmed():
    """Every metric that an alarm looks at, likewise."""
    return [
        (one["Namespace"], one["MetricName"], dimension["Name"], *dimension["Value"].values())
        for name in ALARMS
        for one in measured(properties(name))
        for dimension in one["Dimensions"]
    ]


def measured(alarm):
    if "Metrics" not in alarm:
        return [alarm]
    return [one["MetricStat"]["Metric"] for one in alarm["Metrics"] if "MetricStat" in one]


def actions(statement):
    return [statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"]


@pytest.mark.parametrize(
    ("name", "queue", "concurrency"),
    [
        ("Changes", "Queue", "MaximumConcurrency"),
        ("Retries", "RetryQueue", "RetryConcurrency"),
    ],
)
def test_each_queue_has_a_mapping_that_reports_batch_item_failures(name, queue, concurrency):
    mapping = MAPPINGS[name]

    assert mapping["Queue"] == {"Fn::GetAtt": f"{queue}.Arn"}
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert mapping["ScalingConfig"] == {"MaximumConcurrency": {"Ref": concurrency}}
    assert len(MAPPINGS) == 2


def test_a_batch_of_over_ten_has_a_batching_window():
    assert PARAMETERS["BatchSize"]["Default"] > 10
    assert PARAMETERS["MaximumBatchingWindow"]["MinValue"] >= 1


@pytest.mark.parametrize("queue", [QUEUE, RETRY_QUEUE], ids=["Queue", "RetryQueue"])
def test_a_message_stays_hidden_for_six_timeouts_and_the_longest_window(queue):
    longest_window = PARAMETERS["MaximumBatchingWindow"]["MaxValue"]

    assert queue["VisibilityTimeout"] >= 6 * FUNCTION["Timeout"] + longest_window


def test_what_is_received_too_often_goes_to_the_dead_letter_queue():
    target = {"deadLetterTargetArn": {"Fn::GetAtt": "DeadLetterQueue.Arn"}}

    assert QUEUE["RedrivePolicy"] == {**target, "maxReceiveCount": {"Ref": "MaxReceiveCount"}}
    assert RETRY_QUEUE["RedrivePolicy"] == {**target, "maxReceiveCount": MOST_RECEIVES}


def test_the_dead_letter_queue_takes_from_the_two_other_queues_alone():
    names = [queue["QueueName"]["Fn::Sub"] for queue in (QUEUE, RETRY_QUEUE)]
    allowed = DEAD_LETTER_QUEUE["RedriveAllowPolicy"]

    assert allowed["redrivePermission"] == "byQueue"
    arn = "arn:${AWS::Partition}:sqs:${AWS::Region}:${AWS::AccountId}:"
    assert allowed["sourceQueueArns"] == [{"Fn::Sub": arn + name} for name in names]


def test_each_queue_keeps_messages_for_the_longest_that_sqs_allows():
    for queue in (QUEUE, RETRY_QUEUE, DEAD_LETTER_QUEUE):
        assert queue["MessageRetentionPeriod"] == MOST_DAYS * DAY_S


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


@pytest.mark.parametrize("queue", ["Queue", "RetryQueue", "DeadLetterQueue"])
def test_a_queue_refuses_plain_http(queue):
    policy = properties(f"{queue}Policy")
    refusal = policy["PolicyDocument"]["Statement"][0]

    assert policy["Queues"] == [{"Ref": queue}]
    assert (refusal["Effect"], refusal["Principal"], refusal["Action"]) == ("Deny", "*", "sqs:*")
    assert refusal["Resource"] == {"Fn::GetAtt": f"{queue}.Arn"}
    assert refusal["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_topics_of_this_account_may_send_by_the_one_condition_that_sns_is_known_to_meet():
    statement = properties("QueuePolicy")["PolicyDocument"]["Statement"][1]

    assert statement["Principal"] == {"Service": "sns.amazonaws.com"}
    topics = "arn:${AWS::Partition}:sns:${AWS::Region}:${AWS::AccountId}:*"
    assert statement["Condition"] == {"ArnLike": {"aws:SourceArn": {"Fn::Sub": topics}}}


def test_queues_and_table_are_encrypted():
    assert QUEUE["SqsManagedSseEnabled"] is True
    assert RETRY_QUEUE["SqsManagedSseEnabled"] is True
    assert DEAD_LETTER_QUEUE["KmsMasterKeyId"] == "alias/aws/sqs"
    assert properties("MembershipsTable")["SSESpecification"] == {
        "SSEEnabled": True,
        "SSEType": "KMS",
    }


def test_the_table_can_be_brought_back_and_forgets_what_expired():
    table = properties("MembershipsTable")

    assert table["BillingMode"] == "PAY_PER_REQUEST"
    assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert table["TimeToLiveSpecification"] == {"AttributeName": "expires_at", "Enabled": True}


def test_the_index_finds_the_key_by_identifier():
    (index,) = properties("MembershipsTable")["GlobalSecondaryIndexes"]

    assert index == {
        "IndexName": "by-identifier",
        "KeySchema": [{"AttributeName": "identifier", "KeyType": "HASH"}],
        "Projection": {"ProjectionType": "KEYS_ONLY"},
    }


@pytest.mark.parametrize(
    "logical_id", ["Queue", "RetryQueue", "DeadLetterQueue", "MembershipsTable"]
)
def test_data_outlives_the_stack(logical_id):
    assert RESOURCES[logical_id]["DeletionPolicy"] == "RetainExceptOnCreate"
    assert RESOURCES[logical_id]["UpdateReplacePolicy"] == "Retain"


def test_the_parameters_are_the_documented_ones():
    assert {name: parameter["Default"] for name, parameter in PARAMETERS.items()} == {
        "CredentialsSecretName": "customerio/credentials",
        "OneAttributePerAudience": "false",
        "ClearOnExit": "false",
        "DotsInNames": "keep",
        "TrackApiUrl": "",
        "BatchSize": 100,
        "MaximumBatchingWindow": 2,
        "MaximumConcurrency": 10,
        "RequestsPerSecond": 500,
        "RetryConcurrency": 2,
        "MaxRetryHours": 168,
        "MaxReceiveCount": 100,
        "MParticlePrincipals": "",
        "IngressUrlSecretName": "",
        "IngressReservedConcurrency": 50,
        "SuspendOnRefusedCredentials": "false",
        "PythonRuntime": "python3.13",
        "Architecture": "arm64",
        "LogLevel": "INFO",
        "LogRetentionDays": 30,
        "AlarmTopicArn": "",
        "DeadLettersAlarmThreshold": 0,
        "OldestMessageAlarmSeconds": 900,
        "SetAsideAlarmPercent": 5,
        "OverflowAlarmThreshold": 0,
        "AudiencesAlarmThreshold": 250,
    }


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_parameter_says_what_it_is_and_what_it_may_be(name):
    parameter = PARAMETERS[name]

    assert parameter["Description"].endswith(".")
    assert parameter.keys() & {"AllowedValues", "AllowedPattern", "MinValue"}


def test_every_parameter_has_a_group_and_a_label():
    interface = TEMPLATE["Metadata"]["AWS::CloudFormation::Interface"]
    grouped = [name for group in interface["ParameterGroups"] for name in group["Parameters"]]

    assert sorted(grouped) == sorted(PARAMETERS)
    assert sorted(interface["ParameterLabels"]) == sorted(PARAMETERS)


@pytest.mark.parametrize(
    ("url", "is_allowed"),
    [
        ("", True),
        ("https://track-eu.customer.io", True),
        ("https://track.customer.io/", True),
        ("http://127.0.0.1:8080", True),
        ("http://localhost", True),
        ("https://proxy.example.com:8443/customerio", True),
        ("http://track.customer.io", False),
        ("http://127.0.0.1.example.com", False),
        ("track.customer.io", False),
    ],
)
def test_plain_http_is_for_loopback_only(url, is_allowed):
    pattern = PARAMETERS["TrackApiUrl"]["AllowedPattern"]

    assert bool(re.fullmatch(pattern, url)) is is_allowed


def test_the_outputs_are_the_documented_ones():
    assert sorted(TEMPLATE["Outputs"]) == [
        "DeadLetterQueueArn",
        "DeadLetterQueueUrl",
        "FunctionName",
        "IngressArn",
        "IngressUrl",
        "QueueArn",
        "QueueUrl",
        "RetryQueueUrl",
        "TableName",
    ]


def test_the_function_finds_every_setting_in_its_environment():
    variables = FUNCTION["Environment"]["Variables"]
    switches = dict.fromkeys(
        ("CLEAR_ON_EXIT", "ONE_ATTRIBUTE_PER_AUDIENCE", "SUSPEND_ON_REFUSED_CREDENTIALS"), "false"
    )
    numbers = dict.fromkeys(
        ("MAXIMUM_CONCURRENCY", "MAX_RETRY_HOURS", "REQUESTS_PER_SECOND", "RETRY_CONCURRENCY"),
        "10",
    )
    texts = {**switches, **numbers, "TRACK_API_URL": "", "DOTS_IN_NAMES": "keep"}

    Settings.from_environ({name: texts.get(name, f"a-{name}") for name in variables})

    assert sorted(variables) == [
        "CLEAR_ON_EXIT",
        "CREDENTIALS_SECRET_NAME",
        "DEAD_LETTER_QUEUE_URL",
        "DOTS_IN_NAMES",
        "MAXIMUM_CONCURRENCY",
        "MAX_RETRY_HOURS",
        "ONE_ATTRIBUTE_PER_AUDIENCE",
        "POWERTOOLS_LOG_LEVEL",
        "POWERTOOLS_METRICS_NAMESPACE",
        "POWERTOOLS_SERVICE_NAME",
        "QUEUE_URL",
        "REQUESTS_PER_SECOND",
        "RETRY_CONCURRENCY",
        "RETRY_QUEUE_URL",
        "SUSPEND_ON_REFUSED_CREDENTIALS",
        "TABLE_NAME",
        "TRACK_API_URL",
        "VERSION",
    ]


def test_the_package_is_built_for_each_runtime_and_architecture_of_the_template():
    assert list(package.RUNTIMES) == PARAMETERS["PythonRuntime"]["AllowedValues"]
    assert list(package.ARCHITECTURES) == PARAMETERS["Architecture"]["AllowedValues"]


@pytest.mark.parametrize("function", ["ForwarderFunction", "IngressFunction"])
def test_a_build_without_make_has_no_version(function):
    assert properties(function)["Environment"]["Variables"]["VERSION"] == "unknown"


@pytest.mark.parametrize("statement", statements(), ids=lambda statement: statement["Sid"])
def test_a_statement_names_each_action_and_the_one_resource(statement):
    assert statement["Effect"] == "Allow"
    assert not [action for action in actions(statement) if "*" in action]
    resource = statement["Resource"]
    assert resource.keys() <= {"Fn::GetAtt", "Fn::Sub"}
    assert "*" not in str(resource)


def test_the_role_may_do_nothing_else():
    assert sorted(action for statement in statements() for action in actions(statement)) == [
        "dynamodb:BatchGetItem",
        "dynamodb:PartiQLInsert",
        "dynamodb:PartiQLUpdate",
        "dynamodb:Query",
        "logs:CreateLogStream",
        "logs:PutLogEvents",
        "secretsmanager:GetSecretValue",
        *("sqs:ChangeMessageVisibility", "sqs:ChangeMessageVisibility"),
        *("sqs:DeleteMessage", "sqs:DeleteMessage"),
        *("sqs:GetQueueAttributes", "sqs:GetQueueAttributes"),
        *("sqs:ReceiveMessage", "sqs:ReceiveMessage"),
        *("sqs:SendMessage", "sqs:SendMessage"),
    ]
    assert "ManagedPolicyArns" not in properties("ForwarderRole")
    assert "Policies" not in FUNCTION


# --- the ingress ---

INGRESS = properties("IngressFunction")
PRINCIPALS = [f"Principal{number}Permission" for number in range(1, 6)]


def test_without_principals_and_a_url_there_is_no_ingress():
    conditions = TEMPLATE["Conditions"]
    ingress = {
        name: resource["Condition"]
        for name, resource in RESOURCES.items()
        if name.startswith(("Ingress", "Principal"))
    }

    assert conditions["HasIngress"] == {
        "Fn::Or": [{"Condition": "HasPrincipals"}, {"Condition": "HasIngressUrl"}]
    }
    assert conditions["IngressSuspends"] == {
        "Fn::And": [{"Condition": "HasIngress"}, {"Condition": "Suspends"}]
    }
    assert len(ingress) == 18
    assert set(ingress.values()) == {
        "HasIngress",
        "HasIngressUrl",
        "HasPrincipals",
        "IngressSuspends",
    }


def resolved(value, told):
    """What CloudFormation makes of the functions around the parameter's text."""
    match value:
        case {"Ref": "MParticlePrincipals"}:
            return told
        case {"Fn::Select": [place, values]}:
            return resolved(values, told)[place]
        case {"Fn::Split": [by, text]}:
            return resolved(text, told).split(by)
        case {"Fn::Sub": [text, values]}:
            for name, one in values.items():
                text = text.replace(f"${{{name}}}", resolved(one, told))
            return text


@pytest.mark.parametrize("number", range(6))
def test_every_principal_may_invoke_the_alias_and_nobody_else(number):
    told = ",".join(str(place) * 12 for place in range(number))
    permissions = [properties(name) for name in PRINCIPALS]

    # With none there are no permissions, but what stands in them is to be found all the same.
    assert {resolved(one["Principal"], told) for one in permissions} == {*told.split(",")}
    assert {RESOURCES[name]["Condition"] for name in PRINCIPALS} == {"HasPrincipals"}
    for one in permissions:
        assert one["FunctionName"] == {"Ref": "IngressAlias"}
        assert one["Action"] == "lambda:InvokeFunction"


def test_the_alias_follows_a_change_of_settings():
    assert properties("IngressAlias")["FunctionVersion"] == "$LATEST"


ACCOUNT = "123456789012"


@pytest.mark.parametrize(
    ("told", "is_allowed"),
    [
        ("", True),
        (ACCOUNT, True),
        (",".join([ACCOUNT] * 5), True),
        (",".join([ACCOUNT] * 6), False),
        (f",{ACCOUNT}", False),
        (f"{ACCOUNT},", False),
        (f"{ACCOUNT},,{ACCOUNT}", False),
        (f"{ACCOUNT}, {ACCOUNT}", False),
        (f" {ACCOUNT}", False),
        (",", False),
        ("12345678901", False),
        ("1234567890123", False),
        ("*", False),
        ("root", False),
    ],
)
def test_principals_are_five_account_ids_at_most(told, is_allowed):
    parameter = PARAMETERS["MParticlePrincipals"]

    # Of a list, CloudFormation would ask each entry alone, and nobody how many there are.
    assert parameter["Type"] == "String"
    assert bool(re.fullmatch(parameter["AllowedPattern"], told)) is is_allowed
    assert TEMPLATE["Conditions"]["HasPrincipals"] == {
        "Fn::Not": [{"Fn::Equals": [{"Ref": "MParticlePrincipals"}, ""]}]
    }


def test_anybody_else_comes_by_the_url_only_and_only_where_there_is_a_secret():
    open_to_all = [
        name
        for name, one in RESOURCES.items()
        if one.get("Properties", {}).get("Principal") == "*"
    ]

    assert open_to_all == ["IngressUrlPermission", "IngressInvokedByUrlPermission"]
    assert properties("IngressUrlPermission")["Action"] == "lambda:InvokeFunctionUrl"
    assert properties("IngressInvokedByUrlPermission")["InvokedViaFunctionUrl"] is True
    for name in [*open_to_all, "IngressUrl"]:
        assert RESOURCES[name]["Condition"] == "HasIngressUrl"


def test_the_ingress_has_a_share_of_the_accounts_concurrency_and_no_more():
    assert INGRESS["ReservedConcurrentExecutions"] == {
        "Fn::If": [
            "ReservesIngressConcurrency",
            {"Ref": "IngressReservedConcurrency"},
            {"Ref": "AWS::NoValue"},
        ]
    }
    # With 0, Lambda would refuse every request.
    assert TEMPLATE["Conditions"]["ReservesIngressConcurrency"] == {
        "Fn::Not": [{"Fn::Equals": [{"Ref": "IngressReservedConcurrency"}, "0"]}]
    }
    assert PARAMETERS["IngressReservedConcurrency"]["MinValue"] == 0


def test_the_ingress_finds_every_setting_in_its_environment():
    variables = INGRESS["Environment"]["Variables"]
    texts = {"SUSPEND_ON_REFUSED_CREDENTIALS": "true"}

    IngressSettings.from_environ({name: texts.get(name, f"a-{name}") for name in variables})

    assert variables["URL_SECRET_NAME"] == {"Ref": "IngressUrlSecretName"}
    assert sorted(variables) == [
        "POWERTOOLS_LOG_LEVEL",
        "POWERTOOLS_SERVICE_NAME",
        "QUEUE_URL",
        "SUSPEND_ON_REFUSED_CREDENTIALS",
        "TABLE_NAME",
        "URL_SECRET_NAME",
        "VERSION",
    ]


def test_the_ingress_may_enqueue_and_log_and_the_rest_only_where_it_is_asked_for():
    (policy,) = properties("IngressRole")["Policies"]
    always = policy["PolicyDocument"]["Statement"]
    assert [action for statement in always for action in actions(statement)] == [
        "sqs:SendMessage",
        "logs:CreateLogStream",
        "logs:PutLogEvents",
    ]
    assert always[0]["Resource"] == {"Fn::GetAtt": "Queue.Arn"}
    assert "Policies" not in INGRESS


@pytest.mark.parametrize(
    ("name", "role", "condition", "allowed"),
    [
        ("IngressSuspensionsPolicy", "IngressRole", "IngressSuspends", ["dynamodb:GetItem"]),
        ("IngressUrlPolicy", "IngressRole", "HasIngressUrl", ["secretsmanager:GetSecretValue"]),
        ("ForwarderSuspensionsPolicy", "ForwarderRole", "Suspends", ["dynamodb:PutItem"]),
    ],
)
def test_a_setting_allows_one_thing_more(name, role, condition, allowed):
    (statement,) = properties(name)["PolicyDocument"]["Statement"]

    assert properties(name)["Roles"] == [{"Ref": role}]
    assert RESOURCES[name]["Condition"] == condition
    assert actions(statement) == allowed
    assert "*" not in str(statement["Resource"])
    if "Suspensions" in name:
        assert statement["Condition"] == {
            "ForAllValues:StringLike": {"dynamodb:LeadingKeys": ["account#*"]}
        }


@pytest.mark.parametrize("name", ALARMS)
def test_an_alarm_says_where_to_read_what_to_do(name):
    operations = (PROJECT / "docs/operations.md").read_text()
    section = re.search(r'See "(.+)" in docs/operations\.md', properties(name)["AlarmDescription"])

    assert section
    assert re.search(rf"^#+ {re.escape(section[1])}$", operations, re.MULTILINE)


def test_an_alarm_fires_before_a_person_has_all_attributes_that_customerio_takes():
    threshold = PARAMETERS["AudiencesAlarmThreshold"]
    alarm = properties("AudiencesAlarm")

    assert threshold["Default"] < MAX_ATTRIBUTES
    assert threshold["MaxValue"] < MAX_ATTRIBUTES
    assert (alarm["MetricName"], alarm["Statistic"]) == ("AudiencesOfAPerson", "Maximum")
    assert alarm["Threshold"] == {"Ref": "AudiencesAlarmThreshold"}


@pytest.mark.parametrize("name", ALARMS)
def test_an_alarm_notifies_the_topic_when_there_is_one(name):
    actions_of_alarm = properties(name)["AlarmActions"]["Fn::If"]

    assert actions_of_alarm == [
        "HasAlarmTopic",
        [{"Ref": "AlarmTopicArn"}],
        {"Ref": "AWS::NoValue"},
    ]


WATCHED = {
    *(("Throttles", name) for name in ("ForwarderFunction", "IngressFunction")),
    ("Duration", "ForwarderFunction"),
    *((f"{kind}ThrottleEvents", "MembershipsTable") for kind in ("Read", "Write")),
    *((f"Url{kind}Count", "IngressFunction") for kind in ("4xx", "5xx")),
    ("ApproximateNumberOfMessagesNotVisible", "Queue.QueueName"),
}


def test_throttles_slow_invocations_refusals_and_messages_in_flight_have_alarms():
    assert {(name, value) for _, name, _, value in alarmed()} >= WATCHED


def test_an_invocation_is_long_at_four_fifths_of_the_timeout():
    alarm = properties("LongInvocationsAlarm")

    assert alarm["Threshold"] == 0.8 * 1000 * FUNCTION["Timeout"]


def test_every_alarm_is_in_its_section_of_the_runbook():
    operations = (PROJECT / "docs/operations.md").read_text()

    for name in ALARMS:
        section = re.search(r'See "(.+)" in', properties(name)["AlarmDescription"])
        assert section
        start = operations.index(f"\n## {section[1]}\n")
        assert f"`{name}`" in operations[start : operations.index("**What it means.**", start)]


ROWS = [(), ("HasIngress",), ("HasIngress", "HasIngressUrl")]


@pytest.mark.parametrize("conditions", ROWS)
def test_the_dashboard_shows_every_alarm_that_the_stack_has(conditions):
    (widget,) = (one for one in widgets(*conditions) if one["type"] == "alarm")
    alarms = [name for name in ALARMS if RESOURCES[name].get("Condition") in {None, *conditions}]

    assert sorted(widget["properties"]["alarms"]) == sorted(f"{{{name}.Arn}}" for name in alarms)


def test_the_ingress_has_a_row_where_there_is_one():
    of_ingress = {name for _, name, _, value in shown() if value == "IngressFunction"}

    assert of_ingress == {
        *("Invocations", "Errors", "Throttles", "Duration"),
        *("UrlRequestCount", "Url4xxCount", "Url5xxCount"),
    }
    assert "Ingress" not in json.dumps(widgets())
    assert "IngressFunction" in json.dumps(widgets("HasIngress"))
    assert "Url4xxCount" not in json.dumps(widgets("HasIngress"))


@pytest.mark.parametrize("conditions", ROWS)
def test_the_dashboard_fills_its_screen_without_overlaps(conditions):
    cells = [
        (x, y)
        for one in widgets(*conditions)
        for x in range(one["x"], one["x"] + one["width"])
        for y in range(one["y"], one["y"] + one["height"])
    ]

    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24  # CloudWatch's grid


@pytest.mark.parametrize("widget", GRAPHS, ids=lambda widget: widget["properties"]["title"])
def test_a_graph_says_what_good_looks_like(widget):
    assert ": good is " in widget["properties"]["title"]


@pytest.mark.parametrize("metric", [*shown(), *alarmed()], ids="-".join)
def test_a_metric_on_the_dashboard_or_in_an_alarm_is_one_that_code_or_aws_emits(metric):
    namespace, name, dimension, value = metric
    if namespace == FUNCTION["Environment"]["Variables"]["POWERTOOLS_METRICS_NAMESPACE"]:
        assert name in MetricName.__members__
        # What Powertools adds to every metric.
        assert (dimension, value) == ("service", "AWS::StackName")
    else:
        assert name in AWS_METRICS[namespace, dimension]
        assert value in NAMED_BY[dimension]


def test_every_type_of_what_is_set_aside_is_on_the_dashboard():
    names = {name for name in MetricName.__members__ if name.startswith("SetAside")}

    assert names - {"SetAside"} <= {name for _, name, _, _ in shown()}


@pytest.mark.parametrize(
    ("profiles", "set_aside", "malformed", "percent"),
    [
        (100, 0, 0, 0),
        (100, 7, 0, 7),
        (100, None, None, 0),
        (0, 20, 20, 100),  # messages that cannot be read hold no profiles
        (30, 10, 10, 25),
        (10, 9, 0, 0),  # too few to speak of a share
    ],
)
def test_the_share_set_aside_is_of_all_that_was_asked_for(profiles, set_aside, malformed, percent):
    (expression,) = (
        query["Expression"]
        for query in properties("SetAsideShareAlarm")["Metrics"]
        if query["ReturnData"]
    )
    functions = {
        "IF": lambda condition, then, other: then if condition else other,
        "FILL": lambda value, filling: filling if value is None else value,
    }
    values = {"profiles": profiles, "set_aside": set_aside, "malformed": malformed}

    # Metric math of this kind is Python too.
    share = eval(expression, functions, {**values, "unsupported": None})  # noqa: S307

    assert share == percent


def test_a_check_that_the_scanner_skips_has_its_reason_above():
    lines = (PROJECT / ".checkov.yaml").read_text().splitlines()
    skipped = [at for at, line in enumerate(lines) if line.startswith("  - CKV_")]

    assert skipped
    assert all(lines[at - 1].startswith("  # ") for at in skipped)

"""Alarms and dashboards show what the code and AWS emit, and lead to what helps."""

import json
import re

import pytest

from handler.customerio.wire import MAX_ATTRIBUTES
from handler.metrics import MetricName
from ops.cli import run
from tests.stack_template import PARAMETERS, PROJECT, evaluate, existing, of_type, properties

FUNCTION = properties("ForwarderFunction")
VARIABLES = FUNCTION["Environment"]["Variables"]
FUNCTIONS = of_type("AWS::Serverless::Function")
TABLES = of_type("AWS::DynamoDB::Table")
ALARMS = of_type("AWS::CloudWatch::Alarm")

# What AWS emits, as far as it is used here, by the dimension of the metric. Sources, of
# docs.aws.amazon.com: AWSSimpleQueueService/latest/SQSDeveloperGuide/
# sqs-available-cloudwatch-metrics.html, lambda/latest/dg/monitoring-metrics-types.html and
# urls-monitoring.html, amazondynamodb/latest/developerguide/metrics-dimensions.html,
# step-functions/latest/dg/procedure-cw-metrics.html,
# firehose/latest/dev/monitoring-with-cloudwatch-metrics.html.
EMITTED = {
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
    ("AWS/States", "StateMachineArn"): {
        *("ExecutionsFailed", "ExecutionsStarted", "ExecutionsSucceeded"),
    },
    ("AWS/Firehose", "DeliveryStreamName"): {
        *("DeliveryToS3.DataFreshness", "IncomingRecords", "ThrottledRecords"),
    },
    (VARIABLES["POWERTOOLS_METRICS_NAMESPACE"], "service"): {*MetricName.__members__},
}
# What the dimension of a metric names.
NAMED = {
    "QueueName": {f"{queue}.QueueName" for queue in of_type("AWS::SQS::Queue")},
    "FunctionName": {*FUNCTIONS},
    "TableName": {*TABLES},
    "StateMachineArn": {*of_type("AWS::StepFunctions::StateMachine")},
    "DeliveryStreamName": {*of_type("AWS::KinesisFirehose::DeliveryStream")},
    "service": {VARIABLES["POWERTOOLS_SERVICE_NAME"]["Ref"]},
}


def widgets(dashboard):
    """A dashboard's widgets, with {Name} for ${Name}, and 0 for a number that is a setting."""
    body = properties(dashboard)["DashboardBody"]["Fn::Sub"]
    return json.loads(re.sub(r"(?<!\")\$\{\w+\}", "0", body).replace("${", "{"))["widgets"]


WIDGETS = {name: widgets(name) for name in of_type("AWS::CloudWatch::Dashboard")}
GRAPHS = [
    widget["properties"]
    for each in WIDGETS.values()
    for widget in each
    if widget["type"] == "metric"
]


def shown():
    """Every metric on a dashboard: namespace, name, dimension, and what the dimension names."""
    for graph in GRAPHS:
        above: list[str] = []
        for *names, _ in graph["metrics"]:
            if names != ["..."]:
                above = [above[at] if name == "." else name for at, name in enumerate(names)]
            namespace, name, dimension, value = above
            yield namespace, name, dimension, value.strip("{}")


def watched():
    """Every metric that an alarm watches, likewise."""
    for alarm in map(properties, ALARMS):
        queries = alarm.get("Metrics", ())
        stats = [query["MetricStat"]["Metric"] for query in queries if "MetricStat" in query]
        for metric in stats or [alarm]:
            for dimension in metric["Dimensions"]:
                (value,) = dimension["Value"].values()
                yield metric["Namespace"], metric["MetricName"], dimension["Name"], value


@pytest.mark.parametrize("metric", sorted({*shown(), *watched()}), ids="-".join)
def test_a_metric_on_a_dashboard_or_in_an_alarm_is_one_that_code_or_aws_emits(metric):
    namespace, name, dimension, value = metric

    assert name in EMITTED[namespace, dimension]
    assert value in NAMED[dimension]


def test_every_metric_of_the_function_is_on_a_dashboard_or_in_an_alarm():
    assert MetricName.__members__.keys() <= {name for _, name, _, _ in [*shown(), *watched()]}


def test_errors_and_throttles_of_all_functions_and_tables_have_alarms():
    needed = {(name, function) for name in ("Errors", "Throttles") for function in FUNCTIONS}
    throttles = EMITTED["AWS/DynamoDB", "TableName"]
    needed |= {(name, table) for name in throttles for table in TABLES}

    assert needed <= {(name, value) for _, name, _, value in watched()}


@pytest.mark.parametrize("name", ALARMS)
def test_an_alarm_says_what_to_run_and_where_to_read_on(name):
    operations = (PROJECT / "docs/operations.md").read_text()
    description = properties(name)["AlarmDescription"]
    section = re.search(r'See "(.+)" in docs/operations\.md\.$', description)
    commands = re.findall(r"`ops ([a-z ]+)`", description)

    assert section
    assert re.search(rf"^#+ {re.escape(section[1])}$", operations, re.MULTILINE)
    assert commands
    for command in commands:
        assert run([*command.split(), "--help"]) == 0


def test_the_runbook_explains_every_alarm_and_no_other():
    operations = (PROJECT / "docs/operations.md").read_text()

    assert {*re.findall(r"`(\w+Alarm)`", operations)} == {*ALARMS}


@pytest.mark.parametrize("name", ALARMS)
def test_an_alarm_notifies_the_topic_if_there_is_one(name):
    for notified in (properties(name)["AlarmActions"], properties(name)["OKActions"]):
        assert evaluate(notified) is None
        assert evaluate(notified, AlarmTopicArn="arn") == [{"Ref": "AlarmTopicArn"}]


def test_an_alarm_fires_before_a_person_has_all_attributes_that_customerio_takes():
    threshold = PARAMETERS["AudiencesAlarmThreshold"]
    alarm = properties("AudiencesAlarm")

    assert threshold["Default"] <= threshold["MaxValue"] < MAX_ATTRIBUTES
    assert (alarm["MetricName"], alarm["Statistic"]) == ("AudiencesOfAPerson", "Maximum")
    assert alarm["Threshold"] == {"Ref": "AudiencesAlarmThreshold"}


def test_an_invocation_is_long_at_four_fifths_of_the_timeout():
    timeout_s = FUNCTION["Timeout"]
    alarm = properties("LongInvocationsAlarm")

    assert alarm["Threshold"] == 0.8 * 1000 * timeout_s
    assert f"over {0.8 * timeout_s:.0f} of the {timeout_s} seconds" in alarm["AlarmDescription"]
    assert f'"timeout", "value": {1000 * timeout_s}' in str(properties("Dashboard"))


@pytest.mark.parametrize(
    ("received", "set_aside", "percent"),
    [
        (100, 0, 0),
        (100, 7, 7),
        (100, None, 0),
        (20, 20, 100),
        (19, 19, 0),  # too few for a share
    ],
)
def test_the_share_set_aside_is_of_all_changes_received(received, set_aside, percent):
    share, *queries = properties("SetAsideShareAlarm")["Metrics"]
    functions = {
        "IF": lambda condition, then, otherwise: then if condition else otherwise,
        "FILL": lambda value, filling: filling if value is None else value,
    }
    values = {"ChangesReceived": received, "SetAside": set_aside}
    named = {one["Id"]: values[one["MetricStat"]["Metric"]["MetricName"]] for one in queries}

    # Metric math of this kind is Python too.
    assert eval(share["Expression"], functions, named) == percent  # noqa: S307
    description = PARAMETERS["SetAsideAlarmPercent"]["Description"]
    assert "fewer than 20 changes" in description
    assert {one["MetricStat"]["Period"] for one in queries} == {15 * 60}
    assert "of 15 minutes" in description


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"MParticlePrincipals": "111111111111"},
        {"IngressUrlSecretName": "mparticle/token"},
        {"AudienceStream": "true"},
    ],
)
def test_the_dashboards_of_a_stack_show_each_of_its_alarms_once(parameters):
    stack = existing(**parameters)
    arns = [
        arn
        for name in WIDGETS.keys() & stack
        for widget in WIDGETS[name]
        for arn in widget["properties"].get("alarms", ())
    ]

    assert sorted(arns) == sorted(f"{{{name}.Arn}}" for name in stack & {*ALARMS})


@pytest.mark.parametrize("name", WIDGETS)
def test_a_dashboard_has_full_rows(name):
    column = 0
    for widget in WIDGETS[name]:
        column += widget["width"]
        assert column <= 24  # CloudWatch's grid
        column %= 24
    assert column == 0


@pytest.mark.parametrize("graph", GRAPHS, ids=lambda graph: graph["title"])
def test_a_graph_says_what_good_looks_like(graph):
    assert ": good is " in graph["title"]

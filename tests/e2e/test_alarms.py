"""Alarms as deployed fire and recover.

The emulator evaluates an alarm whenever a metric is put, over all values within the alarm's time.
It emits neither the metrics of SQS nor those that the function writes to its log, so they are put
here. It mixes metrics of the same name, whatever their dimensions, so alarms on the same name
recover together only if they look equally far back. It has no metric math: here the alarm on the
share set aside looks at the number set aside (local/ministack.py), and tests/unit/test_template.py
tests its expression.
"""

import json
import time
from datetime import UTC, datetime, timedelta

import boto3
import pytest

from tests.stack_template import RESOURCES

RECOVERS_S = 3.0


@pytest.fixture
def cloudwatch(deployed):
    return boto3.client("cloudwatch", **deployed.emulator.client_options)


def alarms(cloudwatch):
    return {
        alarm["AlarmName"].split("-")[-2]: alarm
        for alarm in cloudwatch.describe_alarms()["MetricAlarms"]
    }


def put(cloudwatch, alarm, value, *, seconds_ago=0.0):
    cloudwatch.put_metric_data(
        Namespace=alarm["Namespace"],
        MetricData=[
            {
                "MetricName": alarm["MetricName"],
                "Dimensions": alarm["Dimensions"],
                "Timestamp": datetime.now(UTC) - timedelta(seconds=seconds_ago),
                "Value": value,
            }
        ],
    )


def test_alarms_fire_and_recover(cloudwatch):
    for alarm in alarms(cloudwatch).values():
        window = alarm["Period"] * alarm["EvaluationPeriods"]
        put(cloudwatch, alarm, alarm["Threshold"] + 1, seconds_ago=window - RECOVERS_S)
    fired = alarms(cloudwatch)

    assert fired.keys() == {
        name for name, one in RESOURCES.items() if one["Type"] == "AWS::CloudWatch::Alarm"
    }
    assert {alarm["StateValue"] for alarm in fired.values()} == {"ALARM"}
    # The emulator does count invocations that failed, whichever test they failed in.
    recovering = {name for name in fired if not name.endswith("ErrorsAlarm")}
    deadline = time.monotonic() + 10 * RECOVERS_S
    while recovering != {name for name in recovering if is_ok(cloudwatch, fired[name])}:
        assert time.monotonic() < deadline


def is_ok(cloudwatch, alarm):
    put(cloudwatch, alarm, 0)
    (now,) = cloudwatch.describe_alarms(AlarmNames=[alarm["AlarmName"]])["MetricAlarms"]
    return now["StateValue"] == "OK"


def test_the_dashboards_name_what_was_deployed(deployed, cloudwatch):
    entries = cloudwatch.list_dashboards()["DashboardEntries"]
    bodies = {
        entry["DashboardName"]: cloudwatch.get_dashboard(DashboardName=entry["DashboardName"])[
            "DashboardBody"
        ]
        for entry in entries
    }

    main = "audience-forwarder-us-east-1"
    ingress, stream = f"{main}-ingress", f"{main}-stream"
    assert bodies.keys() == {main, ingress, stream}
    for body in bodies.values():
        assert json.loads(body)["widgets"]
        assert "${" not in body
    assert f'"{deployed.function_name}"' in bodies[main]
    assert '"audience-forwarder-dead-letters"' in bodies[main]
    assert f'"{deployed.physical_name("IngressFunction")}"' in bodies[ingress]
    assert f'"{deployed.stream_name}"' in bodies[stream]

"""Alarms as deployed fire and recover.

The emulator evaluates an alarm whenever a metric is put, over all that was put within its time.
It emits neither the metrics of SQS nor those that the function writes to its log, so they are put
here. It takes the metrics of one name together, whatever their dimensions, so alarms on the same
name recover together only if they look as far back. It knows no metric math: the alarm on the
share set aside is tested by its expression.
"""

import json
import time
from datetime import UTC, datetime, timedelta

import boto3
import pytest

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

    assert len(fired) == 17
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


def test_the_dashboard_names_what_was_deployed(deployed, cloudwatch):
    (entry,) = cloudwatch.list_dashboards()["DashboardEntries"]
    body = cloudwatch.get_dashboard(DashboardName=entry["DashboardName"])["DashboardBody"]

    assert "${" not in body
    assert f'"{deployed.function_name}"' in body
    assert '"audience-forwarder-dead-letters"' in body
    assert f'"{deployed.physical_name("IngressFunction")}"' in body
    titles = [one["properties"].get("title", "") for one in json.loads(body)["widgets"]]
    assert titles[-1].startswith("Requests at the URL")

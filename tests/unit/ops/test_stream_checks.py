"""What must be in order for the audience stream to pass records on."""

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from ops.stream_checks import of_stream
from tests.builders import failed_record
from tests.unit.ops.builders import STREAM, record


def configured(state="Active", **variables):
    settings = {"QUEUE_URL": "q", "DEAD_LETTER_QUEUE_URL": "d"} | variables
    return {"State": state, "Environment": {"Variables": settings}}


@pytest.fixture
def checks(aws, store):
    """Create the stream and mParticle's user, and return the checks by name."""
    aws.firehose.create_delivery_stream(
        DeliveryStreamName=STREAM.name,
        ExtendedS3DestinationConfiguration={
            "RoleARN": "arn:aws:iam::123456789012:role/stream",
            "BucketARN": f"arn:aws:s3:::{STREAM.bucket}",
        },
    )
    aws.iam.create_user(UserName=STREAM.user_name)
    aws.functions = SimpleNamespace(get_function_configuration=lambda **_: configured())
    return lambda: {check.name: check for check in of_stream(aws, STREAM)}


def warnings(checks):
    return [check.name for check in checks.values() if check.fix]


def test_a_stream_with_a_key_and_nothing_failed_is_in_order(checks, aws) -> None:
    aws.iam.create_access_key(UserName=STREAM.user_name)

    assert all(check.is_ok for check in checks().values())
    assert warnings(checks()) == []
    assert checks()["audience stream"].result == "ACTIVE"


@pytest.mark.parametrize("exists", [True, False])
def test_a_missing_or_inactive_key_is_a_warning(checks, aws, exists) -> None:
    if exists:
        key = aws.iam.create_access_key(UserName=STREAM.user_name)["AccessKey"]
        aws.iam.update_access_key(
            UserName=STREAM.user_name, AccessKeyId=key["AccessKeyId"], Status="Inactive"
        )

    found = checks()

    assert all(check.is_ok for check in found.values())
    assert warnings(found) == ["mParticle's access key"]
    assert "step 4" in found["mParticle's access key"].fix


def test_failed_records_of_the_last_day_are_a_warning(checks, aws, store) -> None:
    aws.iam.create_access_key(UserName=STREAM.user_name)
    store(f"failed/processing-failed/{datetime.now(UTC):%Y/%m/%d/%H}/o", failed_record(record()))

    found = checks()

    assert all(check.is_ok for check in found.values())
    assert warnings(found) == ["failed records"]
    assert "1 objects" in found["failed records"].result


def test_a_stream_that_is_not_there_is_a_failed_check(checks, aws) -> None:
    aws.firehose.delete_delivery_stream(DeliveryStreamName=STREAM.name)

    assert not checks()["audience stream"].is_ok


@pytest.mark.parametrize(
    "described",
    [configured("Failed"), configured(QUEUE_URL=""), configured(AUDIENCE_STREAM_ACCOUNT="x")],
)
def test_a_function_that_cannot_run_or_read_its_settings_is_a_failed_check(
    checks, aws, described
) -> None:
    aws.functions = SimpleNamespace(get_function_configuration=lambda **_: described)

    assert [check.name for check in checks().values() if not check.is_ok] == [
        "function of the stream"
    ]
